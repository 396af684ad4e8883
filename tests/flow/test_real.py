"""Whole runs on real tiles and TIFs, and a trained SqueezeNet against logits of an independent program."""
import csv
import glob
import io
import json
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import flow
from flow import chain, data, flowrun, holds, report, same, slurp, write_graph

WEATHER = ["clear", "cloudy", "haze", "partly_cloudy"]


def table(path):
    return list(csv.DictReader(io.StringIO(slurp(path).decode())))


def stem(path):
    return os.path.splitext(os.path.basename(path))[0]


# ---- decoding alone ----

def decoded(tmp, files, want, batch=16, **options):
    """Runs source, decode and sink; the report and the rejected rows."""
    graph = write_graph(tmp + "/graph.yaml", {
        "source": {"options": {"files": files, "batch": batch}},
        "decode": {"from": "source", "instances": 2, "options": options},
        "sink": {"from": "decode"},
    })
    flowrun(graph, "-q", "--run", tmp + "/run", want=want)
    r = report(tmp + "/run")
    same(r["predicted"] + r["rejected"], r["tiles"], "predicted + rejected")
    return r, table(tmp + "/run/rejects.csv")


def all_jpegs_decode(tmp):
    files = sorted(glob.glob(data("planet-tiles/jpg") + "/*.jpg"))
    same(len(files), 141, "files")
    r, rejects = decoded(tmp, files, 0)
    same([r["tiles"], r["predicted"], rejects], [141, 141, []], "accounted")
    counters = r["stages"]["decode"]["counters"]
    same([counters["tiles"], counters["bad"]], [141, 0], "counters of decode")
    same(counters["bytes"], sum(os.path.getsize(f) for f in files), "bytes read")


def all_tifs_decode(tmp):
    files = sorted(glob.glob(data("planet-tif/v2") + "/*.tif"))
    same(len(files), 14, "files")
    for mode in ({"mode": "rgbn"}, {"tif_rgb": True}):
        folder = os.path.join(tmp, "_".join(mode))
        os.mkdir(folder)
        r, rejects = decoded(folder, files, 0, batch=4, **mode)
        same([r["tiles"], r["predicted"], rejects], [14, 14, []], "accounted")


def older_tifs_decode(tmp):
    # Strips with gaps, and values up to 61440 in one: damaged in content, in form as good as any.
    files = sorted(glob.glob(data("planet-tif/v1") + "/*.tif"))
    same([stem(f) for f in files], ["train_1", "train_2"], "files")
    r, rejects = decoded(tmp, files, 0, mode="rgbn")
    same([r["tiles"], r["predicted"], rejects], [2, 2, []], "accounted")


def what_decode_was_not_asked_for_is_rejected(tmp):
    jpegs = sorted(glob.glob(data("planet-tiles/jpg") + "/*.jpg"))[:5]
    tifs = sorted(glob.glob(data("planet-tif/v2") + "/*.tif"))
    tifs = [f for f in tifs if stem(f) not in {stem(j) for j in jpegs}][:3]
    r, rejects = decoded(tmp, jpegs + tifs, 3)
    same([r["tiles"], r["predicted"], r["rejected"]], [8, 5, 3], "accounted")
    same(sorted(x["id"] for x in rejects), sorted(stem(f) for f in tifs), "rejected ids")
    holds(all(x["stage"] == "decode" and x["reason"] for x in rejects), "stage and reason: %r" % rejects)


def other_sizes_are_refused_or_fitted(tmp):
    images = table(data("ucmerced/labels.csv"))
    odd = [x for x in images if (x["width"], x["height"]) != ("256", "256")]
    even = [x for x in images if x not in odd][:20]
    files = [data("ucmerced/jpg/" + x["file"]) for x in odd + even]
    names = {stem(x["file"]) for x in odd}
    os.mkdir(tmp + "/none")
    r, rejects = decoded(tmp + "/none", files, 3)
    same([r["predicted"], {x["id"] for x in rejects}], [20, names], "those of another size are rejected")
    for way in ("fit", "resize"):
        os.mkdir(tmp + "/" + way)
        same(decoded(tmp + "/" + way, files, 0, allow_size=way)[0]["predicted"], len(files), way)


# ---- the trained network ----

def read_safetensors(path):
    blob = slurp(path)
    n = int.from_bytes(blob[:8], "little")
    out = {}
    for name, t in json.loads(blob[8:8 + n]).items():
        if name != "__metadata__":
            same(t["dtype"], "F32", name)
            a, b = t["data_offsets"]
            out[name] = np.frombuffer(blob[8 + n + a:8 + n + b], "<f4").reshape(t["shape"])
    return out


