"""flowrun.convert: state dicts of PyTorch become models of the forward stage that answer as PyTorch does; hostile files do nothing."""
import collections
import csv
import io
import json
import os
import pickle
import random
import sys
import zipfile

import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
sys.path[:0] = [os.path.join(ROOT, "tests/lib"), os.path.join(ROOT, "python")]
from flow import BUILD, Skip, chain, flowrun, holds, run_cases, same, write_graph
from flowrun import convert, pth, safetensors

LABELS = ["l%02d" % i for i in range(17)]
FORWARD = BUILD + "/stages/forward"
MEAN, STD = np.float64(convert.MEAN), np.float64(convert.STD)


def torch():
    try:
        import torch as module
        import torchvision
        return module, torchvision.models
    except ImportError:
        raise Skip("no torch and torchvision for this Python") from None


def network(arch, labels=17, seed=1):
    t, models = torch()
    t.manual_seed(seed)
    model = getattr(models, arch)(num_classes=labels)
    with t.no_grad():                       # fresh statistics are 0 and 1: nothing would show that they are lost
        for m in model.modules():
            if isinstance(m, t.nn.BatchNorm2d):
                m.running_mean.uniform_(-0.1, 0.1)
                m.running_var.uniform_(0.5, 1.5)
                m.weight.uniform_(0.5, 1.5)
                m.bias.uniform_(-0.1, 0.1)
    return t, model.eval()


def ran(*args, want=0):
    err = io.StringIO()
    before, sys.stderr = sys.stderr, err
    try:
        got = convert.main([str(a) for a in args] + ["--forward", FORWARD])
    finally:
        sys.stderr = before
    holds(got == want, f"convert {args}: {got}, it said {err.getvalue()}")
    return err.getvalue()


