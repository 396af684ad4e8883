"""Second levels on real predictions, cross-fitted, against the plain mean: two networks of 4,042 tiles, six of 1,716 (docs/performance.md has the table).

FLOWRUN_LONG=1 fits forests and networks of full size as well and prints the table."""
import csv
import gzip
import json
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import flowrun, holds, same                      # noqa: E402

CLASS_A = ["clear", "haze", "partly_cloudy", "cloudy", "primary", "agriculture", "water", "cultivation", "habitation", "road", "slash_burn",
           "conventional_mine", "bare_ground", "artisinal_mine", "blooming", "selective_logging", "blow_down"]
NAMES = sorted(CLASS_A)
VIEWS = ["identity", "transpose", "antitranspose", "vflip", "rot180"]
NETS = ["densenet121", "densenet161", "densenet169", "resnet18", "resnet34", "resnet50"]
LONG = os.environ.get("FLOWRUN_LONG") == "1"
SMALL = [{"method": ["mean", "gmean", "logit_mean"]}, {"method": ["mean", "gmean", "logit_mean"], "calibrate": True},
         {"method": "ridge", "features": ["own", "all"], "lambda": [1, 30]}, {"method": "ridge", "features": "own", "transform": "logit", "calibrate": True},
         {"method": "ridge2", "calibrate": [False, True]}, {"method": "nnls", "features": "own"}, {"method": "blend", "per_label": [False, True]},
         {"method": "blend", "calibrate": True}, {"method": "greedy"}]
FULL = [{"method": "extratrees", "trees": 500}, {"method": "mlp", "transform": ["prob", "logit"]}]


