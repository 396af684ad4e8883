"""Second levels fitted in a graph and applied by `stack`: against scikit-learn and SciPy, leaks, restarts, what the check finds."""
import csv
import json
import math
import os
import shutil
import signal
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import flow
from flow import Run, flowrun, holds, same

LABELS = ["a", "b", "c", "d"]
N, M, K = 600, 3, 4
MODELS = ["pear", "apple", "plum"]          # not in the order of their names
FOLD = np.arange(N) * 7 % K
IDS = ["t%04d" % i for i in range(N)]


def logit(p):
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def made(seed=1, known=True):
    """Truth, and predictions of the models: float32 [M][N][L]. known False: the predictions know nothing of the truth."""
    r = np.random.default_rng(seed)
    pi = np.array([.1, .3, .5, .7])
    y = (r.random((N, len(LABELS))) < pi).astype("u1")
    y[y.sum(1) == 0, -1] = 1
    seen = y if known else (r.random(y.shape) < pi).astype("u1")
    shared = r.standard_normal(y.shape)
    p = [sigmoid(logit(pi) + 1.5 * (2.0 * seen - 1) + .7 * shared + .9 * r.standard_normal(y.shape)).astype("f4") for _ in range(M)]
    return y, np.stack(p)


def table(path, head, rows):
    with open(path, "w") as f:
        w = csv.writer(f, lineterminator="\n")
        w.writerow(head)
        w.writerows(rows)


def write(tmp, y, p):
    table(tmp + "/truth.csv", ["image_name"] + LABELS, [[i] + list(t) for i, t in zip(IDS, y)])
    table(tmp + "/folds.csv", ["image_name", "fold"], zip(IDS, FOLD))
    for name, v in zip(MODELS, p):
        table(tmp + "/%s.csv" % name, ["image_name"] + LABELS, [[i] + ["%.9g" % x for x in row] for i, row in zip(IDS, v)])


def source(tmp, **more):
    return {"stage": "predictions", "options": dict({"files": [tmp + "/%s.csv" % m for m in MODELS], "split": "val", "folds": tmp + "/folds.csv",
                                                     "labels": tmp + "/truth.csv", "batch": 64}, **more)}


def graph(tmp, options, threads=2, name="fit.yaml"):
    os.makedirs(tmp + "/fits", exist_ok=True)
    stages = {"tiles": source(tmp), "fit": {"stage": "stack_fit", "from": "tiles", "threads": threads,
                                            "options": dict({"out": tmp + "/fits/table.json", "oof": "npy"}, **options)}}
    return flow.write_graph(tmp + "/" + name, stages, labels=LABELS)


def fit(tmp, options, **more):
    shutil.rmtree(tmp + "/run-fit", ignore_errors=True)
    flowrun(graph(tmp, options, **more), "--run", tmp + "/run-fit", "-q")


def scores(tmp, name):
    with open(tmp + "/fits/%s.json" % name) as f:
        return json.load(f)


def npy(path):
    t = np.load(path)
    same([x.decode() for x in t["image_name"]], IDS, "ids")
    return np.stack([t[n] for n in LABELS], 1)


def oof(tmp, name):
    return npy(tmp + "/fits/%s.npy" % name)


def log_loss(y, p):
    p = np.clip(p.astype("f8"), 1e-7, 1 - 1e-7)
    return float(-np.log(np.where(y == 1, p, 1 - p)).mean())


def columns(p):
    """[N][M * L] in the order of the models' names."""
    return np.concatenate([p[i].astype("f8") for i in np.argsort(MODELS)], 1)


def crossed(x, y, fitted):
    """Out of fold: fitted(x, y) of the other folds gives a function."""
    out = np.zeros(y.shape)
    for k in range(K):
        out[FOLD == k] = fitted(x[FOLD != k], y[FOLD != k])(x[FOLD == k])
    return out


# ---- against other programs ----

