"""Bands: statistics of a folder of tiles against NumPy, ngb against numpy.percentile and numpy.interp, 16-bit tiles through the feed into a network."""
import json
import os
import subprocess
import sys

import numpy as np

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), p) for p in ("../lib", "../../python")]
import flow
from flow import BUILD, FLOWRUN, ROOT, Skip, data, flowrun as run_flowrun, holds, same, write_graph

os.environ["FLOWRUN"] = FLOWRUN
from flowrun import Feed

PAINT = os.path.join(BUILD, "samples/paint")
N, SIDE = 24, 64
IDS = ["sample_%05d" % i for i in range(N)]


def paint(tmp, *more):
    subprocess.run([PAINT, "--out", tmp, "--n", str(N), "--size", str(SIDE), "--seed", "5", "--tif", *more], check=True, stdout=subprocess.DEVNULL)


def folds(tmp):
    with open(tmp + "/folds.csv", "w") as f:
        f.write("image_name,fold\n" + "".join("%s,%d\n" % (t, k % 3) for k, t in enumerate(IDS)))


def tif(path):
    """R,G,B,NIR u16: libtiff by way of OpenCV, which takes the file's B,G,R,NIR as R,G,B,A and swaps the first and the third."""
    import cv2
    return cv2.imread(path, cv2.IMREAD_UNCHANGED)


def said(path):
    with open(path) as f:
        return json.load(f)


def close(got, want, what):
    holds(np.allclose(got, want, rtol=1e-12, atol=0), f"{what}: got {got}, want {want}")


# ---- statistics ----

def statistics_of_a_folder_are_numpys(tmp):
    paint(tmp)
    folds(tmp)
    for how, tiles, top, channels, want in (
            (["--mode", "rgbn"], "tif", 65535, 4, [tif(f"{tmp}/tif/{t}.tif") for t in IDS]),
            (["--mode", "rgbn", "--folds", tmp + "/folds.csv", "--fold", "1", "--instances", "2"], "tif", 65535, 4, [tif(f"{tmp}/tif/{t}.tif") for k, t in enumerate(IDS) if k % 3 != 1]),
            ([], "tiles", 255, 3, None)):
        _, out, _ = run_flowrun("stats", f"{tmp}/{tiles}", "--size", str(SIDE), "--out", tmp + "/s.json", *how)
        s = said(tmp + "/s.json")
        if want is None:
            stages = {"tiles": {"stage": "source", "options": {"files": tmp + "/tiles", "batch": 8}}, "decode": {"from": "tiles", "options": {"size": SIDE}}, "feed": {"from": "decode"}}
            want = []
            with Feed({"memory": "60MB", "stages": stages}) as feed:
                for b in feed:
                    want += list(np.array(b["pixels"]))
                    del b
        a = np.stack(want).reshape(-1, channels).astype(np.float64)
        same([s["channels"], s["M"], s["tiles"], s["rejected"], s["pixels"]], [channels, top, len(want), 0, len(a)], tiles)
        close(s["mean"], a.mean(0) / top, "mean")
        close(s["std"], a.std(0) / top, "std")
        close(s["mean_dn"], a.mean(0), "mean_dn")
        holds(f"{len(want)} tiles" in out, out)


def statistics_of_real_tiles_are_those_of_their_table(tmp):
    import csv
    folder = data("planet-tif")
    run_flowrun("stats", folder + "/v2", "--mode", "rgbn", "--out", tmp + "/s.json")
    with open(folder + "/tifs.csv", newline="") as f:
        rows = [r for r in csv.DictReader(f) if r["file"].startswith("v2/")]
    s = said(tmp + "/s.json")
    mean = np.array([[float(r["mean_" + c]) for c in "rgbn"] for r in rows])
    std = np.array([[float(r["std_" + c]) for c in "rgbn"] for r in rows])
    same(s["tiles"], len(rows), "tiles")
    holds(np.allclose(s["mean_dn"], mean.mean(0), atol=5e-3), f"{s['mean_dn']} against {mean.mean(0)}")
    want = np.sqrt((std ** 2 + mean ** 2).mean(0) - mean.mean(0) ** 2)           # the table has 3 decimals
    holds(np.allclose(s["std_dn"], want, atol=0.05), f"{s['std_dn']} against {want}")


