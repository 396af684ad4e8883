"""flowrun average-snapshots: means against NumPy, statistics of BN layers against torch.optim.swa_utils.update_bn."""
import json
import os
import sys

import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
sys.path[:0] = [os.path.join(ROOT, "tests/lib"), os.path.join(ROOT, "tests/flow"), os.path.join(ROOT, "python"), os.path.dirname(os.path.abspath(__file__))]
import parity
from flow import MODELS, Skip, chain, flowrun, holds, run_cases, same, write_graph
from flowrun import safetensors
from flowrun.convert import MEAN, STD

LABELS = ["l%02d" % i for i in range(5)]


def torch():
    try:
        import torch as module
        import torchvision  # noqa: F401
        return module
    except ImportError:
        raise Skip("no torch and torchvision for this Python") from None


def described(path, arch, size, **more):
    with open(path[: -len(".safetensors")] + ".json", "w") as f:
        json.dump({"format": 1, "kind": "network", "arch": arch, "labels": LABELS,
                   "input": {"mode": "rgb", "channels": 3, "size": size, "M": 255, "mean": list(MEAN), "std": list(STD)}, **more}, f)


def states(model, k, seed):
    """k state dicts of a model, drawn: weights as large as the layers need, variances positive."""
    draw, out = np.random.default_rng(seed), []
    for i in range(k):
        state = {}
        for name, v in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                state[name] = np.int64(100 + i)
            elif v.ndim > 1:
                state[name] = (draw.standard_normal(v.shape) * np.sqrt(2 / (v.numel() / v.shape[0]))).astype(np.float32)
            elif name.endswith("running_var") or name.endswith("weight"):
                state[name] = draw.uniform(0.5, 1.5, v.shape).astype(np.float32)
            else:
                state[name] = draw.uniform(-0.1, 0.1, v.shape).astype(np.float32)
        out.append(state)
    return out


def snapshots(tmp, arch, size, k, seed=3, counters=True):
    model = parity.build(arch, 3, len(LABELS))
    dicts, files = states(model, k, seed), []
    for i, state in enumerate(dicts):
        files.append("%s/%s-%d.safetensors" % (tmp, arch, i))
        safetensors.save(files[-1], {n: np.asarray(v) for n, v in state.items() if counters or not n.endswith("num_batches_tracked")})
        described(files[-1], arch, size, bf16_ok=True)
    return model, dicts, files


def tiles(tmp, n, size):
    """Tiles of noise around colours of their own, as JPEGs, and what comes out of them: u8 [n][size][size][3]."""
    from PIL import Image
    draw, out = np.random.default_rng(5), []
    os.makedirs(tmp + "/tiles", exist_ok=True)
    for i in range(n):
        path = "%s/tiles/t%d.jpg" % (tmp, i)
        noise = draw.integers(0, 120, (size, size, 3)) + draw.integers(0, 136, 3)
        Image.fromarray(noise.astype(np.uint8)).save(path, quality=95, subsampling=0)
        with Image.open(path) as im:
            out.append(np.asarray(im))
    return np.stack(out), tmp + "/tiles"


def mean(dicts, name):
    """By the formula of a stream: w <- (w n + w_i)/(n + 1), in double, rounded once."""
    w = np.float64(0)
    for n, state in enumerate(dicts):
        w = (w * n + np.float64(state[name])) / (n + 1)
    return np.float32(w)


def updated(model, dicts, x, batches):
    """Running statistics as PyTorch's update_bn leaves them in a model with the mean weights, in double."""
    t = torch()
    model.load_state_dict({n: t.from_numpy(np.atleast_1d(mean(dicts, n))).reshape(v.shape).to(v.dtype) for n, v in model.state_dict().items()})
    model.double()
    at, loader = 0, []
    for n in batches:
        loader.append(t.from_numpy(x[at : at + n]))
        at += n
    t.optim.swa_utils.update_bn(loader, model)
    return {n: v.numpy() for n, v in model.state_dict().items()}