def cross_fitted_as_by_others(tmp):
    try:
        from scipy.optimize import nnls
        from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
    except ImportError as why:
        raise flow.Skip(str(why))
    y, p = made()
    write(tmp, y, p)
    fit(tmp, {"matrix": [{"method": "ridge", "lambda": 2.5, "transform": ["prob", "logit"], "calibrate": [False, True], "nested": True}, {"method": "linear"},
                         {"method": "nnls", "features": "own", "lambda": 1}, {"method": "ridge", "features": "model", "model": "plum"},
                         {"method": ["mean", "gmean", "logit_mean"]}]})
    x, z = columns(p), columns(logit(p.astype("f8")))

    def ridge(x, y, alpha=2.5):
        m = Ridge(alpha=alpha, solver="cholesky").fit(x, y)
        return lambda t: np.clip(m.predict(t), 0, 1)

    def linear(x, y):
        m = LinearRegression().fit(x, y)
        return lambda t: np.clip(m.predict(t), 0, 1)

    def nonneg(x, y):
        parts = []
        for l in range(len(LABELS)):
            own, mean = x[:, l::len(LABELS)], x[:, l::len(LABELS)].mean(0)
            w, _ = nnls(np.vstack([own - mean, np.eye(M)]), np.append(y[:, l] - y[:, l].mean(), np.zeros(M)))
            parts.append((w, y[:, l].mean() - mean @ w))
        return lambda t: np.clip(np.stack([t[:, l::len(LABELS)] @ w + b for l, (w, b) in enumerate(parts)], 1), 0, 1)

    def calibration(p, y):
        ms = [LogisticRegression(penalty="l2", C=1e10, tol=1e-10, max_iter=1000).fit(logit(p[:, l:l + 1]), y[:, l]) for l in range(len(LABELS))]
        return lambda t: np.stack([m.predict_proba(logit(t[:, l:l + 1]))[:, 1] for l, m in enumerate(ms)], 1)

    def level(x, y, folds, calibrate):
        """What is fitted on these rows, in every step: the mean of one ridge a fold left out, calibrated on their out-of-fold predictions."""
        inner = np.zeros(y.shape)
        models = []
        for k in np.unique(folds):
            m = ridge(x[folds != k], y[folds != k])
            models.append(m)
            inner[folds == k] = m(x[folds == k])
        last = calibration(inner.astype("f4").astype("f8"), y) if calibrate else lambda t: t
        return lambda t: last(np.mean([m(t) for m in models], 0))

    plum = MODELS.index("plum")
    lots = slice(len(LABELS) * sorted(MODELS).index("plum"), len(LABELS) * (sorted(MODELS).index("plum") + 1))
    holds(np.array_equal(x[:, lots], p[plum].astype("f8")), "columns of one model")
    clamped = np.clip(p.astype("f8"), 1e-7, 1 - 1e-7)
    for name, want in (("ridge_lambda2_5_prob_not_calibrate_nested", crossed(x, y, ridge)), ("ridge_lambda2_5_logit_not_calibrate_nested", crossed(z, y, ridge)),
                       ("linear", crossed(x, y, linear)), ("nnls_own_lambda1", crossed(x, y, nonneg)),
                       ("ridge_model_plum", crossed(x[:, lots], y, lambda a, b: ridge(a, b, 1))), ("mean", clamped.mean(0)),
                       ("gmean", np.exp(np.log(clamped).mean(0))), ("logit_mean", sigmoid(logit(clamped).mean(0)))):
        got = oof(tmp, name)
        holds(np.abs(got - want).max() < 1e-6, "%s: %g" % (name, np.abs(got - want).max()))
        s = scores(tmp, name)["cross_fitted"]
        holds(abs(s["log_loss"] - log_loss(y, got)) < 1e-12, "%s: log-loss" % name)
        for k in range(K):
            holds(abs(s["by_fold"][k]["log_loss"] - log_loss(y[FOLD == k], got[FOLD == k])) < 1e-12, "%s: fold %d" % (name, k))
        hit, told = ((got.astype("f8") > .2) & (y == 1)).sum(1), (got.astype("f8") > .2).sum(1)
        f2 = 5 * hit / np.maximum(4 * y.sum(1) + told, 1)
        holds(abs(s["f2"] - f2.mean()) < 1e-12, "%s: F2 %r, want %r" % (name, s["f2"], f2.mean()))
    for name, t in (("ridge_lambda2_5_prob_calibrate_nested", x), ("ridge_lambda2_5_logit_calibrate_nested", z)):
        raw = crossed(t, y, ridge).astype("f4").astype("f8")
        want = np.zeros(y.shape)
        for k in range(K):
            want[FOLD == k] = calibration(raw[FOLD != k], y[FOLD != k])(raw[FOLD == k])
        got = oof(tmp, name)
        holds(np.abs(got - want).max() < 1e-4, "%s: %g" % (name, np.abs(got - want).max()))
        holds(abs(log_loss(y, got) - log_loss(y, want)) < 1e-7, name)
    for name, t, calibrate in (("ridge_lambda2_5_prob_not_calibrate_nested", x, False), ("ridge_lambda2_5_logit_calibrate_nested", z, True)):
        want = np.zeros(y.shape)
        for k in range(K):
            want[FOLD == k] = level(t[FOLD != k], y[FOLD != k], FOLD[FOLD != k], calibrate)(t[FOLD == k])
        holds(abs(scores(tmp, name)["nested"]["log_loss"] - log_loss(y, want)) < 1e-6, "%s: nested" % name)


