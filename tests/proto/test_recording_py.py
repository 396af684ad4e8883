"""The Python reader of recordings against what the C writer wrote: a real run's edges, damaged copies, zstd."""
import importlib.util
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import ROOT, TILES, flowrun, holds, same, slurp, write_graph   # noqa: E402

import numpy as np                                         # noqa: E402
from PIL import Image                                      # noqa: E402

spec = importlib.util.spec_from_file_location("recording", ROOT + "/python/flowrun/recording.py")
recording = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recording)


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


if __name__ == "__main__":
    sys.exit(flow.run_cases([checksum, pixels_are_those_of_another_decoder, damage_is_told_and_the_rest_stays]))