def statistics_are_those_of_update_bn(tmp):
    torch()
    for arch, side, n, batch, batches in (("tilenet", 40, 7, 3, (3, 4)), ("resnet18", 64, 6, 4, (4, 2)), ("densenet121", 64, 10, 9, (10,))):
        at = tmp + "/" + arch
        os.mkdir(at)
        model, dicts, files = snapshots(at, arch, 32 if arch == "tilenet" else 64, 2)
        pixels, folder = tiles(at, n, side)
        size = 32 if arch == "tilenet" else 64
        cut = (side - size) // 2
        x = ((pixels[:, cut : cut + size, cut : cut + size] / 255.0 - MEAN) / STD).transpose(0, 3, 1, 2)
        flowrun("average-snapshots", *files, "--tiles", folder, "--batch", str(batch), "--out", at + "/out.safetensors")
        got, want = safetensors.load(at + "/out.safetensors"), updated(model, dicts, np.ascontiguousarray(x), batches)
        same(sorted(got), sorted(want), arch + ": names")
        for name in want:
            if name.endswith("num_batches_tracked"):
                same(int(got[name]), len(batches), name)
            elif "running_" in name:
                off, top = np.abs(got[name] - want[name]).max(), np.abs(want[name]).max()
                holds(off <= 1e-5 * top, "%s %s: off by %g of %g" % (arch, name, off, top))
            else:
                holds(np.array_equal(got[name], mean(dicts, name)), "%s %s: not the mean" % (arch, name))


def statistics_of_ngb_are_those_of_its_pixels(tmp):
    """The pixels are those that decode makes of both files of a tile; check-precision sees the same ones."""
    import test_bands
    torch()
    test_bands.paint(tmp)
    model, dicts, files = snapshots(tmp, "tilenet", 64, 2)
    for f in files:
        described(f, "tilenet", 64, **{"input": {"mode": "ngb", "channels": 3, "size": 64, "M": 255, "mean": list(MEAN), "std": list(STD)}})
    rows = test_bands.ngb_tiles(tmp + "/tiles", tmp + "/tif", 64)
    x = ((np.stack([rows[t][0] for t in sorted(rows)]) / 255.0 - MEAN) / STD).transpose(0, 3, 1, 2)
    both = ("--tiles", tmp + "/tiles", "--tifs", tmp + "/tif")
    flowrun("average-snapshots", *files, *both, "--batch", "12", "--out", tmp + "/out.safetensors")
    got, want = safetensors.load(tmp + "/out.safetensors"), updated(model, dicts, np.ascontiguousarray(x), (12, 12))
    for name in (n for n in want if "running_" in n):
        holds(np.abs(got[name] - want[name]).max() <= 1e-5 * np.abs(want[name]).max(), "%s: %s, want %s" % (name, got[name], want[name]))
    _, out, _ = flowrun("check-precision", tmp + "/out.safetensors", *both)
    holds("passed" in out and "24 tiles" in out, out)
    for args, text in ((("--tiles", tmp + "/tiles"), "--tifs"), (("--tiles", tmp + "/tiles", "--tifs", tmp + "/tiles"), ".tif")):
        rc, _, err = flowrun("check-precision", files[0], *args, want=None)
        holds(rc in (1, 2) and text in err, "%s: status %d, it said %s" % (args, rc, err))


def means_are_those_of_the_formula(tmp):
    """A network without BN: nothing to estimate. Copies give themselves, two (a + b)/2, three the stream's."""
    torch()
    _, dicts, files = snapshots(tmp, "squeezenet1_1", 64, 3)
    for name, which in (("copies", (0, 0, 0, 0, 0)), ("two", (0, 1)), ("three", (2, 0, 1))):
        flowrun("average-snapshots", *(files[i] for i in which), "--out", tmp + "/out.safetensors")
        got = safetensors.load(tmp + "/out.safetensors")
        for tensor, value in dicts[0].items():
            want = {"copies": value, "two": np.float32((np.float64(dicts[0][tensor]) + dicts[1][tensor]) / 2)}.get(name, mean([dicts[i] for i in which], tensor))
            holds(np.array_equal(got[tensor], want), "%s: %s" % (name, tensor))
    with open(tmp + "/out.json") as f:
        m = json.load(f)
    same([os.path.basename(v["file"]) for v in m["average"]["of"]], [os.path.basename(files[i]) for i in (2, 0, 1)], "provenance")
    same((m["bf16_ok"], "bn" in m["average"], len(m["sha256"])), (False, False, 64), "manifest")