def weights_as_by_others(tmp):
    try:
        from scipy.optimize import minimize
    except ImportError as why:
        raise flow.Skip(str(why))
    for near in (False, True):                  # members of their own, and some that say nearly the same
        y, p = made(3)
        if near:
            p = np.clip(p[:1] * (1 + 1e-4 * np.random.default_rng(3).standard_normal(p.shape)), 0, 1).astype("f4")
        write(tmp, y, p)
        fit(tmp, {"method": "blend"})
        clamped = np.clip(p[np.argsort(MODELS)].astype("f8"), 1e-7, 1 - 1e-7)
        seen = np.where(y == 1, clamped, 1 - clamped)
        want = np.zeros(y.shape)
        for k in range(K):
            at = FOLD != k
            m = minimize(lambda w: -np.log(np.tensordot(w, seen[:, at], 1)).mean(), np.full(M, 1 / M), method="SLSQP", bounds=[(0, 1)] * M,
                         constraints={"type": "eq", "fun": lambda w: w.sum() - 1}, options={"ftol": 1e-14, "maxiter": 500})
            want[FOLD == k] = np.tensordot(m.x, p[np.argsort(MODELS)].astype("f8")[:, FOLD == k], 1)
        got = oof(tmp, "blend")
        holds(np.abs(got - want).max() < 1e-3, "%g" % np.abs(got - want).max())
        holds(abs(log_loss(y, got) - log_loss(y, want)) < 1e-6, "log-loss %r, want %r" % (log_loss(y, got), log_loss(y, want)))
    told = scores(tmp, "blend")
    same(told["unsettled"], None, "the weights settled")
    with open(tmp + "/fits/blend.json", "w") as f:           # one that did not is told of whenever it is taken
        json.dump(dict(told, unsettled="without fold 1, the weights did not settle in 200 steps: the log-loss could be up to 3e-08 less"), f)
    fit(tmp, {"method": "blend"})
    with open(tmp + "/run-fit/log.jsonl") as f:
        holds("blend: without fold 1, the weights did not settle in 200 steps" in f.read(), "a warning")


# ---- fitted once, applied in a graph ----

KINDS = [{"method": "logit_mean", "calibrate": True}, {"method": "ridge", "lambda": 1, "transform": "logit", "calibrate": True}, {"method": "nnls", "features": "own"},
         {"method": "ridge2"}, {"method": "extratrees", "trees": 20}, {"method": "mlp", "epochs": 3, "hidden": 16}, {"method": "blend", "per_label": [False, True]},
         {"method": "greedy", "rounds": 5}]