def bad_arguments_and_bad_tiles_are_told(tmp):
    paint(tmp)
    for args, text in (([], "want --out"), (["--out", tmp + "/s.json"], "want TILES"), ([tmp + "/tif", "--out", tmp + "/s.json", "--mod", "x"], "did you mean --mode"),
                       ([tmp + "/tif", "--out", tmp + "/s.json", "--fold", "1"], "go together"), ([tmp + "/nothing", "--out", tmp + "/s.json"], "nothing"),
                       ([tmp + "/tif", "--out", tmp + "/s.json", "--mode", "rgbx"], "rgbn"), ([tmp + "/tif", "--out", tmp + "/s.json", "--size", "0"], "size"),
                       ([tmp + "/tiles", "--out", tmp + "/s.json", "--mode", "ngb"], "tifs")):
        _, _, err = run_flowrun("stats", *args, want=2)
        holds(text in err, f"{args}: {err}")
    with open(tmp + "/tif/sample_00003.tif", "r+b") as f:
        f.truncate(1000)
    run_flowrun("stats", tmp + "/tif", "--mode", "rgbn", "--size", str(SIDE), "--out", tmp + "/s.json", want=3)
    same([said(tmp + "/s.json")[k] for k in ("tiles", "rejected")], [N - 1, 1], "counts")
    run_flowrun("stats", tmp + "/tiles", "--mode", "rgbn", "--size", str(SIDE), "--out", tmp + "/none.json", want=1)
    holds(not os.path.exists(tmp + "/none.json"), "no answer without a tile")


# ---- ngb ----

def matched(bands, like):
    points = np.linspace(0.5, 99.5, 32)
    out = [np.interp(bands[:, :, c], np.percentile(bands[:, :, c], points), np.percentile(like[:, :, c], points)) for c in range(3)]
    return np.clip(np.stack(out, -1), 0, 255)


def ngb_tiles(tiles, tifs, size):
    stages = {"tiles": {"stage": "source", "options": {"files": tiles, "batch": 4}}, "decode": {"from": "tiles", "options": {"mode": "ngb", "tifs": tifs, "size": size}},
              "feed": {"from": "decode"}}
    rows = {}
    with Feed({"memory": "60MB", "stages": stages}) as feed:
        for b in feed:
            rows.update((t, (np.array(b["pixels"][i]), bool(b.good[i]), b.reasons.get(i, ""))) for i, t in enumerate(b.ids))
            del b
    return rows


def rgb_tiles(tiles, size):
    stages = {"tiles": {"stage": "source", "options": {"files": tiles, "batch": 4}}, "decode": {"from": "tiles", "options": {"size": size}}, "feed": {"from": "decode"}}
    rows = {}
    with Feed({"memory": "60MB", "stages": stages}) as feed:
        for b in feed:
            rows.update((t, np.array(b["pixels"][i])) for i, t in enumerate(b.ids))
            del b
    return rows


def compare_ngb(tiles, tifs, size):
    got, pictures = ngb_tiles(tiles, tifs, size), rgb_tiles(tiles, size)
    for tile, (pixels, good, _) in got.items():
        holds(good, tile)
        want = matched(tif(f"{tifs}/{tile}.tif")[:, :, [3, 1, 2]].astype(np.float64), pictures[tile].astype(np.float64))
        far = np.abs(pixels - want)
        holds(far.max() <= 0.5 + 1e-9, f"{tile}: {far.max()} off")
    return got


def ngb_takes_each_band_to_the_pictures_range(tmp):
    paint(tmp)
    same(len(compare_ngb(tmp + "/tiles", tmp + "/tif", SIDE)), N, "tiles")


def ngb_of_real_pairs(tmp):
    tiles, tifs = data("planet-tiles/jpg"), data("planet-tif/v2")
    both = sorted(t[:-4] for t in os.listdir(tiles) if os.path.exists(os.path.join(tifs, t[:-4] + ".tif")))
    holds(len(both) >= 10, f"pairs: {both}")
    compare_ngb([f"{tiles}/{t}.jpg" for t in both], tifs, 256)


