#!/usr/bin/python3
"""flowrun folds against the same rules written anew, and on the real label table as the recipe accepts it. test_folds.py BUILD"""
import csv
import gzip
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from flow import FLOWRUN, Skip, flowrun, holds, run_cases  # noqa: E402

LABELS = ("agriculture artisinal_mine bare_ground blooming blow_down clear cloudy conventional_mine cultivation habitation haze partly_cloudy primary road "
          "selective_logging slash_burn water").split()
REAL = os.path.join(os.environ.get("FLOWRUN_DATA", "../shared/data"), "planet-labels", "train_v2.csv.gz")


# ---- the rules ----

def fnv(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def draws(seed, hashes, epoch, op):
    """Block 0 for each hash: uint64 [n, 4]."""
    low, s32 = np.uint64(0xFFFFFFFF), np.uint64(32)
    a, b = hashes & low, hashes >> s32
    c, d = np.full(len(a), epoch, np.uint64), np.full(len(a), op << 18, np.uint64)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p, q = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, b, c, d = (q >> s32) ^ b ^ np.uint64(k0), q & low, (p >> s32) ^ d ^ np.uint64(k1), p & low
        k0, k1 = k0 + 0x9E3779B9 & 0xFFFFFFFF, k1 + 0xBB67AE85 & 0xFFFFFFFF
    return np.stack([a, b, c, d], 1)


def shuffled(seed, hashes, who, epoch):
    r = draws(seed, hashes[who], epoch, 63)
    return who[np.argsort(r[:, 0] << np.uint64(32) | r[:, 1], kind="stable")]


def tie(seed, hashes, item, epoch, among):
    r = int(draws(seed, hashes[item : item + 1], epoch, 60)[0, 0])
    return among[r * len(among) >> 32]


def loop(names, y, K, seed):
    hashes = np.array([fnv(n) for n in names], np.uint64)
    N, L = y.shape
    flip = 2 * y.sum(0) > N
    t = np.where(flip, 1 - y, y)
    fold = np.full(N, -1)

    def place(table, label):
        have = np.array([table[fold == k].sum(0) for k in range(K)])
        for i in shuffled(seed, hashes, np.flatnonzero((fold < 0) & (table[:, label] == 1)), label):
            few = np.flatnonzero(have[:, label] == have[:, label].min())
            k = few[0] if len(few) == 1 else tie(seed, hashes, i, label, few)
            fold[i] = k
            have[k] += table[i]

    for label in np.argsort(t.sum(0), kind="stable"):
        place(t, label)
    for label in sorted(np.flatnonzero(flip), key=lambda l: (-y[:, l].sum(), -l)):
        place(y, label)
    for i in shuffled(seed, hashes, np.flatnonzero(fold < 0), L):
        fold[i] = np.argmin([(fold == k).sum() for k in range(K)])
    return fold


def iterative(names, y, K, seed, labels):
    hashes = np.array([fnv(n) for n in names], np.uint64)
    N, L = y.shape
    want, want_all = np.tile(y.sum(0) / K, (K, 1)), np.full(K, N / K)
    fold, left, step = np.full(N, -1), y.sum(0).astype(int), 0

    def assign(i, k):
        fold[i] = k
        want[k] -= y[i]
        want_all[k] -= 1
        left[y[i] == 1] -= 1

    while left.any():
        few = np.flatnonzero(left == left[left > 0].min())
        keys = [draws(seed, np.array([fnv("folds/" + labels[l])], np.uint64), step, 60)[0] for l in few]
        label = few[np.argmin([int(r[0]) << 32 | int(r[1]) for r in keys])]
        for i in shuffled(seed, hashes, np.flatnonzero((fold < 0) & (y[:, label] == 1)), label):
            best = np.flatnonzero(want[:, label] == want[:, label].max())
            best = best[want_all[best] == want_all[best].max()]
            assign(i, best[0] if len(best) == 1 else tie(seed, hashes, i, label, best))
        step += 1
    for i in shuffled(seed, hashes, np.flatnonzero(fold < 0), L):
        assign(i, np.argmax(want_all))
    return fold


# ---- tables ----

def read_real():
    if not os.path.exists(REAL):
        raise Skip("no %s" % REAL)
    with gzip.open(REAL, "rt") as f:
        rows = [(r["image_name"], r["tags"].split()) for r in csv.DictReader(f)]
    return [r[0] for r in rows], np.array([[label in tags for label in LABELS] for _, tags in rows], int)


def write_table(path, names, y):
    with open(path, "w") as f:
        f.write("image_name,tags\n")
        for n, row in zip(names, y):
            f.write("%s,%s\n" % (n, " ".join(l for l, on in zip(LABELS, row) if on)))


def read_folds(path):
    with open(path) as f:
        rows = list(csv.DictReader(f))
    return [r["image_name"] for r in rows], np.array([int(r["fold"]) for r in rows])


def deviations(y, fold, K):
    return [max(abs(y[fold == k, l].sum() - y[:, l].sum() / K) for k in range(K)) for l in range(y.shape[1])]


# ---- cases ----

def the_real_table_is_cut_as_the_recipe_accepts(tmp):
    names, y = read_real()
    seen = []
    for seed in range(1, 10):
        flowrun("folds", REAL, "--seed", str(seed), "--out", tmp + "/f.csv")
        got, fold = read_folds(tmp + "/f.csv")
        holds(got == names, "a row for each tile, in the table's order")
        off = deviations(y, fold, 10)
        sizes = np.bincount(fold, minlength=10)
        holds(len(sizes) == 10 and 4045 <= sizes.min() and sizes.max() <= 4051, "sizes %s" % sizes)
        holds(max(o for l, o in zip(LABELS, off) if l != "clear") <= 1.0 and off[LABELS.index("clear")] <= 5, "seed %d: %s" % (seed, off))
        seen.append(fold)
    holds(all((a != b).any() for i, a in enumerate(seen) for b in seen[:i]), "different seeds differ")
    holds((seen[6] == loop(names, y, 10, 7)).all(), "seed 7 as by the rules")


def other_methods_on_the_real_table(tmp):
    names, y = read_real()
    flowrun("folds", REAL, "--method", "iterative", "--out", tmp + "/i.csv")
    fold = read_folds(tmp + "/i.csv")[1]
    holds((fold == iterative(names, y, 10, 42, LABELS)).all(), "seed 42 as by the rules")
    off = dict(zip(LABELS, deviations(y, fold, 10)))
    # Whichever of these two is left to the end pays for all others: 40 runs of the paper's rules on other draws leave it 6 to 29 off.
    first, last = sorted(("clear", "primary"), key=off.get)
    holds(max(o for l, o in off.items() if l != last) <= 1.0 and 5 < off[last] < 35, str(off))
    flowrun("folds", REAL, "--method", "kfold", "--out", tmp + "/k.csv")
    fold = read_folds(tmp + "/k.csv")[1]
    holds(sorted(np.bincount(fold)) == [4047] + [4048] * 9, str(np.bincount(fold)))
    holds(20 < max(deviations(y, fold, 10)) < 150, "kfold knows nothing of labels: %s" % deviations(y, fold, 10))


def small_tables_as_by_the_rules(tmp):
    rng = np.random.default_rng(5)
    for case in range(6):
        n, K = int(rng.integers(20, 200)), int(rng.integers(2, 7))
        y = (rng.random((n, 17)) < rng.random(17) * 0.9).astype(int)
        y[y.sum(1) == 0, 12] = 1
        names = ["t%d" % i for i in rng.permutation(n)]
        write_table(tmp + "/t.csv", names, y)
        for method, rule in (("loop", lambda: loop(names, y, K, 3)), ("iterative", lambda: iterative(names, y, K, 3, LABELS))):
            flowrun("folds", tmp + "/t.csv", "--method", method, "--folds", str(K), "--seed", "3", "--out", tmp + "/f.csv")
            holds((read_folds(tmp + "/f.csv")[1] == rule()).all(), "%s, case %d: %d tiles, %d folds" % (method, case, n, K))
        # The rows' order is nothing to go by.
        turn = rng.permutation(n)
        write_table(tmp + "/u.csv", [names[i] for i in turn], y[turn])
        flowrun("folds", tmp + "/t.csv", "--folds", str(K), "--out", tmp + "/f.csv")
        flowrun("folds", tmp + "/u.csv", "--folds", str(K), "--out", tmp + "/g.csv")
        holds(dict(zip(*read_folds(tmp + "/f.csv"))) == dict(zip(*read_folds(tmp + "/g.csv"))), "another order of the rows, the same folds")


def groups_stay_together(tmp):
    rng = np.random.default_rng(6)
    y = (rng.random((300, 17)) < 0.2).astype(int)
    y[:, 12] = 1
    names = ["t%d" % i for i in range(300)]
    group = rng.integers(0, 40, 300)
    write_table(tmp + "/t.csv", names, y)
    with open(tmp + "/g.csv", "w") as f:
        f.write("image_name,group\n" + "".join("t%d,scene %d\n" % (i, group[i]) for i in range(300)) + "unlabelled,x\n")
    flowrun("folds", tmp + "/t.csv", "--method", "group", "--groups", tmp + "/g.csv", "--folds", "4", "--seed", "9", "--out", tmp + "/f.csv")
    fold = read_folds(tmp + "/f.csv")[1]
    present = list(dict.fromkeys(group))
    together = np.array([y[group == g].max(0) for g in present])
    want = loop(["scene %d" % g for g in present], together, 4, 9)
    holds((fold == [want[present.index(g)] for g in group]).all(), "groups are cut by the rules")


def the_report(tmp):
    names = ["t%d" % i for i in range(40)]
    y = np.zeros((40, 17), int)
    y[:, 12], y[:7, 4], y[::2, 13] = 1, 1, 1
    write_table(tmp + "/t.csv", names, y)
    _, out, err = flowrun("folds", tmp + "/t.csv", "--folds", "4", "--svg", tmp + "/f.svg")
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line}
    holds(lines["(all)"][1:] == ["40", "10", "10", "10", "10"], out)
    holds(lines["blow_down"][1:3] == ["7", "0.8"] and sum(map(int, lines["blow_down"][3:7])) == 7, out)
    holds("only 0 tiles have agriculture" in err and "blow_down" not in err, err)
    import xml.dom.minidom
    texts = [t.firstChild.data for t in xml.dom.minidom.parse(tmp + "/f.svg").getElementsByTagName("text")]
    holds("fold 3: 10" in texts and "selective_logging" in texts, str(texts))