def what_is_applied_has_the_bits_of_the_fit(tmp):
    y, p = made(5)
    write(tmp, y, p)
    fit(tmp, {"matrix": KINDS})
    with open(tmp + "/fits/table.json") as f:
        names = [c["name"] for c in json.load(f)["configurations"]]
    same(len(names), len(KINDS) + 1, "configurations")
    stages = {"tiles": source(tmp, files=[tmp + "/%s.csv" % m for m in ("plum", "pear", "apple")], batch=47)}       # in another order, in other batches
    for name in names:
        stages["s_" + name[:20]] = {"stage": "stack", "from": "tiles", "options": {"model": tmp + "/fits/%s.safetensors" % name}}
        stages["k_" + name[:20]] = {"stage": "sink", "from": "s_" + name[:20], "options": {"probabilities": tmp + "/%s.npy" % name}}
    flowrun(flow.write_graph(tmp + "/apply.yaml", stages), "--run", tmp + "/run-apply", "-q")      # its labels are those of the models
    for name in names:
        got, s = npy(tmp + "/%s.npy" % name).astype("f8"), scores(tmp, name)
        want = sum(sum(-math.log(v if t else 1 - v) for v, t in zip(np.clip(a, 1e-7, 1 - 1e-7), b)) / len(LABELS) for a, b in zip(got, y)) / N
        holds(abs(s["in_sample"]["log_loss"] - want) < 1e-13, "%s: %r, want %r" % (name, s["in_sample"]["log_loss"], want))      # one bit of one value is 1e-12
        if "mean" not in name:
            holds(s["in_sample"]["log_loss"] != s["cross_fitted"]["log_loss"], name)


def second_levels_are_blended(tmp):
    """Out-of-fold predictions of second levels are models in their turn; the blend's names are the entries of the graph that applies it."""
    y, p = made(6)
    write(tmp, y, p)
    fit(tmp, {"matrix": [{"method": "ridge", "lambda": [1, 100], "calibrate": True}, {"method": "logit_mean", "calibrate": True}]})
    parts = ["ridge_lambda1_calibrate", "ridge_lambda100_calibrate", "logit_mean_calibrate"]
    os.mkdir(tmp + "/blend")
    stages = {"tiles": source(tmp, files=[tmp + "/fits/%s.npy" % n for n in parts]),
              "fit": {"stage": "stack_fit", "from": "tiles", "options": {"method": "blend", "out": tmp + "/blend/table.json", "oof": "csv"}}}
    flowrun(flow.write_graph(tmp + "/blend.yaml", stages, labels=LABELS), "--run", tmp + "/run-blend", "-q")
    with open(tmp + "/blend/blend.json") as f:
        blend = json.load(f)
    same(blend["models"], sorted(parts), "models of the blend")
    best = min(scores(tmp, n)["cross_fitted"]["log_loss"] for n in parts)
    holds(blend["in_sample"]["log_loss"] <= best + 1e-9, "the blend is not above the best of its parts")
    stages = {"tiles": source(tmp), "level": {"stage": "stack", "from": "tiles", "matrix": {"m": [tmp + "/fits/%s.safetensors" % n for n in parts]}, "options": {"model": "{m}"}},
              "blend": {"stage": "stack", "from": "level", "options": {"model": tmp + "/blend/blend.safetensors"}},
              "sink": {"from": "blend", "options": {"probabilities": tmp + "/out.npy"}}}
    flowrun(flow.write_graph(tmp + "/apply.yaml", stages), "--run", tmp + "/run-apply", "-q")
    holds(log_loss(y, npy(tmp + "/out.npy")) < log_loss(y, p[0]), "blended better than a single one")


