"""flowrun score against NumPy: every figure of its JSON, its text and its page."""
import html.parser
import json
import os
import re
import sys
import xml.etree.ElementTree

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
    f = fbeta(y, np.stack([decoded(row, 4.0) for row in p]))
    d = [f[k::K].mean() - fa[k::K].mean() for k in range(K)]
    close(got["expected_gain_percent"], 100 * (f.mean() / fa.mean() - 1), "what decoding gains", 1e-9)
    close(got["expected_paired_t"], np.mean(d) / (np.std(d, ddof=1) / np.sqrt(K)), "its paired t", 1e-7)
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


def decoded(row, b2):
    """The most probable k labels for the k of greatest expected F, by the distributions of counts; ties to fewer labels."""
    def count(ps):
        d = np.array([1.0])
        for p in ps:
            d = np.convolve(d, [1 - p, p])
        return d

    order, best, size = np.argsort(-row, kind="stable"), 0.0, 0
    for k in range(1, len(row) + 1):
        a, b = count(row[order[:k]]), count(row[order[k:]])
        s = np.arange(len(a))[:, None]
        e = (np.outer(a, b) * (1 + b2) * s / (k + b2 * (s + np.arange(len(b))))).sum()
        if e > best + 1e-12:
            best, size = e, k
    h = np.zeros(len(row), int)
    h[order[:size]] = 1
    return h


def any_beta(tmp):
    y, a, _, _, _ = data(tmp)
    p = a.astype("f8")
    for beta, at in ((1, .5), (.5, .8), (3, .1), (2, .2)):
        got, key = score(tmp, "--beta", str(beta)), "f2" if beta == 2 else "fbeta"
        close(got["threshold"], at, "threshold of F%g" % beta)
        close(got[key], fbeta(y, (p > 1 / (1 + beta * beta)).astype(int), beta).mean(), "F%g at %g" % (beta, at))
        h = np.stack([decoded(row, beta * beta) for row in p])
        close(got["expected"], fbeta(y, h, beta).mean(), "F%g of the sets of greatest expected F" % beta)
        for l, row in enumerate(got["labels"]):
            tp, told, true = int((y[:, l] & (p[:, l] > 1 / (1 + beta * beta))).sum()), row["predicted"], row["true"]
            close(row[key], (1 + beta * beta) * tp / (beta * beta * true + told) if tp else 0.0, "F%g of %s" % (beta, row["label"]))


def fit(p, y, fixed=()):
    t = np.full(17, 0.2)
    for l in sorted(set(range(17)) - set(fixed)):
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
    names = [row["label"] for row in got["labels"]]
    got = score(tmp, "--per-class", "--fixed", ",".join((names[3], names[0])))
    close(got["per_class"], fbeta(y, (p > fit(p, y, (0, 3))).astype(int)).mean(), "in sample, two labels at .2")
    for args, why in ((("--per-class", "--fixed", "moss"), '"moss" is none of the labels'), (("--fixed", names[0]), "--fixed goes with --per-class")):
        err = flowrun("score", tmp + "/a.csv", tmp + "/y.csv", *args, want=2)[2]
        holds(why in err, err)


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


