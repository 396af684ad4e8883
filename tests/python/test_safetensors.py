"""flowrun.safetensors against PyTorch's types, against the C reader, and against files that are not what they should be."""
import json
import os
import random
import struct
import subprocess
import sys

import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
sys.path[:0] = [os.path.join(ROOT, "tests/lib"), os.path.join(ROOT, "python")]
from flow import BUILD, holds, run_cases, same
from flowrun import safetensors
from flowrun.safetensors import BF16, SafetensorsError


def example():
    draw = np.random.default_rng(1)
    return {
        "a": draw.normal(size=(2, 3)).astype(np.float32), "scalar": np.array(2.5), "half": draw.normal(size=7).astype(np.float16),
        "brain": BF16.rounded(draw.normal(size=(3, 1, 5)).astype(np.float32)), "empty": np.empty((0, 4), np.float32),
        "long": np.array([-1 << 62, 7]), "int": np.arange(3, dtype=np.int32), "short": np.arange(5, dtype=np.uint16),
        "byte": np.arange(9, dtype=np.uint8), "turned": draw.normal(size=(4, 3)).astype(np.float32).T, "big": np.arange(3, dtype=">f4"),
    }


def refused(where, blob):
    try:
        safetensors.parse("file", blob)
    except SafetensorsError as e:
        holds(str(e).startswith("file: "), f"{where}: {e}")
        return str(e)
    raise AssertionError(f"{where}: taken")