def the_command_does_the_same(tmp):
    y, p = made(10)
    write(tmp, y, p)
    matrix = [{"method": "ridge", "lambda": [1, 10], "calibrate": True}, {"method": "extratrees", "trees": 10}]
    fit(tmp, {"matrix": matrix, "sort": "f2"})
    with open(tmp + "/matrix.yaml", "w") as f:
        f.write("- {method: ridge, lambda: [1, 10], calibrate: true}\n- method: extratrees\n  trees: 10\n")
    common = [tmp + "/%s.csv" % m for m in MODELS] + ["--labels", tmp + "/truth.csv", "--folds", tmp + "/folds.csv", "--names", ",".join(LABELS), "-q"]
    _, out, _ = flowrun("fit", *common, "--out", tmp + "/by", "--matrix", tmp + "/matrix.yaml", "--set", "oof=npy", "--set", "sort=f2", "--set", "tiles.batch=33",
                        "--run", tmp + "/run-by", "--threads", "1")
    same(out, flow.slurp(tmp + "/by/table.txt").decode(), "what it prints")
    want, got = files(tmp + "/fits"), files(tmp + "/by")
    same(sorted(got), sorted(list(want) + ["fit.json"]), "files")
    for name in want:
        holds(got[name] == want[name], name)
    for args, why in ((["--out", tmp + "/x", "--method", "rigde"], "did you mean ridge"), (["--method", "ridge"], "want --out DIR"), (["--out", tmp + "/x", "--thread", "2"], "--threads"),
                      (["--out", tmp + "/x", "--matrix", "{method: [ridge"], "--matrix"), (["--out", tmp + "/x", "--threads", "no"], "want a number from 1 to 1024"),
                      (["--out", tmp + "/x", "--set", "lamda=2"], "unknown option lamda"), (["--out", tmp + "/x", "--set", "tiles.fold=2"], "unknown option fold"), (["--out", tmp + "/no/x"], "/no/x: No such file"),
                      (["--out", tmp + "/truth.csv"], "truth.csv/fit.json: ")):
        _, _, err = flowrun("fit", *common, *args, want=2)
        holds(why in err, "%s in %s" % (why, err))
    table(tmp + "/one.csv", ["image_name", "fold"], [(i, 0) for i in IDS])
    _, out, err = flowrun("fit", *common, "--folds", tmp + "/one.csv", "--out", tmp + "/by", "--run", tmp + "/run-one", want=1)
    holds("1 folds, want 2" in err and out == "", "no table of an earlier fit: %s%s" % (err, out))


def one_label_that_few_tiles_have(tmp):
    """L = 1 and truth without labels, from the fit to the decoded tiles: nothing is no number, and what is applied is what was fitted."""
    r = np.random.default_rng(5)
    y = (r.random(N) < .2).astype(int)
    table(tmp + "/truth.csv", ["image_name", "a"], zip(IDS, y))
    table(tmp + "/folds.csv", ["image_name", "fold"], zip(IDS, FOLD))
    for name in MODELS:
        p = sigmoid(-1.4 + 2.0 * y + r.standard_normal(N))
        table(tmp + "/%s.csv" % name, ["image_name", "a"], [[i, "%.9g" % (0 if name == "plum" else v)] for i, v in zip(IDS, p)])     # plum knows nothing
    known = {"allow_empty": True}
    matrix = [{"method": ["mean", "ridge", "ridge2", "nnls", "blend", "greedy"], "calibrate": True}, {"method": "extratrees", "trees": 3}, {"method": "mlp", "epochs": 1, "seeds": 1}]
    os.mkdir(tmp + "/fits")
    stages = {"tiles": source(tmp, **known), "fit": {"stage": "stack_fit", "from": "tiles", "options": {"out": tmp + "/fits/table.json", "matrix": matrix}}}
    flowrun(flow.write_graph(tmp + "/fit.yaml", stages, labels=["a"]), "--run", tmp + "/run-fit", "-q")
    with open(tmp + "/fits/table.json") as f:
        rows = json.load(f)["configurations"]
    same(len(rows), 8, "configurations")
    holds(all(0 < row["cross_fitted"]["log_loss"] < 2 for row in rows), "log-losses: %r" % rows)
    same(scores(tmp, "ridge_calibrate")["dropped"], 1, "the constant column")
    stages = {"tiles": source(tmp, **known), "stack": {"from": "tiles", "options": {"model": tmp + "/fits/ridge_calibrate.safetensors"}}, "decode_f2": {"from": "stack"},
              "sink": {"from": "decode_f2", "options": {"submission": tmp + "/s.csv", "truth": tmp + "/truth.csv", **known}}}
    flowrun(flow.write_graph(tmp + "/use.yaml", stages, labels=["a"]), "--run", tmp + "/run-use", "-q")
    tagged = [line.split(",")[1] for line in flow.slurp(tmp + "/s.csv").decode().split("\n")[1:-1]]
    holds(abs(flow.report(tmp + "/run-use")["stages"]["sink"]["results"]["f2"] - np.mean([t == "a" and v == 1 for t, v in zip(tagged, y)])) < 1e-8, "F2")
    stages["sink"]["options"].pop("allow_empty")
    _, _, err = flowrun(flow.write_graph(tmp + "/no.yaml", stages, labels=["a"]), "--run", tmp + "/run-no", "-q", want=None)
    holds("no tags" in err, err)


