"""The feed and what a user would pick instead: JPEGs of 256 px to batches of 64 augmented f32 planes of 224 px in the hands of a program.

feed.py ours LIST N CORES cpu|wall        tiles a second, through flowrun.Feed into NumPy
feed.py consumer LIST N                   microseconds of the consuming process's CPU a batch
feed.py first LIST N                      seconds from flowrun.Feed(...) to the first batch
feed.py torchvision|opencv LIST N cpu|wall    a DataLoader with two workers
feed.py dali|spdl LIST N wall             NVIDIA DALI, SPDL with OpenCV in two threads; their packages in this Python

The work is that of bench/floor_augment.c: a symmetry of the square, a turn by up to 45 degrees, a scale of .9 to 1.1, border mirrored, contrast .8 to 1.2,
normalised. cpu: by the processor's time of all processes, wall: by the clock; both from behind the imports to the end of all processes.
"""
import math
import os
import random
import resource
import sys
import time

SIZE, BATCH = 224, 64
MEAN, STD = (.485, .456, .406), (.229, .224, .225)
OURS = [{"d4": {}}, {"rotate": {"p": 1}}, {"scale": {"p": 1}}, {"contrast": {"p": 1}}]


def files_of(path, n):
    with open(path) as f:
        return [line.strip() for line in f][:n]


class Clock:
    def __init__(self):
        self.cpu, self.wall = self.used(), time.perf_counter()

    @staticmethod
    def used():
        return sum(r.ru_utime + r.ru_stime for r in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))

    def rate(self, n, kind):
        return n / (self.used() - self.cpu if kind == "cpu" else time.perf_counter() - self.wall)


def feed_of(listed, batch, cores):
    """cores 0: the source's own tensors, at once."""
    stages = {"tiles": {"stage": "source", "options": {"files": "@" + os.path.abspath(listed), "batch": batch}}}
    if cores:
        stages["decode"] = {"from": "tiles", "instances": cores}
        stages["augment"] = {"from": "decode", "instances": cores, "options": {"size": SIZE, "ops": OURS}}
    stages["feed"] = {"from": "augment" if cores else "tiles"}
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../python"))
    import flowrun
    return flowrun.Feed({"memory": "400MB", "stages": stages})


def ours(listed, n, cores, kind):
    feed = feed_of(listed, BATCH, cores)
    clock, seen, touched = Clock(), 0, 0.0
    with feed:
        for b in feed:
            x = b["input"]
            assert x.shape[2:] == (3, SIZE, SIZE) and not x.flags.owndata, x.shape
            touched += float(x[:, 0, 0, 0, 0].sum())
            seen += b.n
            del b, x
    assert seen == n and math.isfinite(touched), seen
    return clock.rate(n, kind)


def consumer(listed, n):
    """From the first batch on: the connection is made by then. Batches wait, so that no other stage's work clears this core's caches in between."""
    feed, batches, start = feed_of(listed, 4, 0), 0, 0.0
    with feed:
        for b in feed:
            assert b["id"].shape == (4, 64) and not b["id"].flags.owndata
            if batches == 0:
                start = time.process_time()
            batches += 1
            del b
        used = time.process_time() - start
    assert batches == n // 4, batches
    return used / (batches - 1) * 1e6


def first(listed, n):
    start = time.perf_counter()
    with feed_of(listed, BATCH, 2) as feed:
        for b in feed:
            assert b.n == BATCH and b["input"].shape[2:] == (3, SIZE, SIZE) and len(feed) == (n + BATCH - 1) // BATCH
            took = time.perf_counter() - start
            del b
            return took


# ---- DataLoader ----

def tuned():
    """What the big allocations of a loader cost is page faults, unless malloc keeps its memory; it reads these at its start."""
    want = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "4294967296", "MALLOC_TOP_PAD_": "67108864"}
    if any(os.environ.get(k) != v for k, v in want.items()):
        os.environ.update(want)
        os.execv(sys.executable, [sys.executable, *sys.argv])


def loader(kind, listed, n, how):
    tuned()
    import numpy as np
    import torch
    torch.set_num_threads(1)
    if kind == "torchvision":
        one = by_torchvision()
    else:
        import cv2
        cv2.setNumThreads(0)
        one = by_opencv(cv2, np)

    class Tiles(torch.utils.data.Dataset):
        files = files_of(listed, n)

        def __len__(self):
            return len(self.files)

        def __getitem__(self, i):
            x = one(self.files[i])
            return x if torch.is_tensor(x) else torch.from_numpy(x)

    clock, seen = Clock(), 0
    batches = iter(torch.utils.data.DataLoader(Tiles(), batch_size=BATCH, num_workers=2))
    for x in batches:
        assert x.shape[1:] == (3, SIZE, SIZE) and x.dtype == torch.float32
        seen += len(x)
    del batches
    assert seen == n, seen
    return clock.rate(n, how)


