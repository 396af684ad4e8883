"""flowrun select-snapshots: by brute force on tables whose answer is known, and what is wrong is named with its line."""
import itertools
import json
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from flow import MODELS, chain, flowrun, holds, run_cases, same, write_graph

LABELS = ["a", "b", "c"]


def checkpoint(tmp, name, loss, prob=None, **more):
    """A checkpoint with weights that nobody opens; its file."""
    open("%s/%s.safetensors" % (tmp, name), "w").close()
    said = dict({"validation_loss": loss}, **more)
    if prob is not None:
        said["predictions"] = name + ".csv"
        with open("%s/%s.csv" % (tmp, name), "w") as f:
            f.write("image_name,%s\n" % ",".join(LABELS))
            rows = ["t%d,%s\n" % (i, ",".join("%.9g" % v for v in row)) for i, row in enumerate(prob)]
            f.writelines(rows if sum(map(ord, name)) % 2 else reversed(rows))       # the order of rows says nothing
    path = "%s/%s.checkpoint.json" % (tmp, name)
    with open(path, "w") as f:
        json.dump(said, f, indent=1)
    return path


def picked(files, *args, warned=False):
    _, out, err = flowrun("select-snapshots", *files, *args)
    holds(("only" in err) == warned, "warning: %r" % err)
    return [os.path.basename(line)[: -len(".safetensors")] for line in out.split()]


def top_k_is_the_lowest_loss(tmp):
    table = {"e1": (0.30, 1), "e2": (0.10, 2), "e3": (0.20, 3), "e4": (0.10, 4), "e5": (0.25, 5)}
    files = [checkpoint(tmp, name, loss, epoch=epoch, stage=1, step=epoch * 100) for name, (loss, epoch) in table.items()]
    for order in (files, files[::-1]):
        same(picked(order), ["e4", "e2", "e3"], "ties to the later one")
    same(picked(files, "--k", "1"), ["e4"], "one")
    same(picked(files, "--k", "7", warned=True), ["e4", "e2", "e3", "e5", "e1"], "fewer than asked for")
    out = json.loads(flowrun("select-snapshots", *files, "--json", "--k", "2")[1])
    same(out, [tmp + "/e4.safetensors", tmp + "/e2.safetensors"], "as a list")


def last_k_are_ends_of_cycles(tmp):
    files = [checkpoint(tmp, "s%de%d" % (stage, epoch), 1 / (1 + stage + epoch), stage=stage, epoch=epoch, cycle_end=epoch % 3 == 2)
             for stage in (1, 2) for epoch in range(6)]
    for order in (files, files[::-1], files[3:] + files[:3]):
        same(picked(order, "--method", "last_k"), ["s1e5", "s2e2", "s2e5"], "oldest first")
    same(picked(files[:6], "--method", "last_k", warned=True), ["s1e2", "s1e5"], "two are there")
    rc, _, err = flowrun("select-snapshots", files[0], files[1], "--method", "last_k", want=None)
    holds(rc == 2 and "cycle" in err, "none: %d %s" % (rc, err))


def diverse_is_the_least_alike(tmp):
    draw = np.random.default_rng(4)
    base = draw.uniform(0.2, 0.8, (6, 3))
    probs = [np.float32(np.clip(base + draw.normal(0, s, base.shape), 0, 1)) for s in (.01, .02, .1, .05, .15, .2, .03)]
    probs += [np.full((6, 3), 0.5, np.float32)]                        # constant: like every other one
    losses = [0.10, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.17]
    files = [checkpoint(tmp, "m%d" % i, loss, prob) for i, (loss, prob) in enumerate(zip(losses, probs))]

    def alike(i, j):
        x, y = np.float64(probs[i]).ravel(), np.float64(probs[j]).ravel()
        return 1.0 if np.ptp(x) == 0 or np.ptp(y) == 0 else np.corrcoef(x, y)[0, 1]

    for n, k in ((8, 3), (6, 3), (7, 2), (5, 4)):
        want = min(itertools.combinations(range(n), k), key=lambda s: sum(alike(i, j) for i, j in itertools.combinations(s, 2)))
        same(picked(files, "--method", "diverse", "--pool", str(n), "--k", str(k)), ["m%d" % i for i in want], "%d of %d" % (k, n))
    holds(picked(files, "--method", "top_k") == ["m0", "m1", "m2"] != picked(files, "--method", "diverse"), "another answer than top_k's")