def write_safetensors(path, tensors):
    head, at, parts = {}, 0, []
    for name, t in tensors.items():
        part = np.ascontiguousarray(t, "<f4").tobytes()
        head[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + len(part)]}
        parts.append(part)
        at += len(part)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + b"".join(parts))


FIRE = dict(zip(range(2, 10), (3, 4, 6, 7, 9, 10, 11, 12)))


def torch_name(layer):
    """A layer's name in the author's file as a path of Sequentials."""
    fixed = {"conv1": "features.0", "conv10": "classifier.0", "d1": "classifier.3", "d2": "classifier.5"}
    if layer in fixed:
        return fixed[layer]
    fire, part = layer.split(".")
    return "features.%d.%s" % (FIRE[int(fire[4:])], {"squeeze1x1": "squeeze"}.get(part, part))


def convert(source, folder, labels):
    tensors = {}
    for name, t in read_safetensors(source).items():
        layer, kind = name.rsplit(".", 1)
        if kind == "weight":
            t = t.transpose(3, 2, 0, 1) if t.ndim == 4 else t.T
        tensors[torch_name(layer) + "." + kind] = t
    path = folder + "/squeezenet.safetensors"
    write_safetensors(path, tensors)
    with open(folder + "/squeezenet.json", "w") as f:
        json.dump({"format": 1, "kind": "network", "arch": "squeezenet_planet", "labels": labels, "exclusive": WEATHER, "rest_off": "cloudy",
                   "input": {"mode": "rgb", "channels": 3, "size": 256, "M": 255, "mean": [m / 255 for m in (123.68, 116.779, 103.939)],
                             "std": [1 / 255] * 3}}, f)
    return path


def squeezenet(tmp, files, **change):
    with open(data("squeezenet-planet/reference.json")) as f:
        reference = json.load(f)
    model = convert(data("squeezenet-planet/model.safetensors"), tmp, reference["labels"])
    graph = write_graph(tmp + "/graph.yaml", chain(tmp, files, models=[model], size=256, **change))
    flowrun(graph, "-q", "--run", tmp + "/run")
    return reference, table(tmp + "/probs.csv"), table(tmp + "/predictions.csv")


def agrees(p, logit):
    """The odds of a probability in float32 give the logit back, as far as they go."""
    if 1e-37 < p <= 0.999:
        return abs(np.log(p / (1 - p)) - logit) <= 1e-3 * abs(logit)
    return p <= 1.1e-37 if logit < 0 else p > 0.999 and abs(p - 1 / (1 + np.exp(-logit))) <= 1e-5


def six_tiles_agree_with_the_reference(tmp):
    with open(data("squeezenet-planet/reference.json")) as f:
        tiles = sorted(json.load(f)["tiles"])
    same(len(tiles), 6, "tiles")
    files = [data("planet-tiles/jpg/%s.jpg" % t) for t in tiles]
    reference, rows, _ = squeezenet(tmp, files, batch=4, net={"device": "cpu", "rows": 4})
    same(sorted(r["image_name"] for r in rows), tiles, "ids")
    wrong = []
    for r in rows:
        for label, logit in zip(reference["labels"], reference["tiles"][r["image_name"]]["logits"]):
            if not agrees(float(r[label]), logit):
                wrong.append((r["image_name"], label, r[label], logit))
    same(wrong, [], "probabilities beside the reference's logits")


def all_tiles_run(tmp):
    files = sorted(glob.glob(data("planet-tiles/jpg") + "/*.jpg"))
    _, rows, predictions = squeezenet(tmp, files, net={"device": "cpu", "rows": 16})
    same([r["image_name"] for r in predictions], [r["image_name"] for r in rows], "the same rows in both files")
    same(sorted(r["image_name"] for r in rows), sorted(stem(f) for f in files), "ids")
    # An early checkpoint, which nearly always answers so.
    holds(sum({"clear", "primary"} <= set(r["tags"].split()) for r in predictions) > 120, "clear primary nearly always")


CASES = [all_jpegs_decode, all_tifs_decode, older_tifs_decode, what_decode_was_not_asked_for_is_rejected, other_sizes_are_refused_or_fitted,
         six_tiles_agree_with_the_reference, all_tiles_run]

if __name__ == "__main__":
    sys.exit(flow.run_cases(CASES))