def pictures_show_the_figures(tmp):
    """Where points, bars and texts stand in the page follows from the figures of the JSON."""
    data(tmp)
    more = ("--against", tmp + "/b.csv", "--per-class")
    got = score(tmp, *more)
    flowrun("score", tmp + "/a.csv", tmp + "/y.csv", "--folds", tmp + "/folds.csv", "--fold-column", "part", *more, "--report", tmp + "/r.html")
    page = flow.slurp(tmp + "/r.html").decode()
    curve, reliability, spread, bars = [xml.etree.ElementTree.fromstring(s) for s in re.findall(r"<svg.*?</svg>", page, re.S)]

    def points(svg):
        return [tuple(float(v) for v in pair.split(",")) for pair in svg.find("polyline").get("points").split()]

    def circles(svg):
        return [(float(c.get("cx")), float(c.get("cy")), c.find("title").text) for c in svg.findall("circle")]

    def at(x, y, x0, x1, y0, y1):
        return 50 + (x - x0) / (x1 - x0) * 390, 225 - (y - y0) / (y1 - y0) * 195

    def near(a, b, what):
        holds(abs(a[0] - b[0]) <= .051 and abs(a[1] - b[1]) <= .051, "%s stands at %r, want %r" % (what, a, b))

    best, low = got["best_threshold"], min(v for _, v in got["curve"])
    room = (best[1] - low) / 20
    box = (.05, .5, low - room, min(best[1] + room, 1))
    same(len(points(curve)), len(got["curve"]), "points of the curve")
    for p, (t, v) in zip(points(curve), got["curve"]):
        near(p, at(t, v, *box), "threshold %g" % t)
    near(circles(curve)[0], at(best[0], best[1], *box), "the best")
    same(circles(curve)[0][2], "best: %.6f at %g" % (best[1], best[0]), "its text")
    bins = [b for b in got["calibration"] if b["values"]]
    same([c[2] for c in circles(reliability)], ["%d values, mean %.4f, true %.4f" % (b["values"], b["mean"], b["true"]) for b in bins], "bins")
    for p, c, b in zip(points(reliability), circles(reliability), bins):
        near(p, at(b["mean"], b["true"], 0, 1, 0, 1), "a bin")
        near(c, p, "its point")
    values = [f["score"] for f in got["folds"]] + [f["against"] for f in got["folds"]]
    room = (max(values) - min(values)) / 20
    for f in got["folds"]:
        for key, say in (("score", "fold %d: %.6f"), ("against", "fold %d, against: %.6f")):
            c = [c for c in circles(spread) if c[2] == say % (f["fold"], f[key])]
            same(len(c), 1, "points of fold %d" % f["fold"])
            near(c[0], at(f["fold"], f[key], 0, K - 1, min(values) - room, max(values) + room), "fold %d" % f["fold"])
    for svg in (curve, spread):                            # a line of the grid stands where its number says
        for line, text in zip(svg.findall("line"), [t for t in svg.findall("text") if t.get("class") == "e"]):
            near((50, float(line.get("y1"))), at(0, float(text.text), 0, 1, *(box[2:] if svg is curve else (min(values) - room, max(values) + room))), "a line")
    wide = [(float(r.get("width")), r.find("title").text) for r in bars.findall("rect")]
    want = [row[key] for row in got["labels"] for key in ("precision", "recall", "f2")]
    same([t for _, t in wide], ["%.4f" % v for v in want], "bars")
    for (w, _), v in zip(wide, want):
        close(w, v * 680, "a bar's width", .051)
    for text in ("%.6f" % got["f2"], "log-loss %.6f" % got["log_loss"], "%+.4f %%" % got["gain_percent"], "paired t over folds %.3f" % got["paired_t"],
                 "by expected F2: %.6f" % got["expected"], "%.6f in sample, %.6f cross-fitted" % (got["per_class"], got["per_class_cross_fitted"])):
        holds(text in page, "%s in the page" % text)


def odd_tables(tmp):
    """One fold only, a label that is never true nor told, nothing right on the other side: every number is one, or is left out."""
    with open(tmp + "/y.csv", "w") as f:
        f.write("image_name,tags\n" + "".join("t%d,%s\n" % (i, "a" if i % 2 else "a b") for i in range(20)))
    with open(tmp + "/f.csv", "w") as f:
        f.write("image_name,fold\n" + "".join("t%d,0\n" % i for i in range(20)))
    for name, row in (("p", ".9,.3,.01"), ("z", "0,0,0")):
        with open(tmp + "/%s.csv" % name, "w") as f:
            f.write("image_name,a,b,c\n" + "".join("t%d,%s\n" % (i, row) for i in range(20)))
    args = ("score", tmp + "/p.csv", tmp + "/y.csv", "--names", "a,b,c", "--folds", tmp + "/f.csv", "--against", tmp + "/z.csv", "--per-class", "--calibration")
    _, text, _ = flowrun(*args, "--report", tmp + "/r.html")
    got = json.loads(flowrun(*args, "--json")[1])
    y = np.array([[1, 1 - i % 2, 0] for i in range(20)])
    close(got["f2"], fbeta(y, np.tile([1, 1, 0], (20, 1))).mean(), "F2")
    same([got["against"], got["gain_percent"], got["paired_t"], got["per_class_cross_fitted"]], [0, None, None, None], "what there is none of")
    same([got["labels"][2][k] for k in ("true", "predicted", "precision", "recall", "f2")], [0, 0, 0, 0, 0], "the label that is never true")
    for page in (text, flow.slurp(tmp + "/r.html").decode()):
        holds("nan" not in page and "inf" not in page, page)


