"""flowrun score against NumPy: every figure of its JSON, its text and its page."""
import html.parser
import json
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import flow
from flow import flowrun, holds, same

NAMES = ["agriculture", "artisinal_mine", "bare_ground", "blooming", "blow_down", "clear", "cloudy", "conventional_mine", "cultivation",
         "habitation", "haze", "partly_cloudy", "primary", "road", "selective_logging", "slash_burn", "water"]
N, K = 400, 4


def fbeta(y, h, beta=2.0):
    tp, b2 = (y & h).sum(1), beta * beta
    return np.where(tp == 0, 0.0, (1 + b2) * tp / np.maximum(b2 * y.sum(1) + h.sum(1), 1))


def table(path, p):
    with open(path, "w") as f:
        f.write("image_name," + ",".join(NAMES) + "\n")
        for i, row in enumerate(p):
            f.write("t%d," % i + ",".join("%.9g" % v for v in row) + "\n")
    return path


def data(tmp):
    rng = np.random.default_rng(7)
    y = (rng.random((N, 17)) < 0.2).astype(np.int64)
    y[y.sum(1) == 0, 12] = 1
    z = 2 * (2 * y - 1) + 2 * rng.standard_normal((N, 17))
    a = (1 / (1 + np.exp(-z - 0.3))).astype("f4")
    b = (1 / (1 + np.exp(-z - rng.standard_normal((N, 17))))).astype("f4")
    with open(tmp + "/y.csv", "w") as f:
        f.write("image_name,tags\n" + "".join("t%d,%s\n" % (i, " ".join(n for n, v in zip(NAMES, row) if v)) for i, row in enumerate(y)))
    with open(tmp + "/folds.csv", "w") as f:
        f.write("image_name,part\n" + "".join("t%d,%d\n" % (i, i % K) for i in range(N)))
    return y, a, b, table(tmp + "/a.csv", a), table(tmp + "/b.csv", b)


def score(tmp, *more):
    return json.loads(flowrun("score", tmp + "/a.csv", tmp + "/y.csv", "--folds", tmp + "/folds.csv", "--fold-column", "part", "--json", *more)[1])


def close(got, want, what, tolerance=1e-12):
    holds(abs(got - want) <= tolerance, "%s: got %.15g, want %.15g" % (what, got, want))


def figures_equal_numpy(tmp):
    y, a, b, _, against = data(tmp)
    got = score(tmp, "--against", against)
    p, q = a.astype("f8"), b.astype("f8")
    fa, fb = fbeta(y, (p > 0.2).astype(int)), fbeta(y, (q > 0.2).astype(int))
    close(got["f2"], fa.mean(), "F2")
    close(got["against"], fb.mean(), "against")
    close(got["gain_percent"], 100 * (fa.mean() / fb.mean() - 1), "gain", 1e-9)
    c = np.clip(p, 1e-7, 1 - 1e-7)
    loss = -(y * np.log(c) + (1 - y) * np.log(1 - c)).mean(1)
    close(got["log_loss"], loss.mean(), "log-loss")
    d = []
    for k in range(K):
        close(got["folds"][k]["score"], fa[k::K].mean(), "fold %d" % k)
        close(got["folds"][k]["log_loss"], loss[k::K].mean(), "log-loss of fold %d" % k)
        d.append(fa[k::K].mean() - fb[k::K].mean())
    close(got["paired_t"], np.mean(d) / (np.std(d, ddof=1) / np.sqrt(K)), "paired t", 1e-9)
    grid = np.arange(10, 101) / 200
    curve = [fbeta(y, (p > t).astype(int)).mean() for t in grid]
    for (t, v), want_t, want in zip(got["curve"], grid, curve):
        close(t, want_t, "grid")
        close(v, want, "curve at %g" % t)
    close(got["best_threshold"][0], grid[int(np.argmax(curve))], "where it is best")
    close(got["best_threshold"][1], max(curve), "the best")
    bins = np.minimum((p * 10).astype(int), 9)
    for k, row in enumerate(got["calibration"]):
        same(row["values"], int((bins == k).sum()), "bin %d" % k)
        if row["values"]:
            close(row["mean"], p[bins == k].mean(), "mean of bin %d" % k, 1e-9)
            close(row["true"], y[bins == k].mean(), "truth of bin %d" % k)
    for l, row in enumerate(got["labels"]):
        h = p[:, l] > 0.2
        close(row["precision"], (y[:, l] & h).sum() / max(h.sum(), 1), "precision")
        close(row["recall"], (y[:, l] & h).sum() / y[:, l].sum(), "recall")


def any_beta(tmp):
    y, a, _, _, _ = data(tmp)
    got = score(tmp, "--beta", "1")
    close(got["fbeta"], fbeta(y, (a.astype("f8") > 0.5).astype(int), 1).mean(), "F1 at .5")
    same(got["threshold"], 0.5, "threshold of F1")


def fit(p, y):
    t = np.full(17, 0.2)
    for l in range(17):
        best = -1
        for g in np.arange(5, 50):
            u = t.copy()
            u[l] = g / 100
            v = fbeta(y, (p > u).astype(int)).mean()
            if v > best + 1e-13:
                best, t[l] = v, g / 100
    return t


def thresholds_by_label(tmp):
    y, a, _, _, _ = data(tmp)
    got, p, part = score(tmp, "--per-class"), a.astype("f8"), np.arange(N) % K
    close(got["per_class"], fbeta(y, (p > fit(p, y)).astype(int)).mean(), "in sample")
    out = np.zeros(N)
    for k in range(K):
        t = fit(p[part != k], y[part != k])
        out[part == k] = fbeta(y[part == k], (p[part == k] > t).astype(int))
    close(got["per_class_cross_fitted"], out.mean(), "cross-fitted")


def the_page_is_whole(tmp):
    data(tmp)
    flowrun("score", tmp + "/a.csv", tmp + "/y.csv", "--folds", tmp + "/folds.csv", "--fold-column", "part", "--against", tmp + "/b.csv", "--calibration",
            "--report", tmp + "/r.html")
    text, seen, open_ = flow.slurp(tmp + "/r.html").decode(), {}, []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen[tag] = seen.get(tag, 0) + 1
            if tag != "meta":
                open_.append(tag)

        def handle_startendtag(self, tag, attrs):
            seen[tag] = seen.get(tag, 0) + 1

        def handle_endtag(self, tag):
            same(open_.pop(), tag, "closing tag")

    Reader().feed(text)
    same(open_, [], "open tags")
    same((seen["svg"], seen["polyline"], seen["rect"]), (4, 2, 51), "pictures")
    holds("http" not in text and "nan" not in text and "inf" not in text, "it needs no other file, and every number is one")


def what_is_refused(tmp):
    data(tmp)
    with open(tmp + "/few.csv", "w") as f:
        f.write("".join(open(tmp + "/b.csv").readlines()[:-1]))
    _, _, err = flowrun("score", tmp + "/a.csv", tmp + "/y.csv", "--against", tmp + "/few.csv", want=1)
    holds("don't hold the same tiles" in err, err)
    _, _, err = flowrun("score", tmp + "/a.csv", tmp + "/y.csv", "--folds", tmp + "/folds.csv", want=1)
    holds("no column fold" in err, err)
    _, _, err = flowrun("score", tmp + "/y.csv", tmp + "/y.csv", "--per-class", want=2)
    holds("holds tags" in err, err)


if __name__ == "__main__":
    sys.exit(flow.run_cases([figures_equal_numpy, any_beta, thresholds_by_label, the_page_is_whole, what_is_refused]))
