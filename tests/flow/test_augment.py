#!/usr/bin/python3
"""Augmented tiles through whole graphs: the same bytes for any number of workers, and the same network input by every way. test_augment.py BUILD"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from flow import MODELS, TILES, flowrun, holds, run_cases, same, slurp, write_graph  # noqa: E402


def probabilities(tmp, name, augment, workers=1, source=None, want=0, how=("-q",)):
    graph = {
        "tiles": {"stage": "source", "options": dict({"files": TILES + "/sample_000[0-3]*.jpg", "batch": 8}, **(source or {}))},
        "decode": {"from": "tiles", "instances": workers},
        "augment": {"from": "decode", "instances": workers, "options": augment},
        "net": {"stage": "forward", "from": "augment", "instances": min(workers, 2), "options": {"weights": [MODELS[0]], "rows": 16}},
        "tta_merge": {"from": "net"},
        "sink": {"from": "tta_merge", "options": {"probabilities": "%s/%s.csv" % (tmp, name)}},
    }
    path = write_graph("%s/%s.json" % (tmp, name), graph)
    _, out, err = flowrun(path, *how, "--run", "%s/run-%s" % (tmp, name), want=want)
    return slurp("%s/%s.csv" % (tmp, name)) if want == 0 else out + err


OPS = {"preset": "alno", "views": "random:3", "size": 96, "normalise": MODELS[0]}
OPS["ops"] = ["d4", "rotate", "distort_grid", {"contrast": {"p": 1}}, {"hsv": {"p": 1}}, {"blur": {"p": 1}}, "scaled"]
del OPS["preset"]


def any_number_of_workers_makes_the_same_bytes(tmp):
    first = probabilities(tmp, "one", OPS)
    holds(first.count(b"\n") == 41, "a row for each tile")
    for workers in (2, 5):
        same(probabilities(tmp, "w%d" % workers, OPS, workers), first, "%d workers" % workers)
    same(sorted(probabilities(tmp, "shuffled", OPS, 2, {"batch": 7, "shuffle": 5}).split()), sorted(first.split()), "other batches in another order")


def views_as_numbers_and_painted_are_one(tmp):
    views = {"views": ["d4", "scaled"], "size": 96}
    as_numbers = probabilities(tmp, "views", views)
    same(probabilities(tmp, "painted", dict(views, out="f32", normalise=MODELS[0])), as_numbers, "painted by augment, painted by forward")


def a_training_view_without_draws_is_the_plain_view(tmp):
    plain = probabilities(tmp, "plain", {"views": "scaled", "size": 96})
    same(probabilities(tmp, "none", {"ops": ["d4", "rotate", "scaled"], "augs": "none", "size": 96, "normalise": MODELS[0]}),
         probabilities(tmp, "center", {"views": "center", "size": 96}), "without ops the centre is left")
    same(probabilities(tmp, "p0", {"ops": [{"rotate": {"p": 0}}, "scaled"], "size": 96, "normalise": MODELS[0]}), plain, "ops that are never applied")


def what_was_made_for_another_network_is_refused(tmp):
    holds("made for an input of 256 pixels a side (S), want 96" in probabilities(tmp, "side", {"views": "d4"}, want=2), "views of another size")
    holds("input has 128 pixels a side (S), want 96" in probabilities(tmp, "painted-side", dict(OPS, size=128), want=2), "painted views of another size")
    said = probabilities(tmp, "norm", dict(OPS, normalise="none"), want=1, how=())
    holds("E_CONFIG: band 1 was normalised by mean" in said, "another normalisation: %r" % said)
    holds("--resume" not in said, "no advice to go on with what can't work: %r" % said)


if __name__ == "__main__":
    sys.exit(run_cases([any_number_of_workers_makes_the_same_bytes, views_as_numbers_and_painted_are_one, a_training_view_without_draws_is_the_plain_view,
                        what_was_made_for_another_network_is_refused]))