# ---- leaks ----

def random_labels_score_the_prior(tmp):
    y, p = made(7, known=False)
    write(tmp, y, p)
    fit(tmp, {"matrix": [{"method": "ridge", "lambda": [1, 100], "calibrate": True, "nested": True}, {"method": "extratrees", "trees": 30, "n_min": 20, "calibrate": True},
                         {"method": "mlp", "hidden": 16, "calibrate": True}, {"method": ["blend", "mean"], "calibrate": True}]})
    with open(tmp + "/fits/table.json") as f:
        t = json.load(f)
    prior = t["prior"]["log_loss"]
    want = np.mean([log_loss(y[FOLD == k], np.tile(y[FOLD != k].mean(0), ((FOLD == k).sum(), 1)).astype("f4")) for k in range(K)])
    holds(abs(prior - want) < 1e-9, "prior %r, want %r" % (prior, want))
    for c in t["configurations"]:
        honest = c["cross_fitted"]["log_loss"]
        holds(-.006 < honest - prior < .02, "%s: %.6f, prior %.6f" % (c["name"], honest, prior))
        if c["nested"]:
            holds(-.006 < c["nested"]["log_loss"] - prior < .02, "%s: nested %.6f, prior %.6f" % (c["name"], c["nested"]["log_loss"], prior))
        if c["options"]["method"] in ("ridge", "extratrees"):
            holds(c["in_sample"]["log_loss"] < honest - .002, "%s: in sample %.6f, cross-fitted %.6f" % (c["name"], c["in_sample"]["log_loss"], honest))


# ---- hundreds at once ----

MANY = {"matrix": {"method": ["ridge", "nnls"], "features": ["all", "own"], "transform": ["prob", "logit"], "calibrate": [False, True],
                   "lambda": [.01, .03, .1, .3, 1, 2, 4, 10, 20, 40, 100, 300, 1000]}, "oof": "csv", "sort": "f2_exact"}


def files(folder):
    return {name: flow.slurp(folder + "/" + name) for name in sorted(os.listdir(folder)) if not name.startswith(".")}


