"""One tile, epoch and view is one tensor: in a graph that predicts, in one that feeds trainers, for any number of workers and trainers, after kills and stops."""
import os
import signal
import sys
import threading

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), p) for p in ("../lib", "../../python")]
import flow
from flow import FLOWRUN, LABELS, MODELS, TILES, children, flowrun as run_flowrun, holds, same, slurp, write_graph

os.environ["FLOWRUN"] = FLOWRUN
from flowrun import Feed
from flowrun.recording import Recording

N, EPOCHS = 40, 2
FILES = [os.path.join(TILES, "sample_%05d.jpg" % i) for i in range(N)]
DRAWN = {"ops": ["d4", "rotate", {"one_of": ["distort_radial", "distort_grid"]}, {"contrast": {"p": 1}}, {"hsv": {"p": 1}}, "scaled"], "size": 96, "normalise": MODELS[0]}
KINDS = {"training": dict(DRAWN), "random": dict(DRAWN, views="random:3"), "preset": {"preset": "romul", "size": 96, "normalise": MODELS[0]}}


def graph(kind, end, workers=1, batch=4):
    epochs = EPOCHS if kind != "random" else 1
    g = {"tiles": {"stage": "source", "options": {"files": FILES, "batch": batch, "labels": LABELS, "epochs": epochs, "shuffle": True}},
         "decode": {"from": "tiles", "instances": workers}, "augment": {"from": "decode", "instances": workers, "options": KINDS[kind]}}
    g.update(end)
    return g


def rows(batch, into, where):
    """(tile, epoch, view): bytes of the planes and of what was drawn."""
    for i, tile in enumerate(where(batch)):
        for view in range(batch["input"].shape[1]):
            key = (tile, int(batch["epoch"][i]), view)
            holds(key not in into, "%r comes once" % (key,))
            into[key] = hash((batch["input"][i, view].tobytes(), batch["params"][i, view].tobytes()))


def predicted(tmp, kind, workers):
    """From the recorded edge into a network."""
    end = {"net": {"stage": "forward", "from": "augment", "instances": min(workers, 2), "options": {"weights": [MODELS[0]], "rows": 16}}, "tta_merge": {"from": "net"},
           "sink": {"from": "tta_merge"}}
    run = "%s/%s-%d" % (tmp, kind, workers)
    run_flowrun(write_graph(run + ".json", graph(kind, end, workers), record={"edges": ["augment"]}), "-q", "--run", run)
    got = {}
    recording = Recording(run + "/recordings/augment")
    for number, _, segment, at in recording.entries:
        b = segment.read(at)
        rows(b.tensors, got, lambda t: [bytes(r).rstrip(b"\0").decode() for r in t["id"]])
    return got


def feed_graph(kind, **how):
    return {"memory": "60MB", "seed": 42, "stages": graph(kind, {"feed": {"from": "augment"}}, **how)}


def take(feed, into, most=None):
    for b in feed:
        rows(b, into, lambda t: t.ids)
        index = b.index
        del b
        if index == most:
            return


def fed(kind, **how):
    got = {}
    with Feed(feed_graph(kind, **how)) as feed:
        while feed.epoch < feed.epochs:
            take(feed, got)
    return got


_measure = {}


def measure(tmp, kind):
    if kind not in _measure:
        _measure[kind] = predicted(tmp, kind, 1)
        same(len(_measure[kind]), N * (3 if kind == "random" else EPOCHS), "keys of " + kind)
        holds(len(set(_measure[kind].values())) > 0.9 * len(_measure[kind]), "draws differ from key to key")
    return _measure[kind]


def trainers_get_what_networks_get(tmp):
    for kind in KINDS:
        same(fed(kind) == measure(tmp, kind), True, kind)


def any_number_of_workers(tmp):
    want = measure(tmp, "training")
    for workers in (2, 5):
        same(predicted(tmp, "training", workers) == want, True, "%d workers, predicted" % workers)
        same(fed("training", workers=workers, batch=workers + 1) == want, True, "%d workers, fed" % workers)


def two_trainers(tmp):
    shares = [{}, {}]
    with Feed(feed_graph("training", workers=2), rank=0, world=2) as first:
        where = (first.epochs, first.run_dir)[1]

        def other():
            with Feed(where, rank=1, world=2) as second:
                while second.epoch < second.epochs:
                    take(second, shares[1])
        t = threading.Thread(target=other)
        t.start()
        while first.epoch < first.epochs:
            take(first, shares[0])
        t.join()
    holds(shares[0] and shares[1] and not set(shares[0]) & set(shares[1]), "each has a share")
    same({**shares[0], **shares[1]} == measure(tmp, "training"), True, "both together")


def killed_and_resumed(tmp):
    got = {}
    with Feed(feed_graph("training", workers=2)) as feed:
        take(feed, got, most=2)
        for name in ("augment", "decode", "feed"):       # nothing of ours is in use
            for pid in children(feed._run.process.pid, name)[:1]:
                os.kill(pid, signal.SIGKILL)
        take(feed, got)
        take(feed, got, most=4)
        state = feed.state_dict()
        feed._run.process.kill()
    same(flow.orphans(10), 0, "stages that outlived flowrun")
    with Feed(feed_graph("training")) as feed:
        feed.load_state_dict(state)
        take(feed, got)
    same(got == measure(tmp, "training"), True, "after three deaths, a death of flowrun and a resumption")


if __name__ == "__main__":
    sys.exit(flow.run_cases([trainers_get_what_networks_get, any_number_of_workers, two_trainers, killed_and_resumed]))