def file_of(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def what_is_saved_is_read(tmp):
    path, want = tmp + "/x.safetensors", example()
    safetensors.save(path, want, {"made": "here"})
    tensors, meta = safetensors.open_file(path)
    same(meta, {"made": "here"}, "metadata")
    same(list(tensors), list(want), "names")
    for name, got in safetensors.load(path).items():
        value = want[name].float32() if isinstance(want[name], BF16) else want[name]
        same(got.shape, value.shape, name)
        holds(np.array_equal(got, value), name)
        holds(not got.flags.writeable or isinstance(want[name], BF16), name + " is read-only")
    same(os.listdir(tmp), ["x.safetensors"], "files left")
    same(os.stat(path).st_mode & 0o777, 0o644, "mode")
    (length,) = struct.unpack("<Q", open(path, "rb").read(8))
    same(length % 8, 0, "the data's place")


def bfloat16_is_pytorchs(tmp):
    try:
        import torch
    except ImportError:
        from flow import Skip
        raise Skip("no torch for this Python") from None
    bits = np.random.default_rng(2).integers(0, 1 << 32, 200000, dtype=np.uint32)
    x = np.concatenate([bits.view(np.float32), np.float32([0, -0.0, np.inf, -np.inf, np.nan, 1 + 2**-8, 1 + 3 * 2**-8, 3.4e38])])
    want = torch.from_numpy(x).to(torch.bfloat16).float().numpy()
    got = BF16.rounded(x).float32()
    holds(np.array_equal(got, want, equal_nan=True), "rounding")
    holds(np.array_equal(np.signbit(got[~np.isnan(x)]), np.signbit(x[~np.isnan(x)])), "signs")


def the_c_reader_takes_it(tmp):
    labels = ["clear", "cloudy", "water"]
    shapes = {}
    before = 3
    for i, width in enumerate((16, 32, 64, 96)):
        shapes[f"features.conv{i}.weight"] = (width, before, 3, 3)
        shapes |= {f"features.norm{i}.{p}": (width,) for p in ("weight", "bias", "running_mean", "running_var")}
        before = width
    shapes |= {"classifier.weight": (3, 96), "classifier.bias": (3,)}
    path = tmp + "/t.safetensors"
    safetensors.save(path, {k: np.full(s, 0.5, np.float16) for k, s in shapes.items()})
    with open(tmp + "/t.json", "w") as f:
        json.dump({"format": 1, "kind": "network", "arch": "tilenet", "labels": labels,
                   "input": {"mode": "rgb", "channels": 3, "size": 64, "M": 255, "mean": [0.5] * 3, "std": [0.2] * 3}}, f)
    out = subprocess.run([BUILD + "/stages/forward", "--describe", "--options", json.dumps({"weights": [path], "device": "ref"})],
                         check=True, capture_output=True).stdout
    described = json.loads(out)
    same([described["error"], described["labels"]], [None, labels], "forward --describe")


def bad_files_are_named(tmp):
    good = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    for what, blob, says in (
        ("short", b"1234", "too short"),
        ("length beyond the file", struct.pack("<Q", 1 << 40), "cut off"),
        ("header beyond 100 MB", struct.pack("<Q", 200 << 20) + b"{}", "cut off"),
        ("no JSON", file_of(b"{nope"), "header"),
        ("no UTF-8", file_of(b'{"\xff":1}'), "header"),
        ("a list", file_of([]), "JSON object"),
        ("deep", file_of(b"[" * 100000), "header"),
        ("twice", file_of(b'{"a":%s,"a":%s}' % ((json.dumps(good).encode(),) * 2), b"12345678"), "twice"),
        ("metadata", file_of({"__metadata__": {"a": 1}}), "__metadata__"),
        ("name", file_of({"n" * 128: good}, b"12345678"), "name"),
        ("unknown key", file_of({"a": {**good, "x": 1}}, b"12345678"), "want an object"),
        ("dtype", file_of({"a": {**good, "dtype": "F8"}}, b"12345678"), "dtype"),
        ("dtype's type", file_of({"a": {**good, "dtype": [1]}}, b"12345678"), "dtype"),
        ("dimensions", file_of({"a": {**good, "shape": [1] * 7}}, b"12345678"), "shape"),
        ("negative", file_of({"a": {**good, "shape": [-2]}}, b"12345678"), "shape"),
        ("true", file_of({"a": {**good, "shape": [True]}}, b"1234"), "shape"),
        ("float", file_of({"a": {**good, "shape": [2.0]}}, b"12345678"), "shape"),
        ("offsets", file_of({"a": {**good, "data_offsets": [0, 9]}}, b"12345678"), "data_offsets"),
        ("falling", file_of({"a": {**good, "data_offsets": [8, 0]}}, b"12345678"), "data_offsets"),
        ("size", file_of({"a": {**good, "shape": [3]}}, b"12345678"), "want 12"),
        ("overlap", file_of({"a": good, "b": {**good, "data_offsets": [4, 12]}}, bytes(12)), "overlap"),
    ):
        said = refused(what, blob)
        holds(says in said, f"{what}: {said}")


def changed_files_never_break_it(tmp):
    safetensors.save(tmp + "/x", example(), {"a": "b"})
    blob, draw, taken = open(tmp + "/x", "rb").read(), random.Random(3), 0
    for _ in range(3000):
        b = bytearray(blob)
        for _ in range(draw.randint(1, 4)):
            b[draw.randrange(len(b) // 2)] = draw.choice(b'0123456789[]{}",:\x00\xff')
        if draw.random() < 0.2:
            del b[draw.randrange(len(b)) :]
        try:
            for t in safetensors.parse("file", bytes(b))[0].values():
                t.array().sum()
            taken += 1
        except SafetensorsError:
            pass
    holds(taken > 0, "none of the changed files was taken")


def what_cant_be_written_is_named(tmp):
    for tensors in ({"": np.zeros(1)}, {"__metadata__": np.zeros(1)}, {"n" * 128: np.zeros(1)}, {"a": np.zeros(1, np.complex64)},
                    {"a": np.array(["x"])}, {"a": np.zeros((1,) * 7)}, {"a": np.zeros(1, bool)}):
        try:
            safetensors.save(tmp + "/x", tensors)
        except SafetensorsError:
            continue
        raise AssertionError(f"written: {tensors}")
    same(os.listdir(tmp), [], "files left")
    safetensors.save(tmp + "/x", {"a": np.zeros(1, np.float32)})
    before = open(tmp + "/x", "rb").read()
    try:
        safetensors.save(tmp + "/x", {"a": np.zeros(1, object)})
    except SafetensorsError:
        pass
    same(open(tmp + "/x", "rb").read(), before, "the file there before")


if __name__ == "__main__":
    sys.exit(run_cases((what_is_saved_is_read, bfloat16_is_pytorchs, the_c_reader_takes_it, bad_files_are_named, changed_files_never_break_it,
                        what_cant_be_written_is_named)))
