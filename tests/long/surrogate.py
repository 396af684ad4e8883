"""The second level at full size on surrogate predictions, from the real labels to a submission: what each stacker must reach is known in closed form.

Of 48 models with shared and own noise, for label y with frequency pi, x = (2y-1) + .64 e + .20 n and p = sigmoid(logit(pi) + 2x/(.64^2+.20^2)) is calibrated,
and the best that can be made of all is p* = sigmoid(logit(pi) + 2 mean(x)/(.64^2+.20^2/48)). surrogate.py BUILD."""
import gzip
import json
import os
import sys
import threading
import time

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import flowrun, holds, same                      # noqa: E402

sys.path.insert(0, os.path.join(flow.ROOT, "python"))
from flowrun import safetensors                            # noqa: E402

MODELS, SHARED, OWN = 48, .64, .20
VAR, BEST = SHARED ** 2 + OWN ** 2, SHARED ** 2 + OWN ** 2 / MODELS
FINAL, RAW = "logit_mean_calibrate", "ridge_own_logit_not_calibrate"      # the optimum's own form; one whose output is no probability
TEST = 10000                                               # tiles whose predictions are drawn anew and that end in the submission
LABELS = ["agriculture", "artisinal_mine", "bare_ground", "blooming", "blow_down", "clear", "cloudy", "conventional_mine", "cultivation",
          "habitation", "haze", "partly_cloudy", "primary", "road", "selective_logging", "slash_burn", "water"]


def logit(p):
    return np.log(p) - np.log1p(-p)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def loss(y, p, clip=1e-7):
    p = np.clip(p.astype("f8"), clip, 1 - clip)
    return float(-np.log(np.where(y == 1, p, 1 - p)).mean())


def f2(y, p):
    h = p.astype("f8") > .2
    return float((5.0 * (h & (y == 1)).sum(1) / np.maximum(h.sum(1) + 4.0 * y.sum(1), 1)).mean())


def write(path, ids, p):
    t = np.zeros(len(ids), [("image_name", "S63")] + [(n, "<f4") for n in LABELS])
    t["image_name"] = ids
    for i, n in enumerate(LABELS):
        t[n] = p[:, i]
    np.save(path, t)


def read(path, ids):
    """In the order of ids."""
    t = np.load(path)
    at = {n: i for i, n in enumerate(t["image_name"])}
    return np.stack([t[n] for n in LABELS], 1)[[at[i.encode()] for i in ids]]


def draw(folder, ids, y, pi, seed):
    """48 files of predictions; gives the optimum, recovered from them by turning the formula round."""
    os.mkdir(folder)
    r = np.random.default_rng(seed)
    shared, total = 2.0 * y - 1 + SHARED * r.standard_normal(y.shape), np.zeros(y.shape)
    for m in range(MODELS):
        p = sigmoid(logit(pi) + 2 / VAR * (shared + OWN * r.standard_normal(y.shape))).astype("f4")
        write("%s/m%02d.npy" % (folder, m), ids, p)
        total += (logit(np.clip(p.astype("f8"), 1e-7, 1 - 1e-7)) - logit(pi)) * VAR / 2
    return sigmoid(logit(pi) + 2 * total / MODELS / BEST)


class Memory:
    """The most that all processes below this one took together, shared pages counted once (Pss), looked at four times a second."""

    def __enter__(self):
        self.most, self.done = 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    @staticmethod
    def children(pid):
        try:
            kids = [int(k) for k in flow.slurp("/proc/%d/task/%d/children" % (pid, pid)).split()]
        except OSError:
            return []
        return kids + [g for k in kids for g in Memory.children(k)]

    def watch(self):
        while not self.done.wait(.25):
            total = 0
            for pid in self.children(os.getpid()):
                try:
                    total += int(flow.slurp("/proc/%d/smaps_rollup" % pid).split(b"Pss:")[1].split()[0]) * 1024
                except (OSError, IndexError):
                    pass
            self.most = max(self.most, total)


def fit(tmp, name, files, matrix, **options):
    os.mkdir(tmp + "/" + name)
    stages = {"tiles": {"stage": "predictions", "options": {"files": files, "split": "val", "folds": tmp + "/folds.csv", "labels": tmp + "/truth.csv", "batch": 1024}},
              "fit": {"stage": "stack_fit", "from": "tiles", "threads": 2, "options": dict({"out": "%s/%s/table.json" % (tmp, name), "oof": "npy", "matrix": matrix}, **options)}}
    run = flow.Run(flow.write_graph("%s/%s.yaml" % (tmp, name), stages, stall_timeout=600), "--run", "%s/run-%s" % (tmp, name), "-q")
    rc, out, err = run.end(2400)
    same(rc, 0, "status; it said %s%s" % (out, err))
    with open("%s/%s/table.json" % (tmp, name)) as f:
        return {row["name"]: row for row in json.load(f)["configurations"]}