def tiles_without_labels(tmp):
    """One label, most tiles without it: refused unless it is said that such tiles are meant, and scored as told."""
    y = (np.arange(60) % 4 == 0).astype(np.int64)[:, None]
    p = np.round(.1 + .6 * (np.arange(60) * 7 % 11) / 11, 3)[:, None]
    with open(tmp + "/y.csv", "w") as f, open(tmp + "/p.csv", "w") as g:
        f.write("image_name,a\n" + "".join("t%d,%d\n" % (i, v) for i, v in enumerate(y[:, 0])))
        g.write("image_name,a\n" + "".join("t%d,%g\n" % (i, v) for i, v in enumerate(p[:, 0])))
    args = ("score", tmp + "/p.csv", tmp + "/y.csv", "--names", "a", "--json")
    _, _, err = flowrun(*args, want=1)
    holds("y.csv:3: t1: no tags (allow_empty" in err, err)
    for empty in (0, .25, 1):
        got = json.loads(flowrun(*args, "--allow-empty", "--empty-score", str(empty), "--per-class")[1])

        def mean(h):
            return np.where((y + h).sum(1) == 0, empty, fbeta(y, h)).mean()

        close(got["f2"], mean((p.astype("f4") > .2).astype(int)), "F2")
        close(got["curve"][40][1], mean((p.astype("f4") > .25).astype(int)), "F2 at .25")
        close(got["expected"], mean((p >= (1 - p) * empty).astype(int) if empty else np.ones_like(y)), "by expected F2: p against what nothing would score")
        holds(got["per_class"] >= got["f2"] - 1e-12, "fitted thresholds are no worse")
    _, _, err = flowrun("folds", tmp + "/y.csv", "--names", "a", "--folds", "3", want=1)
    holds("no tags" in err, err)
    flowrun("folds", tmp + "/y.csv", "--names", "a", "--folds", "3", "--allow-empty", "--out", tmp + "/f.csv")
    fold = np.array([int(line.split(",")[1]) for line in open(tmp + "/f.csv").read().split()[1:]])
    same([[int((fold[y[:, 0] == v] == k).sum()) for k in range(3)] for v in (0, 1)], [[15] * 3, [5] * 3], "folds")
    _, _, err = flowrun("folds", tmp + "/y.csv", "--allow-empty=1", want=2)
    holds("--allow-empty takes no value" in err, err)
    holds("--allow-empty" in flowrun("folds", "--help")[1], "the help has it")


def texts_of_pictures_stand_apart(tmp):
    """Sixty folds, long names, a label without a tile, a perfect answer: no text lies on another or is cut, no axis leaves [0,1]."""
    names = ["label_%02d_%s" % (i, "w" * 40) for i in range(20)]
    y = [[(i + j) % 3 == 0 and j != 7 for j in range(20)] for i in range(240)]
    with open(tmp + "/y.csv", "w") as f, open(tmp + "/p.csv", "w") as g, open(tmp + "/f.csv", "w") as h:
        f.write("image_name,tags\n" + "".join("t%d,%s\n" % (i, " ".join(n for n, v in zip(names, r) if v)) for i, r in enumerate(y)))
        g.write("image_name,%s\n" % ",".join(names) + "".join("t%d,%s\n" % (i, ",".join("1" if v else "0" for v in r)) for i, r in enumerate(y)))
        h.write("image_name,fold\n" + "".join("t%d,%d\n" % (i, i % 60) for i in range(240)))
    flowrun("score", tmp + "/p.csv", tmp + "/y.csv", "--names", ",".join(names), "--folds", tmp + "/f.csv", "--report", tmp + "/r.html")
    page = flow.slurp(tmp + "/r.html").decode()
    for s in re.findall(r"<svg.*?</svg>", page, re.S):
        svg, seen = xml.etree.ElementTree.fromstring(s), []
        for t in svg.findall("text"):
            text, x, wide = "".join(t.itertext()), float(t.get("x")), 6.5 * len("".join(t.itertext()))
            left = {"e": x - wide, "m": x - wide / 2}.get(t.get("class"), x)
            holds(left >= 0 and left + wide <= float(svg.get("width")), "%s is cut" % text)
            for other, a, b in seen:
                holds(other != float(t.get("y")) or left >= b or left + wide <= a, "%s lies on another text" % text)
            seen.append((float(t.get("y")), left, left + wide))
            if re.fullmatch("-?[0-9.]+", text) and t.get("class") == "e":
                holds(not text.startswith("-") and float(text) <= 1, "%s on an axis" % text)
    holds("no tile has it; predicted for 0" in page and ">fold<" in page, "what stands for figures that are none, and the name of the axis")


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
    sys.exit(flow.run_cases([figures_equal_numpy, any_beta, thresholds_by_label, the_page_is_whole, pictures_show_the_figures, odd_tables, tiles_without_labels, texts_of_pictures_stand_apart, what_is_refused]))