def a_run_takes_what_comes_out(tmp):
    torch()
    pixels, folder = tiles(tmp, 6, 96)
    with open(tmp + "/folds.csv", "w") as f:
        f.write("image_name,fold\n" + "".join("t%d,%d\n" % (i, i % 3) for i in range(6)))
    flowrun("average-snapshots", *MODELS, "--tiles", folder, "--folds", tmp + "/folds.csv", "--fold", "1", "--out", tmp + "/out.safetensors")
    with open(tmp + "/out.json") as f:
        same(json.load(f)["average"]["bn"]["tiles"], 4, "tiles of the other folds")
    stages = chain(tmp, [folder], models=[tmp + "/out.safetensors"], size=96)
    stages["decode"]["options"] = {"size": 96}
    stages["augment"]["options"]["tile"] = 96
    flowrun(write_graph(tmp + "/graph.json", stages), "-q", "--run", tmp + "/run")


def what_doesnt_fit_is_refused(tmp):
    torch()
    out = ("--out", tmp + "/out.safetensors")
    _, _, files = snapshots(tmp, "tilenet", 32, 2)
    _, folder = tiles(tmp, 3, 40)
    os.mkdir(tmp + "/other")
    _, _, others = snapshots(tmp + "/other", "squeezenet1_1", 64, 1)
    short = tmp + "/short.safetensors"
    state = safetensors.load(files[1])
    state["classifier.weight"] = state["classifier.weight"][:, 1:].copy()
    safetensors.save(short, state)
    described(short, "tilenet", 32)
    with open(tmp + "/bad.jpg", "wb") as f:
        f.write(b"\xff\xd8 no picture")
    with open(tmp + "/folds.csv", "w") as f:
        f.write("image_name,fold\nt0,0\n")
    for args, want, text in (
        ((*files, *out), 2, "BN layers"),
        ((files[0], others[0], "--tiles", folder, *out), 2, "arch"),
        ((files[0], short, "--tiles", folder, *out), 1, "classifier.weight"),
        ((*files, "--tiles", tmp + "/none", *out), 1, "none"),
        ((*files, "--tiles", tmp + "/bad.jpg", *out), 1, "bad.jpg"),
        ((*files, "--tiles", folder, "--folds", tmp + "/folds.csv", "--fold", "0", *out), 1, "t1"),
        ((*files, "--tiles", folder, "--fold", "0", *out), 2, "--folds"),
        ((*files, "--tiles", folder, "--out", files[0]), 2, "one of the snapshots"),
        ((*files, "--tiles", folder, "--out", tmp + "/out.bin"), 2, ".safetensors"),
        ((*files, "--tiles", folder, "--out", tmp + "/gone/out.safetensors"), 2, "gone/: No such file"),
        ((*files, "--tiles", folder, "--batch", "1", *out), 2, "batch"),
        ((tmp + "/gone.safetensors", "--tiles", folder, *out), 1, "gone"),
        ((*files, "--tiles", folder), 2, "out"),
    ):
        rc, _, err = flowrun("average-snapshots", *args, want=None)
        holds(rc == want and text in err, "%s: status %d, it said %s" % (args, rc, err))
        holds(not os.path.exists(tmp + "/out.safetensors"), "%s: left a file" % (args,))


if __name__ == "__main__":
    sys.exit(run_cases((statistics_are_those_of_update_bn, statistics_of_ngb_are_those_of_its_pixels, means_are_those_of_the_formula, a_run_takes_what_comes_out, what_doesnt_fit_is_refused)))