def surrogate_chain(tmp):
    start = time.monotonic()
    labels = flow.data("planet-labels/train_v2.csv.gz")
    with gzip.open(labels, "rt") as f:
        lines = f.read().splitlines()[1:]
    ids = [line.split(",")[0] for line in lines]
    y = np.array([[n in line.split(",")[1].split() for n in LABELS] for line in lines], "u1")
    pi = y.mean(0)
    same(int(y.sum()), 116205, "labels")
    os.symlink(labels, tmp + "/labels.csv.gz")
    with open(tmp + "/truth.csv", "w") as f:
        f.write("image_name,tags\n" + "\n".join(lines) + "\n")
    flowrun("folds", tmp + "/truth.csv", "--out", tmp + "/folds.csv")

    best = draw(tmp + "/val", ids, y, pi, 1)
    test = ["test_%d" % i for i in range(TEST)]
    draw(tmp + "/test", test, y[:TEST], pi, 2)
    with open(tmp + "/test-truth.csv", "w") as f:
        f.write("image_name,tags\n" + "".join("%s,%s\n" % (t, line.split(",")[1]) for t, line in zip(test, lines)))
    drawn = time.monotonic() - start

    files = ["%s/val/m%02d.npy" % (tmp, m) for m in range(MODELS)]
    with Memory() as memory:
        table = fit(tmp, "fits", files, [
            {"method": ["mean", "gmean"]}, {"method": "logit_mean", "calibrate": [False, True]}, {"method": "ridge", "features": "own"},
            {"method": "ridge", "features": "own", "transform": "logit", "calibrate": [False, True]}])
        parts = sorted(n for n in table if n not in ("ridge_own", RAW))
        blended = fit(tmp, "blend", ["%s/fits/%s.npy" % (tmp, n) for n in parts], [{"method": "blend"}])
        flowrun(flow.write_graph(tmp + "/apply.yaml", {
            "tiles": {"stage": "predictions", "options": {"files": ["%s/test/m%02d.npy" % (tmp, m) for m in range(MODELS)], "batch": 1024}},
            "stack": {"from": "tiles", "options": {"model": "%s/fits/%s.safetensors" % (tmp, FINAL)}},
            "decode_f2": {"from": "stack"},
            "sink": {"from": "decode_f2", "options": {"submission": tmp + "/submission.csv", "truth": tmp + "/test-truth.csv"}}}), "--run", tmp + "/run-apply", "-q")
    took = time.monotonic() - start

    least = loss(y, best)
    oof = {n: read("%s/fits/%s.npy" % (tmp, n), ids) for n in table}
    excess = {n: 100 * (loss(y, p, 1e-4 if n == "ridge_own" else 1e-7) / least - 1) for n, p in oof.items()}
    single = read(files[0], ids)
    excess["one model"] = 100 * (loss(y, single) / least - 1)
    print("p*: log-loss %.5f, F2 at .2 %.5f; drawn in %.0f s, all in %.0f s, %.0f MB at most" % (least, f2(y, best), drawn, took, memory.most / 1e6))
    for n, e in sorted(excess.items(), key=lambda kv: kv[1]):
        print("  %-45s %+6.2f %%" % (n, e))
    b, part = list(blended.values())[0], min(table[n]["cross_fitted"]["log_loss"] for n in parts)
    print("  blend of %d: %.6f, %.6f cross-fitted; the best of its parts %.6f" % (len(parts), b["in_sample"]["log_loss"], b["cross_fitted"]["log_loss"], part))

    def near(what, value, low, high):
        holds(low <= value <= high, "%s: %.5f, want %.5f to %.5f" % (what, value, low, high))

    near("log-loss of p*", least, .0614 - .0002, .0630 + .0002)
    near("F2 of p* at .2", f2(y, best), .9345 - .0005, .9361 + .0005)
    near("F2 of one model", f2(y, single), .9256 - .0005, .9275 + .0005)
    near("F2 of the mean", f2(y, oof["mean"]), .934 - .0015, .934 + .0015)
    for what, want in (("one model", 12.9), ("mean", 2.3), ("gmean", 2.0), ("logit_mean_not_calibrate", .7), (FINAL, 0.0), ("ridge_own", 4.0), ("ridge_own_logit_calibrate", 2.0)):
        near("excess of %s in percent" % what, excess[what], want - 1, want + 1)
    near("log-loss of ridge on log-odds, raw", loss(y, oof[RAW]), .110, .124)
    near("what decoding gains after the best stack", table[FINAL]["cross_fitted"]["f2_exact"] - table[FINAL]["cross_fitted"]["f2"], .0014 - .0005, .0023 + .0005)
    holds(b["in_sample"]["log_loss"] <= part + 1e-7, "the blend is no worse than the best of its parts: %r" % b)
    near("the same, cross-fitted", b["cross_fitted"]["log_loss"], 0, 1.001 * part)
    slope, shift = safetensors.load("%s/fits/%s.safetensors" % (tmp, FINAL))["calibration"]
    true = .4496 / .410433
    for i, n in enumerate(LABELS):
        near("slope of " + n, slope[i], true - (.06 if pi[i] * len(y) > 800 else .25), true + (.06 if pi[i] * len(y) > 800 else .25))
        wide = 1.0 if pi[i] * len(y) > 800 else 1.6
        near("intercept of " + n, shift[i], (1 - true) * logit(pi[i]) - wide * .25, (1 - true) * logit(pi[i]) + wide * .25)
    report = flow.report(tmp + "/run-apply")
    same(report["tiles"], TEST, "tiles of the submission")
    print("  submission of %d tiles: %s" % (TEST, report["stages"]["sink"]["results"]))
    near("F2 of the submission", report["stages"]["sink"]["results"]["f2"], .9362 - .004, .9381 + .004)
    holds(memory.most < 2e9, "memory: %.0f MB" % (memory.most / 1e6))


if __name__ == "__main__":
    sys.exit(flow.run_cases([surrogate_chain]))