def what_does_not_fit_is_named(tmp):
    write_table(tmp + "/t.csv", ["a", "b", "c"], np.eye(3, 17, 12, dtype=int))
    with open(tmp + "/g.csv", "w") as f:
        f.write("image_name,group\na,1\nb,1\n")
    with open(tmp + "/h.csv", "w") as f:
        f.write("image_name,group\na,1\na,2\n")
    table = tmp + "/t.csv"
    for status, text, args in (
        (2, "want a label table", []), (2, "4 folds of 3", [table, "--folds", "4"]), (2, "from 2", [table, "--folds", "1"]), (2, "from 2", [table, "--folds", "2x"]),
        (2, "did you mean --method", [table, "--methd", "loop"]), (2, "wants a value", [table, "--seed"]), (2, "--seed", [table, "--seed", "-1"]),
        (2, "one of loop", [table, "--method", "fast"]), (2, "needs --groups", [table, "--method", "group"]), (2, "too many", [table, table]),
        (1, "no row for tile c", [table, "--folds", "2", "--groups", tmp + "/g.csv"]), (1, "h.csv:3: a is there twice", [table, "--folds", "2", "--groups", tmp + "/h.csv"]),
        (1, "none.csv", [tmp + "/none.csv"]), (1, "E_LABEL", [table, "--names", "x,y"]), (1, "a is there twice", [table, "--names", "a,b,a"]), (1, "0 bytes", [table, "--names", "a,,b"]),
        (2, "from 0", [table, "--seed", "18446744073709551616"]), (2, "unknown option -x", [table, "-x"]), (1, "E_IO", [table, "--folds", "2", "--out", table + "/no"]),
        (0, "usage", ["--help"]),
    ):
        rc, out, err = flowrun("folds", *args, want=None)
        holds(rc == status and text in out + err, "%s: status %d, want %d and %r in %r" % (args, rc, status, text, out + err))


if __name__ == "__main__":
    sys.exit(run_cases([the_real_table_is_cut_as_the_recipe_accepts, other_methods_on_the_real_table, small_tables_as_by_the_rules, groups_stay_together,
                        the_report, what_does_not_fit_is_named]))