def rows(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rt") as f:
        return list(csv.DictReader(f))


def write(path, ids, p):
    t = np.zeros(len(ids), [("image_name", "S63")] + [(n, "<f4") for n in NAMES])
    t["image_name"] = ids
    for i, n in enumerate(NAMES):
        t[n] = p[:, i]
    np.save(path, t)


def put(tmp, ids, models):
    """Models, their truth and their folds (the split of a team of the contest) as files; truth and folds come back."""
    label = {r["image_name"]: set(r["tags"].split()) for r in rows(flow.data("planet-labels/train_v2.csv.gz"))}
    fold = {r["image_name"]: r["fold10"] for r in rows(flow.data("planet-labels/folds.csv.gz"))}
    for name, p in models.items():
        write("%s/%s.npy" % (tmp, name), ids, p)
    with open(tmp + "/truth.csv", "w") as f:
        f.write("image_name,tags\n" + "".join("%s,%s\n" % (i, " ".join(sorted(label[i]))) for i in ids))
    with open(tmp + "/folds.csv", "w") as f:
        f.write("image_name,fold\n" + "".join("%s,%s\n" % (i, fold[i]) for i in ids))
    return np.array([[n in label[i] for n in NAMES] for i in ids], "u1"), np.array([int(fold[i]) for i in ids])


def fit(tmp, models, matrix):
    os.mkdir(tmp + "/fits")
    stages = {"tiles": {"stage": "predictions", "options": {"files": ["%s/%s.npy" % (tmp, m) for m in models], "split": "val", "folds": tmp + "/folds.csv",
                                                            "labels": tmp + "/truth.csv", "batch": 512}},
              "fit": {"stage": "stack_fit", "from": "tiles", "threads": 2, "options": {"out": tmp + "/fits/table.json", "matrix": matrix, "oof": "npy"}}}
    flow.write_graph(tmp + "/fit.yaml", stages, stall_timeout=600)
    run = flow.Run(tmp + "/fit.yaml", "--run", tmp + "/run", "-q")
    rc, out, err = run.end(1500)
    same(rc, 0, "status; it said %s%s" % (out, err))
    with open(tmp + "/fits/table.json") as f:
        return json.load(f)


def loss_of(y, p):
    p = np.clip(p.astype("f8"), 1e-7, 1 - 1e-7)
    return -np.log(np.where(y == 1, p, 1 - p)).mean(1)


def f2_of(y, p):
    h = p.astype("f8") > .2
    tp = (h & (y == 1)).sum(1)
    return (5 * tp / (h.sum(1) + 4 * y.sum(1))).mean()


def t_of(d):
    """Of paired differences over folds, K-1 degrees of freedom."""
    return d.mean() / (d.std(ddof=1) / np.sqrt(len(d))) if d.std() > 0 else 0.0


def compared(tmp, table, ids, y, fold):
    """By configuration: log-loss, gain on the mean in percent, t over folds, F2 at .2; computed here from the out-of-fold files."""
    order = {i: k for k, i in enumerate(ids)}
    found = {}
    for row in table["configurations"]:
        t = np.load("%s/fits/%s.npy" % (tmp, row["name"]))
        k = [order[i.decode()] for i in t["image_name"]]
        p = np.zeros(y.shape, "f4")
        p[k] = np.stack([t[n] for n in NAMES], 1)
        loss = loss_of(y, p)
        holds(abs(row["cross_fitted"]["log_loss"] - loss.mean()) < 1e-6, "%s: %r, %r here" % (row["name"], row["cross_fitted"], loss.mean()))
        holds(abs(row["cross_fitted"]["f2"] - f2_of(y, p)) < 1e-6, "%s: F2 %r, %r here" % (row["name"], row["cross_fitted"], f2_of(y, p)))
        found[row["name"]] = (loss.mean(), np.array([loss[fold == f].mean() for f in np.unique(fold)]), f2_of(y, p), row["cross_fitted"]["f2_exact"])
    return found


def report(title, found):
    mean = found["mean"]
    print("%s\n%-50s %9s %8s %7s %9s %9s" % (title, "", "log-loss", "gain %", "t", "F2 at .2", "decoded"))
    for name, (loss, by_fold, f2, exact) in sorted(found.items(), key=lambda kv: kv[1][0]):
        print("%-50s %9.6f %8.2f %7.2f %9.6f %9.6f" % (name, loss, 100 * (mean[0] - loss) / mean[0], t_of(mean[1] - by_fold), f2, exact))


def two_networks(tmp):
    files = {"atc_1": "atc_1", "atc_1_v2": "atc_1_v2"}
    read = {m: rows(flow.data("planet-preds/atc/%s_val.csv.gz" % f)) for m, f in files.items()}
    ids = [r["image_name"] for r in read["atc_1"]]
    same([r["image_name"] for r in read["atc_1_v2"]], ids, "both have the same tiles")
    models = {m: np.array([[r[n] for n in NAMES] for r in t], "f4") for m, t in read.items()}
    y, fold = put(tmp, ids, models)
    found = compared(tmp, fit(tmp, models, SMALL + FULL if LONG else SMALL), ids, y, fold)
    holds(abs(found["mean"][2] - .922056) < 1e-6, "F2 of the mean at .2, as an independent program has it: %r" % found["mean"][2])
    holds(abs(found["mean"][3] - .922545) < 1e-6, "and after decoding: %r" % found["mean"][3])
    if LONG:
        report("atc_1 and atc_1_v2, %d tiles" % len(ids), found)
    return found


def six_networks(tmp):
    table = rows(flow.data("planet-preds/tta6/rows.csv"))
    sure = [i for i, r in enumerate(table) if float(r["posterior"]) >= .9]
    ids = [table[i]["image_name"] for i in sure]
    turn = [CLASS_A.index(n) for n in NAMES]
    models = {}
    for m in NETS:
        views = [np.load(flow.data("planet-preds/tta6/%s_%s.npy" % (m, v))).astype("f8") for v in VIEWS]
        models[m] = np.mean(views, 0)[sure][:, turn].astype("f4")
    y, fold = put(tmp, ids, models)
    found = compared(tmp, fit(tmp, models, SMALL + FULL if LONG else SMALL), ids, y, fold)
    holds(abs(found["mean"][2] - .919930) < 1e-6, "F2 of the mean at .2: %r" % found["mean"][2])
    if LONG:
        report("six networks, mean of five views each, %d tiles" % len(ids), found)


if __name__ == "__main__":
    sys.exit(flow.run_cases([two_networks, six_networks]))
