"""flowrun check-precision: what it records is what runs show, `auto` follows it, and weights that bfloat16 breaks don't pass."""
import csv
import json
import os
import shutil
import sys

import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
sys.path[:0] = [os.path.join(ROOT, "tests/lib"), os.path.join(ROOT, "python")]
from flow import MODELS, TILES, Skip, chain, flowrun, holds, run_cases, same, write_graph
from flowrun import safetensors

FILES = [os.path.join(TILES, "sample_%05d.jpg" % i) for i in range(12)]


def needs_bf16():
    line = [v for v in flowrun("describe", "forward")[1].splitlines() if "device cpu" in v]
    if not line or "bf16" not in line[0].split("precisions")[-1]:
        raise Skip("this processor doesn't compute in bf16")


def model(tmp, name="m", of=0):
    to = "%s/%s.safetensors" % (tmp, name)
    shutil.copy(MODELS[of], to)
    shutil.copy(MODELS[of].replace(".safetensors", ".json"), to.replace(".safetensors", ".json"))
    return to


def manifest(file):
    with open(file.replace(".safetensors", ".json")) as f:
        return json.load(f)


def settled(file):
    """What `auto` comes to on the processor."""
    out = flowrun("describe", "forward", "--set", "weights=" + file, "--set", "device=cpu")[1]
    return out.split("precision=")[1].split()[0]


def probabilities(tmp, file, precision):
    at = tmp + "/" + precision
    os.mkdir(at)
    graph = write_graph(at + "/graph.json", chain(at, FILES, batch=4, models=[file], net={"device": "cpu", "precision": precision, "rows": 4}))
    flowrun(graph, "-q", "--run", at + "/run")
    with open(at + "/probs.csv", newline="") as f:
        return np.array([[float(v) for k, v in sorted(r.items()) if k != "image_name"] for r in sorted(csv.DictReader(f), key=lambda r: r["image_name"])])


def the_record_is_what_runs_show(tmp):
    needs_bf16()
    file = model(tmp)
    before = manifest(file)
    same(settled(file), "f32", "without a check")
    out = flowrun("check-precision", file, "--device", "cpu", "--rows", "5", "--tiles", *FILES)[1]
    after = manifest(file)
    record = after["checks"]["bf16"]
    holds("passed" in out and record["passed"] and after["bf16_ok"], "passed: " + out)
    same({k: v for k, v in after.items() if k not in ("checks", "bf16_ok", "sha256")}, {k: v for k, v in before.items() if k not in ("bf16_ok", "sha256")}, "all else")
    f32, bf16 = probabilities(tmp, file, "f32"), probabilities(tmp, file, "bf16")
    off = np.abs(f32 - bf16).max()
    holds(abs(record["prob"] - off) <= 1e-6 + 1e-5 * off and off > 1e-4, "probabilities: recorded %g, runs show %g" % (record["prob"], off))
    logits = np.log(f32 / (1 - f32)), np.log(bf16 / (1 - bf16))      # of probabilities with 9 digits
    ratio = np.abs(logits[0] - logits[1]).max() / np.abs(logits[0]).max()
    holds(abs(record["logits"] - ratio) <= 0.02 * ratio, "logits: recorded %g, runs show %g" % (record["logits"], ratio))
    same((record["tiles"], record["labels_changed"], record["device"]), (12, int(((f32 > 0.2) != (bf16 > 0.2)).sum()), "cpu"), "record")
    same(settled(file), "bf16", "after a passed check")


def weights_that_bf16_breaks_fail(tmp):
    """Kernels that sum to 0 over a picture of one colour, and a last layer that magnifies what is left: in f32 the answer is the bias,
    in bf16 the rounding of the kernels."""
    from PIL import Image
    needs_bf16()
    Image.new("RGB", (256, 256), (201, 117, 58)).save(tmp + "/flat.jpg", quality=100, subsampling=0)
    file = model(tmp)
    flowrun("check-precision", file, "--device", "cpu", "--tiles", *FILES)
    same(settled(file), "bf16", "as it was")
    state = {k: np.array(v) for k, v in safetensors.load(file).items()}
    draw = np.random.default_rng(1)
    w = draw.uniform(-1, 1, state["features.conv0.weight"].shape)
    state["features.conv0.weight"] = np.float32(w - w.mean((2, 3), keepdims=True))
    state["features.norm0.running_mean"][:] = 0
    state["features.norm0.bias"][:] = 0
    state["classifier.weight"] *= 100
    safetensors.save(file, state)
    changed = manifest(file)
    del changed["sha256"]
    with open(file.replace(".safetensors", ".json"), "w") as f:
        json.dump(changed, f)
    rc, out, err = flowrun("check-precision", file, "--device", "cpu", "--tiles", tmp + "/flat.jpg", want=None)
    record = manifest(file)["checks"]["bf16"]
    same((rc, record["passed"], manifest(file)["bf16_ok"]), (1, False, False), "failed: %s %s" % (out, err))
    holds("FAILED" in out and record["logits"] > 0.03, out)
    same(settled(file), "f32", "after a failed check")
    other = model(tmp, "other", of=1)
    rc, out, _ = flowrun("check-precision", other, file, "--device", "cpu", "--tiles", tmp + "/flat.jpg", want=None)
    holds(rc == 1 and len(out.splitlines()) == 2, "every model is told of: " + out)


def what_cant_be_checked_is_refused(tmp):
    needs_bf16()
    file = model(tmp)
    before = manifest(file)
    for args, want, text in (
        ((file, "--precision", "f16", "--device", "cpu", "--tiles", FILES[0]), 1, "f16"),
        ((file, "--precision", "f32", "--tiles", FILES[0]), 2, "precision"),
        ((file, "--device", "cuda:9", "--tiles", FILES[0]), 1, "cuda"),
        ((file, "--device", "cpu"), 2, "--tiles"),
        ((file, "--device", "cpu", "--tiles", tmp + "/m.json"), 1, "m.json"),
        (("--tiles", FILES[0]), 2, "weights"),
    ):
        rc, _, err = flowrun("check-precision", *args, want=None)
        holds(rc == want and text in err, "%s: %d, it said %s" % (args, rc, err))
        same(manifest(file), before, "manifest after %s" % (args,))
    changed = dict(before, bf16_ok=True, checks={"bf16": {"passed": False}})
    with open(file.replace(".safetensors", ".json"), "w") as f:
        json.dump(changed, f)
    rc, _, err = flowrun("describe", "forward", "--set", "weights=" + file, want=None)
    holds(rc != 0 and "bf16_ok is true, but the recorded check" in err, "by hand against the record: %d %s" % (rc, err))


if __name__ == "__main__":
    sys.exit(run_cases((the_record_is_what_runs_show, weights_that_bf16_breaks_fail, what_cant_be_checked_is_refused)))