def ngb_of_flat_bands_and_of_a_missing_file(tmp):
    import cv2
    os.mkdir(tmp + "/tiles")
    os.mkdir(tmp + "/tif")
    ramp = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)
    for name, bands in (("flat", [ramp * 0 + 700] * 4), ("ramp", [ramp, ramp * 2, ramp * 0 + 9, 65535 - ramp]), ("lost", None)):
        cv2.imwrite(f"{tmp}/tiles/{name}.jpg", np.stack([(ramp // 16).astype(np.uint8)] * 3, -1), [cv2.IMWRITE_JPEG_QUALITY, 95])
        if bands:
            cv2.imwrite(f"{tmp}/tif/{name}.tif", np.stack([bands[2], bands[1], bands[0], bands[3]], -1), [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    good = [f"{tmp}/tiles/{name}.jpg" for name in ("flat", "ramp")]
    compare_ngb(good, tmp + "/tif", SIDE)
    lost = ngb_tiles([tmp + "/tiles/lost.jpg"], tmp + "/tif", SIDE)["lost"]
    holds(not lost[1] and "E_INPUT" in lost[2] and "lost.tif: No such file" in lost[2], lost[2])
    for options, text in (({"mode": "ngb"}, "tifs"), ({"mode": "rgb", "tifs": tmp + "/tif"}, "mode ngb"), ({"mode": "ngb", "tifs": tmp + "/nowhere"}, "nowhere")):
        stages = {"tiles": {"stage": "source", "options": {"files": good}}, "decode": {"from": "tiles", "options": options}, "sink": {"from": "decode"}}
        _, _, err = run_flowrun("check", write_graph(tmp + "/g.json", stages), want=2)
        holds(text in err, f"{options}: {err}")


# ---- training ----

def sixteen_bits_come_to_a_trainer_as_numpy_has_them(tmp):
    paint(tmp)
    folds(tmp)
    run_flowrun("stats", tmp + "/tif", "--mode", "rgbn", "--size", str(SIDE), "--folds", tmp + "/folds.csv", "--fold", "0", "--out", tmp + "/s.json")
    s = said(tmp + "/s.json")

    def graph(instances, **augment):
        return {"memory": "60MB", "seed": 3, "stages": {
            "tiles": {"stage": "source", "options": {"files": tmp + "/tif", "labels": tmp + "/labels.csv", "folds": tmp + "/folds.csv", "fold": 0, "split": "train", "batch": 4, "epochs": 2,
                                                     "shuffle": True}},
            "decode": {"from": "tiles", "instances": instances, "options": {"mode": "rgbn", "size": SIDE}},
            "augment": {"from": "decode", "instances": instances, "options": {"tile": SIDE, "normalise": tmp + "/s.json", **augment}}, "feed": {"from": "augment"}}}

    def rows(g):
        got = {}
        with Feed(g) as feed:
            for epoch in range(feed.epochs):
                for b in feed:
                    got.update(((epoch, t), (np.array(b["input"][i]), b.labels[i].tobytes())) for i, t in enumerate(b.ids))
                    del b
        return got
    plain = rows(graph(1, views="identity", out="f32"))
    same(len(plain), 2 * (N - N // 3), "rows of both epochs")
    for (epoch, tile), (x, _) in plain.items():
        same([x.shape, x.dtype], [(1, 4, SIDE, SIDE), np.dtype("f4")], tile)
        want = (tif(f"{tmp}/tif/{tile}.tif").astype(np.float64) / 65535 - s["mean"]) / s["std"]
        holds(np.abs(x[0].transpose(1, 2, 0) - want).max() < 1e-4, f"{tile} is off by {np.abs(x[0].transpose(1, 2, 0) - want).max()}")
    drawn = rows(graph(1, preset="n01z3"))
    again = rows(graph(3, preset="n01z3"))
    same({k: (x.tobytes(), y) for k, (x, y) in drawn.items()} == {k: (x.tobytes(), y) for k, (x, y) in again.items()}, True, "drawn views of one and of three instances")
    holds(any((drawn[0, t][0] != drawn[1, t][0]).any() for t in IDS if (0, t) in drawn), "epochs differ")


def a_network_for_four_bands_is_trained_and_runs(tmp):
    try:
        import torch                                     # noqa: F401
        import torchvision                               # noqa: F401
    except ImportError:
        raise Skip("no torch")
    paint(tmp)
    folds(tmp)
    run_flowrun("stats", tmp + "/tif", "--mode", "rgbn", "--size", str(SIDE), "--folds", tmp + "/folds.csv", "--fold", "0", "--out", tmp + "/s.json")
    train = [sys.executable, os.path.join(ROOT, "python/examples/train.py"), "--tiles", tmp + "/tif", "--labels", tmp + "/labels.csv", "--folds", tmp + "/folds.csv", "--fold", "0", "--size", "32",
             "--batch", "8", "--epochs", "1", "--cycles", "1", "--cycle-epochs", "1", "--threads", "1", "--out", tmp + "/out", "--mode", "rgbn"]
    got = subprocess.run(train, capture_output=True, text=True, timeout=200)
    holds(got.returncode != 0 and "needs --stats" in got.stderr, got.stderr[-500:])
    got = subprocess.run(train + ["--stats", tmp + "/s.json"], capture_output=True, text=True, timeout=200)
    same(got.returncode, 0, got.stdout[-500:] + got.stderr[-1500:])
    run_flowrun(tmp + "/out/pipeline.yaml", "-q", "--run", tmp + "/run")
    same(flow.report(tmp + "/run")["predicted"], N // 3, "tiles of the held-out fold")
    from flowrun import safetensors
    weights = safetensors.load(tmp + "/out/resnet18-1.safetensors")
    same(weights["conv1.weight"].shape, (64, 4, 7, 7), "the first convolution")


if __name__ == "__main__":
    sys.exit(flow.run_cases([
        statistics_of_a_folder_are_numpys, statistics_of_real_tiles_are_those_of_their_table, bad_arguments_and_bad_tiles_are_told,
        ngb_takes_each_band_to_the_pictures_range, ngb_of_real_pairs, ngb_of_flat_bands_and_of_a_missing_file,
        sixteen_bits_come_to_a_trainer_as_numpy_has_them, a_network_for_four_bands_is_trained_and_runs,
    ]))