def hundreds_in_one_matrix(tmp):
    y, p = made(8)
    write(tmp, y, p)
    os.makedirs(tmp + "/quiet")
    write(tmp + "/quiet", y, p)
    fit(tmp + "/quiet", dict(MANY), threads=1)
    want = files(tmp + "/quiet/fits")
    same(len(want), 208 * 3 + 3, "files")
    with open(tmp + "/quiet/fits/table.json") as f:
        t = json.load(f)
    scored = [c["cross_fitted"]["f2_exact"] for c in t["configurations"]]
    same((len(scored), scored), (208, sorted(scored, reverse=True)), "sorted")
    with open(tmp + "/quiet/fits/table.csv") as f:
        same([r["name"] for r in csv.DictReader(f)], [c["name"] for c in t["configurations"]], "the same as CSV")

    run = Run(graph(tmp, dict(MANY)), "--run", tmp + "/run", "-q")
    try:
        flow.wait_for(lambda: len(os.listdir(tmp + "/fits")) > 20 or run.p.poll() is not None, "some configurations")
        stages = run.stages()
        same(len(stages["stack_fit"]), 1, "processes that fit")
        os.kill(stages["stack_fit"][0], signal.SIGKILL)           # the stage: started again, goes on
        seen = len(os.listdir(tmp + "/fits"))
        flow.wait_for(lambda: len(os.listdir(tmp + "/fits")) > seen + 20 or run.p.poll() is not None, "more of them")
        run.kill()                                                # and flowrun itself
    finally:
        run.kill()
    before = {n: os.stat(tmp + "/fits/" + n).st_mtime_ns for n in os.listdir(tmp + "/fits") if n.endswith(".json")}
    holds(os.path.exists(tmp + "/run/fit.rows"), "the rows that were collected are there")
    flowrun("--resume", tmp + "/run", "-q")
    holds(not os.path.exists(tmp + "/run/fit.rows"), "and go when all is fitted")
    flowrun(tmp + "/fit.yaml", "--run", tmp + "/again", "-q")     # a new run has nothing to do either
    now = files(tmp + "/fits")
    same((sorted(set(want) - set(now)), [n for n in now if n not in want and ".tmp" not in n and ".part" not in n]), ([], []), "files that lack, or are too many")
    for name, data in want.items():
        holds(now[name] == data, "%s differs after kills" % name)
    again = [n for n, t in before.items() if n != "table.json" and os.stat(tmp + "/fits/" + n).st_mtime_ns != t]
    same(again, [], "configurations fitted twice")


def nothing_is_fitted_twice_in_any_form(tmp):
    """Without a file of out-of-fold predictions either."""
    y, p = made(12)
    write(tmp, y, p)
    for form in ("h5", "csv", "none"):
        fit(tmp, {"method": "ridge", "oof": form})
        stamps = {n: os.stat(tmp + "/fits/" + n).st_mtime_ns for n in os.listdir(tmp + "/fits") if n.startswith("ridge")}
        flowrun(tmp + "/fit.yaml", "--run", tmp + "/run-" + form, "-q")
        same({n: os.stat(tmp + "/fits/" + n).st_mtime_ns for n in stamps}, stamps, "files of oof: " + form)
        for d in (tmp + "/fits", tmp + "/run-fit"):
            shutil.rmtree(d)


def what_was_overwritten_in_part_is_fitted_again(tmp):
    """Other rows, broken off between the model and its scores; then the first rows again: their scores don't stand for the other's model."""
    y, p = made(12)
    write(tmp, y, p)
    fit(tmp, {"method": "ridge"})
    want = files(tmp + "/fits")
    write(tmp, y[::-1], p)
    os.mkdir(tmp + "/fits/.ridge.npy.part")                # in the way of the predictions
    shutil.rmtree(tmp + "/run-fit")
    flowrun(graph(tmp, {"method": "ridge"}), "--run", tmp + "/run-fit", "-q", want=1)
    os.rmdir(tmp + "/fits/.ridge.npy.part")
    write(tmp, y, p)
    fit(tmp, {"method": "ridge"})
    same(files(tmp + "/fits") == want, True, "the files of the first rows")


def resumed_beside_a_sink(tmp):
    """What the journal of a sink holds isn't left out: the rows are wanted all the same."""
    y, p = made(11)
    write(tmp, y, p)
    fit(tmp, {"method": "ridge"})
    want = files(tmp + "/fits")
    os.mkdir(tmp + "/both")
    stages = {"tiles": source(tmp), "stack": {"from": "tiles"}, "sink": {"from": "stack", "options": {"probabilities": tmp + "/mean.npy"}},
              "fit": {"stage": "stack_fit", "from": "tiles", "options": {"out": tmp + "/both/table.json", "oof": "npy"}}}
    path = flow.write_graph(tmp + "/both.yaml", stages, labels=LABELS)
    _, _, err = flowrun(path, "--run", tmp + "/run-start", "--start", "2", want=2)
    holds("takes every batch of a run" in err, err)
    flowrun(path, "--run", tmp + "/run-both", "-q")
    mean = flow.slurp(tmp + "/mean.npy")
    for name in os.listdir(tmp + "/both"):                    # as if the fit had never been
        os.remove(tmp + "/both/" + name)
    flowrun("--resume", tmp + "/run-both", "-q")
    got = files(tmp + "/both")
    same(sorted(got), sorted(want), "files")
    same([n for n in want if got[n] != want[n]], [], "files that differ")
    same(flow.slurp(tmp + "/mean.npy") == mean, True, "the sink's file")
    report = flow.report(tmp + "/run-both")
    same((report["stages"]["sink"]["counters"]["duplicates"], report["stages"]["fit"]["counters"]["rows"]), (report["batches"], N), "dropped by the sink, taken by the fit")