def ties_of_diverse_go_to_the_smaller_loss(tmp):
    flat = np.full((4, 3), 0.25, np.float32)
    files = [checkpoint(tmp, "c%d" % i, loss, flat) for i, loss in enumerate((0.4, 0.1, 0.3, 0.2, 0.5))]
    same(picked(files, "--method", "diverse", "--k", "3"), ["c1", "c3", "c2"], "all alike")
    same(picked(files[:2], "--method", "diverse", "--k", "3", warned=True), ["c1", "c0"], "fewer than asked for")


def a_run_takes_the_list(tmp):
    files = []
    for i, model in enumerate(MODELS):
        files.append("%s/m%d.checkpoint.json" % (tmp, i))
        with open(files[-1], "w") as f:
            json.dump({"validation_loss": 0.3 - 0.1 * i, "weights": os.path.relpath(model, tmp)}, f)
    out = flowrun("select-snapshots", *files, "--k", "2", "--json")[1]
    graph = write_graph(tmp + "/graph.json", chain(tmp, ["build/samples/tiles/sample_00000.jpg"]))
    said = flowrun("plan", graph, "--set", "net.weights=" + out.strip())[1]
    holds("K=2" in said, "two sets of weights: " + said)


def what_is_wrong_is_named(tmp):
    prob = np.full((2, 3), 0.5, np.float32)
    good = checkpoint(tmp, "good", 0.1, prob, fold=1)
    for name, text, want, rc in (
        ("broken", '{"validation_loss": 1,\n "epoch": }', ":2:", 1),
        ("list", "[]", ":1: not a JSON object", 1),
        ("typo", '{\n "validaton_loss": 1}', ':2: unknown key "validaton_loss", did you mean "validation_loss"?', 2),
        ("missing", '{\n "epoch": 1}', "validation_loss is missing", 2),
        ("word", '{\n\n "validation_loss": "low"}', ":3: validation_loss, want a number", 2),
        ("huge", '{\n "validation_loss": 1e999}', ":2:", 1),
        ("epoch", '{"validation_loss": 1,\n "epoch": -1}', ":2: epoch", 2),
        ("end", '{"validation_loss": 1,\n "cycle_end": 1}', ":2: cycle_end, want true or false", 2),
        ("gone", '{"validation_loss": 1,\n\n "weights": "lost.safetensors"}', ":3: weights", 1),
        ("twice", '{"epoch": 1,\n "epoch": 2}', ":2: duplicate", 1),
        ("fold", '{"validation_loss": 1, "fold": 2}', "fold 2", 2),
        ("nopred", '{"validation_loss": 1, "fold": 1}', "predictions", 2),
    ):
        open("%s/%s.safetensors" % (tmp, name), "w").close()
        path = "%s/%s.checkpoint.json" % (tmp, name)
        with open(path, "w") as f:
            f.write(text)
        got, _, err = flowrun("select-snapshots", good, path, "--method", "diverse", "--k", "1", want=None)
        holds(got == rc and want in err and name in err, "%s: %d, it said %s" % (name, got, err))
    other = checkpoint(tmp, "other", 0.2, np.full((3, 3), 0.5, np.float32), fold=1)
    got, _, err = flowrun("select-snapshots", good, other, "--method", "diverse", "--k", "1", want=None)
    holds(got == 1 and "other.csv" in err and "tiles" in err, "other tiles: %d %s" % (got, err))
    got, _, err = flowrun("select-snapshots", good, "--method", "diverse", "--k", "5", "--pool", "4", want=None)
    holds(got == 2 and "--pool" in err, "pool: %d %s" % (got, err))
    got, _, err = flowrun("select-snapshots", good, other, good, want=None)
    holds(got == 2 and "good.safetensors is there twice" in err, "twice: %d %s" % (got, err))
    got, _, err = flowrun("select-snapshots", good.replace(".checkpoint.json", ".safetensors"), want=None)
    holds(got == 2 and "good.checkpoint.json" in err, "weights: %d %s" % (got, err))


if __name__ == "__main__":
    sys.exit(run_cases((top_k_is_the_lowest_loss, last_k_are_ends_of_cycles, diverse_is_the_least_alike, ties_of_diverse_go_to_the_smaller_loss,
                        a_run_takes_the_list, what_is_wrong_is_named)))
