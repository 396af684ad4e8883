"""Makes the files that test_bad_input.py runs on: tiles and weights, whole and broken in one known way."""
import hashlib
import json
import os
import shutil
import struct

import numpy as np

# ---- JPEG: blocks without any coefficient, so that the scan is zeros whatever the size ----


def _segment(marker, body):
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def flat_jpeg(width, height, components):
    """A baseline JPEG of one even colour; width and height are multiples of 8."""
    which = bytes(range(1, components + 1))
    frame = struct.pack(">BHHB", 8, height, width, components) + b"".join(bytes((c, 0x11, 0)) for c in which)
    one_code = bytes((1,)) + bytes(15) + bytes((0,))      # the code "0" stands for symbol 0
    scan = bytes((components,)) + b"".join(bytes((c, 0)) for c in which) + bytes((0, 63, 0))
    bits = width // 8 * (height // 8) * components * 2
    return (b"\xFF\xD8" + _segment(0xDB, bytes((0,)) + bytes([16] * 64)) + _segment(0xC0, frame) + _segment(0xC4, b"\x00" + one_code)
            + _segment(0xC4, b"\x10" + one_code) + _segment(0xDA, scan) + bytes((bits + 7) // 8) + b"\xFF\xD9")


def resized_header(jpeg, width, height):
    """The same JPEG, its frame header telling another size."""
    at = jpeg.index(b"\xFF\xC0")
    return jpeg[:at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9:]


# ---- TIFF: 16-bit chunky bands, uncompressed, one strip of 8 rows after the other ----


def tiff(pixels, lie=None):
    """pixels: u16 [rows, columns, bands]. lie: offset claimed for the last strip."""
    rows, columns, bands = pixels.shape
    data = pixels.astype("<u2").tobytes()
    strip, n = 8 * columns * bands * 2, rows // 8
    offsets, counts = [8 + i * strip for i in range(n)], [strip] * n
    if lie is not None:
        offsets[-1] = lie
    more = 8 + len(data)
    extra = struct.pack("<%dH" % bands, *[16] * bands)
    extra += bytes(-len(extra) % 4)
    at_offsets = more + len(extra)
    at_counts, ifd = at_offsets + 4 * n, at_offsets + 8 * n
    short, long = 3, 4
    tags = [(256, long, 1, columns), (257, long, 1, rows), (258, short, bands, more), (259, short, 1, 1), (262, short, 1, 2),
            (273, long, n, at_offsets), (277, short, 1, bands), (278, long, 1, 8), (279, long, n, at_counts), (284, short, 1, 1)]
    body = struct.pack("<2sHI", b"II", 42, ifd) + data + extra + struct.pack("<%dI" % n, *offsets) + struct.pack("<%dI" % n, *counts)
    return body + struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags) + bytes(4)


def noise(seed, rows=256, columns=256, bands=4):
    return np.random.default_rng(seed).integers(0, 65536, (rows, columns, bands), dtype=np.uint16)


# ---- weights ----


def read_weights(path):
    """The tensors of a file of f32, in its order."""
    with open(path, "rb") as f:
        size, = struct.unpack("<Q", f.read(8))
        head, data = json.loads(f.read(size)), f.read()
    head.pop("__metadata__", None)
    out = {}
    for name, t in sorted(head.items(), key=lambda item: item[1]["data_offsets"]):
        assert t["dtype"] == "F32", name
        out[name] = np.frombuffer(data[slice(*t["data_offsets"])], "<f4").reshape(t["shape"]).copy()
    return out


def write_weights(path, tensors, manifest, sha256=None):
    """NAME.safetensors and NAME.json beside it, which tells the file's own SHA-256 unless another is given."""
    head, at = {}, 0
    for name, t in tensors.items():
        head[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    data = struct.pack("<Q", len(text)) + text + b"".join(t.astype("<f4").tobytes() for t in tensors.values())
    with open(path, "wb") as f:
        f.write(data)
    with open(os.path.splitext(path)[0] + ".json", "w") as f:
        json.dump(dict(manifest, sha256=sha256 or hashlib.sha256(data).hexdigest()), f)


def weights_broken(model, to):
    """Variants of a model, each wrong in one way, in folder `to`. Returns the names of the tensors that are missing, misshapen and NaN."""
    tensors = read_weights(model)
    with open(os.path.splitext(model)[0] + ".json") as f:
        manifest = json.load(f)
    names = list(tensors)
    first, second, last = names[0], names[1], names[-1]

    def put(name, changed, **different):
        write_weights(os.path.join(to, name + ".safetensors"), changed, dict(manifest, **different))

    put("net", tensors)
    put("missing", {k: v for k, v in tensors.items() if k != second})
    put("extra", dict(tensors, surplus=np.zeros(3, np.float32)))
    put("misshapen", dict(tensors, **{first: tensors[first][..., :-1]}))
    put("nan", dict(tensors, **{last: np.where(np.arange(tensors[last].size).reshape(tensors[last].shape) == 2, np.nan, tensors[last])}))
    put("deep", tensors, input=dict(manifest["input"], M=65535))
    put("renamed", tensors, labels=["farming"] + manifest["labels"][1:])
    put("unknown_key", tensors, colour="blue")
    put("unknown_arch", tensors, arch="tilnet")
    put("few_means", tensors, input=dict(manifest["input"], mean=[0.5, 0.5]))
    write_weights(os.path.join(to, "wrong_sha.safetensors"), tensors, manifest, "0" * 64)
    with open(os.path.join(to, "cut.safetensors"), "wb") as out, open(model, "rb") as f:
        out.write(f.read()[:-100])
    shutil.copy(os.path.splitext(model)[0] + ".json", os.path.join(to, "cut.json"))
    with open(os.path.join(to, "lonely.safetensors"), "wb") as out:
        out.write(b"x")
    return second, first, last