# ---- what the check finds ----

def what_the_check_finds(tmp):
    y, p = made(9)
    write(tmp, y, p)
    fit(tmp, {"method": "ridge"})
    model = tmp + "/fits/ridge.safetensors"

    def stack(options, files=MODELS, labels=LABELS):
        stages = {"tiles": source(tmp, files=[tmp + "/%s.csv" % m for m in files]), "stack": {"from": "tiles", "options": options}, "sink": {"from": "stack"}}
        return flow.write_graph(tmp + "/x.yaml", stages, labels=labels)

    flowrun("check", stack({"model": model}))
    table(tmp + "/peach.csv", ["image_name"] + LABELS, [[i] + list(row) for i, row in zip(IDS, p[0])])
    for why, how, options, more in (
            ("fitted on 3 models (apple, ...), here are 2 (pear, ...)", stack, {"model": model}, {"files": MODELS[:2]}),
            ("fitted on the model apple, which is not among the 3 here (pear, ...)", stack, {"model": model}, {"files": ["pear", "peach", "plum"]}),
            ("models names 2, but 3 arrive: pear, ...", stack, {"model": model, "models": ["plum", "pear"]}, {}),
            ("want no method beside it", stack, {"model": model, "method": "gmean"}, {}),
            ("label 3 is d, want e", stack, {"model": model}, {"labels": ["a", "b", "c", "e"]}),
            ("truth.csv", stack, {"model": tmp + "/truth.csv"}, {}),
            ("did you mean ridge", graph, {"method": "ridg"}, {}),
            ("lambda: has no part in method linear", graph, {"method": "linear", "lambda": 2}, {}),
            ("features: ridge2 can't see \"own\" only", graph, {"method": "ridge2", "features": "own"}, {}),
            ("features: model wants model: NAME", graph, {"features": "model"}, {}),
            ("model: quince is none of the 3 models (apple, ...)", graph, {"features": "model", "model": "quince"}, {}),
            ("matrix: lambda has no part in method mlp", graph, {"matrix": {"method": ["ridge", "mlp"], "lambda": [1, 2]}}, {}),
            ("lamda: unknown, did you mean lambda?", graph, {"matrix": {"lamda": [1, 2]}}, {}),
            ("option lambda: want 0 to", graph, {"matrix": {"lambda": [1, -2]}}, {}),
            ("two configurations are called ridge_lambda1", graph, {"matrix": [{"lambda": 1}, {"lambda": 1}]}, {}),
            ("lambda is an empty list", graph, {"matrix": {"lambda": []}}, {}),
            ("more than 10000 configurations", graph, {"matrix": {"method": "extratrees", "seed": list(range(101)), "trees": list(range(1, 101))}}, {}),
            ("out: want DIR/NAME.json", graph, {"out": tmp + "/fits/table.csv"}, {}),
    ):
        g = how(options, **more) if how is stack else how(tmp, options)
        _, _, err = flowrun("check", g, want=2)
        holds(why in err, "%s in %s" % (why, err))


if __name__ == "__main__":
    sys.exit(flow.run_cases([
        cross_fitted_as_by_others, weights_as_by_others, what_is_applied_has_the_bits_of_the_fit, second_levels_are_blended, one_label_that_few_tiles_have, the_command_does_the_same, random_labels_score_the_prior,
        hundreds_in_one_matrix, nothing_is_fitted_twice_in_any_form, what_was_overwritten_in_part_is_fitted_again, resumed_beside_a_sink, what_the_check_finds,
    ]))