def by_torchvision():
    from PIL import Image
    from torchvision import transforms as T
    turns = [None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180,
             Image.Transpose.ROTATE_270, Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE]

    def d4(image):
        turn = random.choice(turns)
        return image if turn is None else image.transpose(turn)
    all_of = T.Compose([T.Lambda(d4), T.Pad(64, padding_mode="reflect"), T.RandomAffine(45, scale=(.9, 1.1), interpolation=T.InterpolationMode.BILINEAR),
                        T.CenterCrop(SIZE), T.ColorJitter(contrast=.2), T.ToTensor(), T.Normalize(MEAN, STD)])

    def one(path):
        with Image.open(path) as image:
            return all_of(image.convert("RGB"))
    return one


def by_opencv(cv2, np):
    mean, std = np.float32(MEAN) * 255, np.float32(STD) * 255

    def one(path):
        rgb = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
        m = cv2.getRotationMatrix2D((127.5, 127.5), random.uniform(-45, 45) + 90 * random.randrange(4), random.uniform(.9, 1.1))
        if random.random() < .5:
            m[:, 2] += m[:, 0] * 255
            m[:, 0] *= -1
        m[:, 2] -= (256 - SIZE) / 2
        x = cv2.warpAffine(rgb, m, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        a = random.uniform(.8, 1.2)
        x = cv2.convertScaleAbs(x, alpha=a, beta=(1 - a) * cv2.mean(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY))[0])
        return np.ascontiguousarray(((x - mean) / std).transpose(2, 0, 1))
    return one


# ---- rivals with packages of their own ----

def dali(listed, n, how):
    from nvidia.dali import fn, pipeline_def, types
    files, half = files_of(listed, n), (256 - 1) / 2

    @pipeline_def(batch_size=BATCH, num_threads=2, device_id=None)
    def pipeline():
        jpeg, _ = fn.readers.file(files=files)
        x = fn.decoders.image(jpeg, device="cpu", output_type=types.RGB)
        x = fn.flip(x, horizontal=fn.random.coin_flip())
        turn = fn.random.uniform(range=(-45, 45)) + 90 * fn.random.uniform(values=[0, 1, 2, 3])
        scale = fn.random.uniform(range=(.9, 1.1))
        m = fn.transforms.translation(offset=(-SIZE / 2, -SIZE / 2))
        m = fn.transforms.scale(m, scale=fn.stack(scale, scale))
        m = fn.transforms.rotation(m, angle=turn)
        m = fn.transforms.translation(m, offset=(half, half))
        x = fn.warp_affine(x, matrix=m, size=(SIZE, SIZE), interp_type=types.INTERP_LINEAR, fill_value=0)
        x = fn.contrast(x, contrast=fn.random.uniform(range=(.8, 1.2)))
        return fn.crop_mirror_normalize(x, dtype=types.FLOAT, output_layout="CHW", mean=[255 * v for v in MEAN], std=[255 * v for v in STD])

    clock, seen = Clock(), 0
    p = pipeline()
    p.build()
    while seen < n:
        x = p.run()[0].as_tensor()
        assert tuple(x.shape())[1:] == (3, SIZE, SIZE)
        seen += BATCH
    return clock.rate(seen, how)


def spdl(listed, n, how):
    tuned()
    import cv2
    import numpy as np
    from spdl.pipeline import PipelineBuilder
    cv2.setNumThreads(0)
    one = by_opencv(cv2, np)
    clock, seen = Clock(), 0
    builder = PipelineBuilder().add_source(files_of(listed, n)).pipe(one, concurrency=2).aggregate(BATCH).pipe(np.stack).add_sink(2)
    p = builder.build(num_threads=2)
    with p.auto_stop():
        for x in p:
            assert x.shape[1:] == (3, SIZE, SIZE) and x.dtype == np.float32
            seen += len(x)
    assert seen == n, seen
    return clock.rate(n, how)


def main(argv):
    if len(argv) == 5 and argv[0] == "ours":
        print("%.6f" % ours(argv[1], int(argv[2]), int(argv[3]), argv[4]))
    elif len(argv) == 3 and argv[0] in ("consumer", "first"):
        print("%.6f" % {"consumer": consumer, "first": first}[argv[0]](argv[1], int(argv[2])))
    elif len(argv) == 4 and argv[0] in ("torchvision", "opencv"):
        print("%.6f" % loader(argv[0], argv[1], int(argv[2]), argv[3]))
    elif len(argv) == 4 and argv[0] in ("dali", "spdl"):
        print("%.6f" % {"dali": dali, "spdl": spdl}[argv[0]](argv[1], int(argv[2]), argv[3]))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