def tiles_of(tmp, n, size):
    """Random tiles as JPEGs, and the pixels that come out of them: u8 [n][size][size][3]."""
    from PIL import Image
    draw, tiles, files = np.random.default_rng(7), [], []
    for i in range(n):
        files.append(f"{tmp}/tile{i}.jpg")
        Image.fromarray(draw.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(files[-1], quality=95, subsampling=0)
        with Image.open(files[-1]) as im:
            tiles.append(np.asarray(im))
    return np.stack(tiles), files


def answers(tmp, model, files, size, **net):
    stages = chain(tmp, files, batch=4, models=[model], size=size, net=dict({"device": "cpu", "rows": 4}, **net))
    stages["augment"]["options"]["tile"] = size
    stages["decode"]["options"] = {"size": size}
    graph = write_graph(tmp + "/graph.json", stages)
    flowrun(graph, "-q", "--run", tmp + "/run")
    with open(tmp + "/probs.csv", newline="") as f:
        rows = sorted(csv.DictReader(f), key=lambda r: r["image_name"])
    return np.array([[float(r[label]) for label in LABELS] for r in rows])


def agree(arch, got, want):
    off = np.abs(got - want).max()
    holds(got.shape == want.shape and off <= 2e-5, f"{arch}: probabilities off by {off}")
    holds(np.ptp(want) > 0.01, f"{arch}: the answers say nothing")


def prob(t, model, tiles, mean=MEAN, std=STD):
    x = ((tiles / 255.0 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    with t.no_grad():
        return t.sigmoid(model(t.from_numpy(np.ascontiguousarray(x)))).numpy()


def networks_answer_as_pytorch_does(tmp):
    for arch, how in (("resnet18", {}), ("squeezenet1_1", {"_use_new_zipfile_serialization": False}), ("densenet121", {}), ("vgg11", {})):
        t, model = network(arch)
        at = f"{tmp}/{arch}"
        os.mkdir(at)
        t.save(model.state_dict(), at + "/w.pth", **how)
        ran(at + "/w.pth", "--arch", arch, "--labels", ",".join(LABELS), "--size", 64, "--out", at + "/m.safetensors")
        same(sorted(os.listdir(at)), ["m.json", "m.safetensors", "w.pth"], "files")
        tiles, files = tiles_of(at, 3, 64)
        agree(arch, answers(at, at + "/m.safetensors", files, 64), prob(t, model, tiles))


def all_archs_have_their_names(tmp):
    """Of each family's rows, shapes alone: what the forward stage proves."""
    t, _ = torch()
    for arch in ("resnet34", "resnet50", "resnext50_32x4d", "densenet169"):
        _, model = network(arch)
        t.save(model.state_dict(), tmp + "/w.pth")
        ran(tmp + "/w.pth", "--arch", arch, "--labels", ",".join(LABELS), "--out", tmp + "/m.safetensors")


def wrappers_and_timms_names(tmp):
    t, model = network("vgg11")
    state = model.state_dict()
    plain = convert.convert({k: v.numpy() for k, v in state.items()}, "vgg11", 17)
    timm = {}
    for name, value in state.items():
        if name.startswith("classifier.0.") or name.startswith("classifier.3."):
            side = 7 if name[11] == "0" else 1
            fc = "pre_logits.fc1." if name[11] == "0" else "pre_logits.fc2."
            timm[fc + name[13:]] = value.reshape(4096, -1, side, side) if value.ndim == 2 else value
        else:
            timm[name.replace("classifier.6.", "head.fc.")] = value
    saved = {"epoch": 3, "state_dict": collections.OrderedDict(("module.model." + k, v) for k, v in timm.items()), "best": 0.5}
    t.save(saved, tmp + "/w.pth")
    got = convert.convert(pth.load(tmp + "/w.pth"), "vgg11", 17)
    same(sorted(got), sorted(plain), "names")
    holds(all(np.array_equal(got[k], plain[k]) for k in plain), "values")


def what_pytorch_saves_is_read(tmp):
    t, _ = torch()
    base = t.arange(24, dtype=t.float32)
    want = {"a": base, "view": base[6:18].reshape(3, 4).t(), "scalar": t.tensor(2.5), "double": t.tensor([1.0], dtype=t.float64),
            "half": t.tensor([0.5, -2], dtype=t.float16), "brain": t.tensor([1.5, -3], dtype=t.bfloat16), "long": t.tensor([1 << 40]),
            "bool": t.tensor([True, False]), "none": t.empty(0, 3), "param": t.nn.Parameter(t.ones(2))}
    for new in (True, False):
        t.save(want, tmp + "/w.pth", _use_new_zipfile_serialization=new)
        got = pth.load(tmp + "/w.pth")
        same(list(got), list(want), "names")
        for name, value in want.items():
            same(got[name].shape, tuple(value.shape), name)
            holds(np.array_equal(got[name], value.detach().float().numpy() if name == "brain" else value.detach().numpy()), name)
    t.save(base, tmp + "/w.pth")
    failed(tmp + "/w.pth", "no dict of tensors")


def failed(path, says):
    try:
        pth.load(path)
    except pth.PthError as e:
        holds(says in str(e) and path in str(e), str(e))
        return
    raise AssertionError(f"{path}: taken")


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def zipped(path, blob, data=()):
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("archive/data.pkl", blob)
        for key, value in data:
            z.writestr(f"archive/data/{key}", value)


def tensor_pickle(args, count=4, kind="FloatStorage"):
    """{"a": tensor} by hand: args stand behind the storage in _rebuild_tensor_v2."""
    out = io.BytesIO()
    p = pickle._Pickler(out, 2)
    out.write(pickle.PROTO + b"\x02" + pickle.EMPTY_DICT)
    p.save("a")
    out.write(b"ctorch._utils\n_rebuild_tensor_v2\n(")
    out.write(b"(")
    p.save("storage")
    out.write(b"ctorch\n%s\n" % kind.encode())
    for v in ("0", "cpu", count):
        p.save(v)
    out.write(b"t" + pickle.BINPERSID)
    for v in args:
        p.save(v)
    out.write(b"tRs.")
    return out.getvalue()


def hostile_files_do_nothing(tmp):
    path, mark = tmp + "/w.pth", tmp + "/made"
    zipped(path, pickle.dumps({"a": Evil(mark)}, 2))
    failed(path, "posix.mkdir")
    with open(path, "wb") as f:
        f.write(pickle.dumps(Evil(mark), 2))
    failed(path, "posix.mkdir")
    holds(not os.path.exists(mark), "the pickle ran")
    for name in ("builtins eval", "os system", "numpy load", "torch load", "torch._utils _rebuild_qtensor", "functools partial", "torch.storage _load_from_bytes"):
        zipped(path, b"\x80\x02c%s\n." % name.replace(" ", "\n").encode())
        failed(path, name.replace(" ", "."))
    zipped(path, tensor_pickle((0, (2, 2), (2, 1), False, None)), [("0", bytes(16))])
    same(pth.load(path)["a"].shape, (2, 2), "a file by hand")
    for args in ((1, (2, 2), (2, 1)), (0, (2, 2), (3, 1)), (0, (2, 2), (2, -1)), (-1, (2, 2), (2, 1)), (0, (5,), (0,)), (0, (1 << 60,), (0,)),
                 (0, (2, 2), (2,)), (0, (1,) * 7, (1,) * 7), (0.0, (1,), (1,)), (0, (True,), (1,))):
        zipped(path, tensor_pickle((*args, False, None)), [("0", bytes(16))])
        failed(path, "a tensor")
    for blob, data in ((tensor_pickle((0, (4,), (1,), 0, 0)), []), (tensor_pickle((0, (4,), (1,), 0, 0)), [("0", bytes(15))]),
                       (tensor_pickle((0, (4,), (1,), 0, 0), count=1 << 39), [("0", bytes(16))])):
        zipped(path, blob, data)
        failed(path, "storage 0")
    state = b"\x80\x02}X\x01\x00\x00\x00a" + tensor_pickle((0, (4,), (1,), 0, 0))[9:-2] + b"}X\x01\x00\x00\x00xK\x01sbs."
    zipped(path, state, [("0", bytes(16))])
    failed(path, "state of a tensor")
    zipped(path, b"\x80\x02}r\xff\xff\xff\x7f.")        # 2^31 entries in the unpickler's table
    failed(path, "numbers things")
    for blob in (b"", b"\x80\x02", b"PK\x03\x04nothing", b"\x80\x02K\x01.", bytes(100)):
        with open(path, "wb") as f:
            f.write(blob)
        failed(path, path)


def changed_files_never_break_it(tmp):
    t, _ = torch()
    draw, path = random.Random(5), tmp + "/w.pth"
    state = {"a": t.arange(6).reshape(2, 3).float(), "b": t.ones(2, dtype=t.float16)}
    for new in (True, False):
        t.save(state, path, _use_new_zipfile_serialization=new)
        blob = open(path, "rb").read()
        for _ in range(800):
            b = bytearray(blob)
            for _ in range(draw.randint(1, 3)):
                b[draw.randrange(len(b))] = draw.randrange(256)
            if draw.random() < 0.1:
                del b[draw.randrange(len(b)) :]
            with open(path, "wb") as f:
                f.write(b)
            try:
                pth.load(path)
            except pth.PthError:
                pass


def heads_and_channels(tmp):
    t, model = network("resnet18", labels=1000)
    t.save(model.state_dict(), tmp + "/w.pth")
    common = (tmp + "/w.pth", "--arch", "resnet18", "--labels", ",".join(LABELS), "--out", tmp + "/m.safetensors", "--size", 64)
    said = ran(*common, want=1)
    holds("1000 labels" in said and "17" in said, said)
    same(os.listdir(tmp), ["w.pth"], "files after a failure")
    ran(*common, "--new-head", 3, "--mode", "rgbn", "--adapt", "mean")
    got = safetensors.load(tmp + "/m.safetensors")
    bound = 1 / np.sqrt(512)
    holds(got["fc.weight"].shape == (17, 512) and 0.99 * bound < np.abs(got["fc.weight"]).max() <= bound, "fresh head")
    old = model.state_dict()["conv1.weight"].numpy()
    holds(np.allclose(got["conv1.weight"], 0.75 * np.concatenate([old, old.mean(1, keepdims=True)], 1), atol=1e-7), "fourth channel")
    with open(tmp + "/m.json") as f:
        m = json.load(f)
    same([m["input"]["channels"], m["input"]["mode"], m["bf16_ok"], "softmax" in m], [4, "rgbn", False, False], "manifest")
    holds(np.allclose(m["input"]["mean"], [*convert.MEAN, np.mean(convert.MEAN)]), "mean of the fourth")


def what_does_not_fit_is_named(tmp):
    t, model = network("resnet18")
    state = model.state_dict()
    common = ("--labels", ",".join(LABELS), "--out", tmp + "/m.safetensors", "--size", 64)

    def says(words, change, arch="resnet18", *more):
        s = collections.OrderedDict(state)
        change(s)
        t.save(s, tmp + "/w.pth")
        said = ran(tmp + "/w.pth", "--arch", arch, *common, *more, want=1)
        holds(words in said and said.count("\n") == 1, said)
        same(os.listdir(tmp), ["w.pth"], "files after a failure")

    says("layer1.0.bn1.weight", lambda s: s.pop("layer1.0.bn1.weight"))
    says("extra.weight", lambda s: s.update({"extra.weight": t.ones(2)}))
    says("layer1.0.bn1.weight", lambda s: s.update({"layer1.0.bn1.weight": t.ones(65)}))
    says("element 3 is nan", lambda s: s["bn1.bias"].__setitem__(3, float("nan")))
    state["bn1.bias"][3] = 0
    says("want floats", lambda s: s.update({"fc.bias": t.ones(17, dtype=t.int64)}))
    says("layer1", lambda s: None, "resnet50")
    says("none of the families", lambda s: None, "vit_b_16")
    says("did you mean", lambda s: None, "resnet19")
    says("features.0.weight", lambda s: None, "vgg16")
    says("--mean and --std", lambda s: None, "resnet18", "--mode", "ngb")
    says("--mean", lambda s: None, "resnet18", "--mean", "1,2", "--std", "1,1,1")
    says("--std", lambda s: None, "resnet18", "--mean", "1,2,3", "--std", "1,0,1")
    says("twice", lambda s: None, "resnet18", "--labels", ",".join(["a"] * 17))
    says("none of the labels", lambda s: None, "resnet18", "--rest-off", "cloudy")
    says("no file gone.txt", lambda s: None, "resnet18", "--labels", "gone.txt")
    says("--out: no folder", lambda s: None, "resnet18", "--out", tmp + "/gone/m.safetensors")
    # the file that the user named, not one that is gone
    says(tmp + '/w.pth: tensor "extra.weight"', lambda s: s.update({"extra.weight": t.ones(2)}))
    says(tmp + "/m.json: rest_off", lambda s: None, "resnet18", "--rest-off", "cloudy")

    def under(s, prefix):
        for k in list(s):
            s[prefix + k] = s.pop(k)
    says('"criterion.weight" beside the network', lambda s: (under(s, "model."), s.update({"criterion.weight": t.ones(2)})))
    says('no tensor "conv1.weight", but "inner.conv1.weight"', lambda s: under(s, "inner."))
    says("--two-layer 64", lambda s: (s.pop("fc.weight"), s.pop("fc.bias"), s.update({"fc.0.weight": t.ones(64, 512), "fc.3.weight": t.ones(17, 64)})))
    t.save(model, tmp + "/w.pth")
    holds("save model.state_dict() alone" in ran(tmp + "/w.pth", "--arch", "resnet18", *common, want=1), "a whole model")


def a_head_behind_a_dropout(tmp):
    t, model = network("resnet18")
    want = convert.convert({k: v.numpy() for k, v in model.state_dict().items()}, "resnet18", 17)
    model.fc = t.nn.Sequential(t.nn.Dropout(0.5), model.fc)
    got = convert.convert({k: v.numpy() for k, v in model.state_dict().items()}, "resnet18", 17)
    same(sorted(got), sorted(want), "names")
    holds(all(np.array_equal(got[k], want[k]) for k in want), "values")


if __name__ == "__main__":
    sys.exit(run_cases((networks_answer_as_pytorch_does, all_archs_have_their_names, wrappers_and_timms_names, what_pytorch_saves_is_read,
                        hostile_files_do_nothing, changed_files_never_break_it, heads_and_channels, what_does_not_fit_is_named,
                        a_head_behind_a_dropout)))
