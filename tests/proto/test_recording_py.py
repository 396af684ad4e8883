"""The Python reader of recordings against what the C writer wrote: a real run's edges, damaged copies, zstd."""
import ctypes
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import ROOT, TILES, flowrun, holds, same, slurp, write_graph   # noqa: E402

import numpy as np                                         # noqa: E402
from PIL import Image                                      # noqa: E402

sys.path.insert(0, ROOT + "/python")
from flowrun import recording                              # noqa: E402


def checksum(tmp):
    same(recording.crc32c(b"123456789"), 0xE3069283, "the check value of CRC-32C")
    data = bytes(np.random.default_rng(1).integers(0, 256, 200001, np.uint8))
    c = 0
    for i in range(0, len(data), 1000):                    # in pieces too small for strips
        c = recording.crc32c(data[i:i + 1000], c)
    same(recording.crc32c(data), c, "in strips")


def run(tmp, **record):
    os.mkdir(tmp + "/o")
    g = write_graph(tmp + "/g.json", flow.chain(tmp + "/o", TILES + "/*11.jpg", batch=2), record=dict({"edges": "all"}, **record))
    flowrun(g, "--run", tmp + "/run", "-q")
    return tmp + "/run/recordings/"


def pixels_are_those_of_another_decoder(tmp):
    for zstd in (0, 1):
        os.makedirs(tmp + "/%d" % zstd)
        r = recording.Recording(run(tmp + "/%d" % zstd, zstd=zstd) + "decode")
        same([r.edge, r.B, r.batches(), r.text["labels"][0]], ["decode", 2, [0, 1], "agriculture"], "head")
        for b in r:
            for tile, pixels in zip(b.ids, b.tensors["pixels"]):
                want = np.asarray(Image.open("%s/%s.jpg" % (TILES, tile)).convert("RGB"))
                holds(np.abs(pixels.astype(int) - want).max() <= 2, "pixels of " + tile)


def frames_of_another_size_are_refused(tmp):
    """Before anything is unpacked: what a frame states is what counts."""
    z = ctypes.CDLL("libzstd.so.1")
    z.ZSTD_compressBound.restype = z.ZSTD_compress.restype = ctypes.c_size_t
    for n in (1, 255, 256, 65791, 65792, 1 << 20):
        data, room = bytes(range(256)) * (n // 256 + 1), z.ZSTD_compressBound(ctypes.c_size_t(n))
        out = ctypes.create_string_buffer(room)
        size = z.ZSTD_compress(out, ctypes.c_size_t(room), data, ctypes.c_size_t(n), 3)
        frame = out.raw[:size]
        same(recording._zstd_size(frame), n, "size")
        same(recording._zstd(frame, n), data[:n], "contents")
        same([recording._zstd(frame, n - 1), recording._zstd(frame, n + 1), recording._zstd(frame[1:], n)], [None] * 3, "another size, no frame")
    frame = bytes.fromhex("28b52ffd e0 0000000000010000 010000".replace(" ", ""))     # states a terabyte in 16 bytes
    same([recording._zstd_size(frame), recording._zstd(frame, 1 << 40)], [1 << 40, None], "more than its bytes can stand for")


def damage_is_told_and_the_rest_stays(tmp):
    path = run(tmp) + "stack.0000.flr"
    data = bytearray(slurp(path))
    good = [b.tensors["prob"].copy() for b in recording.Recording(path)]
    at = data.find(good[1].tobytes())
    holds(at > 0, "the second batch lies in the file as it is")
    data[at] ^= 1
    with open(tmp + "/x.0000.flr", "wb") as f:
        f.write(data)
    r = recording.Recording(tmp + "/x.0000.flr")
    same(r.read(0).tensors["prob"].tobytes(), good[0].tobytes(), "the first batch")
    try:
        r.read(1)
        holds(False, "damage is told")
    except recording.DamagedError as why:
        holds("prob" in str(why), str(why))
    with open(tmp + "/torn.0000.flr", "wb") as f:
        f.write(data[:at])
    same(recording.Recording(tmp + "/torn.0000.flr").batches(), [0], "torn")


def small(tmp):
    """A recording of two batches, as bytes, and its records."""
    path = run(tmp) + "stack.0000.flr"
    return bytearray(slurp(path)), [(b.batch, b.attempt, b.ids, {k: v.tobytes() for k, v in b.tensors.items()}) for b in recording.Recording(path)]


def intact(path, data, want):
    """How many records are as they were written; None: refused as a whole. Another exception than the two that are promised goes through."""
    with open(path, "wb") as f:
        f.write(data)
    try:
        r = recording.Recording(path)
    except (recording.DamagedError, ValueError) as why:
        holds(path in str(why), "the file is named: " + str(why))
        return None
    good = 0
    for i in range(len(r)):
        try:
            b = r.read(i)
        except recording.DamagedError as why:
            holds(path in str(why), "the file is named: " + str(why))
            continue
        holds((b.batch, b.attempt, b.ids, {k: v.tobytes() for k, v in b.tensors.items()}) in want, "a record that was never written")
        good += 1
    return good


def every_byte_changed(tmp):
    data, want = small(tmp)
    lost = 0
    first = int.from_bytes(data[12:16], "little")
    for at in range(len(data)):
        data[at] ^= 1 << at % 8
        good = intact(tmp + "/x", data, want)
        holds(good is None and at < first or good in (1, 2), "byte %d: %r records" % (at, good))
        lost += good == 1
        data[at] ^= 1 << at % 8
    holds(lost > 2 * 64 * 5, "damage was seen at %d bytes" % lost)


def torn_at_every_length(tmp):
    data, want = small(tmp)
    before, first = 0, int.from_bytes(data[12:16], "little")
    for cut in range(len(data)):
        good = intact(tmp + "/x", data[:cut], want)
        holds(good is None and cut < first or good is not None and good >= before, "cut at %d: %r records" % (cut, good))
        before = good or 0
    same(before, 2, "records at the end")


def forged_with_right_checksums(tmp):
    """Heads changed at random, their checksum put right: refused, or read as what they now say."""
    data, _ = small(tmp)
    at, rng = int.from_bytes(data[12:16], "little"), np.random.default_rng(5)
    hlen, n = int.from_bytes(data[at + 4:at + 8], "little"), int.from_bytes(data[at + 24:at + 28], "little")
    refused = 0
    for _ in range(3000):
        copy = bytearray(data)
        for i in rng.integers(4, 36 if rng.random() < 0.2 else 40 + hlen + 16 * n, rng.integers(1, 4)):
            copy[at + i] = rng.integers(0, 256)
        size = 40 + int.from_bytes(copy[at + 4:at + 8], "little") + 16 * int.from_bytes(copy[at + 24:at + 28], "little")
        copy[at + 36:at + 40] = recording.crc32c(bytes(copy[at + 40:at + size]), recording.crc32c(bytes(copy[at:at + 36]))).to_bytes(4, "little")
        with open(tmp + "/x", "wb") as f:
            f.write(copy[:-32])                            # no index: heads are walked over
        r = recording.Recording(tmp + "/x")
        for i in range(len(r)):
            try:
                r.read(i)
            except recording.DamagedError:
                refused += 1
        refused += len(r) < 2
    holds(refused > 1000, "%d were refused" % refused)


if __name__ == "__main__":
    sys.exit(flow.run_cases([frames_of_another_size_are_refused, checksum, pixels_are_those_of_another_decoder, damage_is_told_and_the_rest_stays,
                             every_byte_changed, torn_at_every_length, forged_with_right_checksums]))
