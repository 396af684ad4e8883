"""Kills random stages at random moments, and the supervisor too: the results are those of a quiet run, byte for byte.

FLOWRUN_LONG=1: 200 kills of stages and 5 of the supervisor, else 20 and 1. CHAOS_SEED chooses the moments."""
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import MODELS, TILES, Run, flowrun, holds, report, same, slurp, write_graph   # noqa: E402

LONG = bool(os.environ.get("FLOWRUN_LONG"))
N = 300


def graph(out):
    """Fan-out to two networks, two joins, several instances: every kind of link."""
    def net(model):
        return {"stage": "forward", "from": "augment", "instances": 2, "options": {"weights": [model], "rows": 16}}
    return {
        "tiles": {"stage": "source", "options": {"files": TILES + "/*.jpg", "batch": 4}},
        "decode": {"from": "tiles", "instances": 2},
        "augment": {"from": "decode", "options": {"views": ["flips", "scaled"], "size": 96}},
        "net1": net(MODELS[0]), "net2": net(MODELS[1]),
        "merge1": {"stage": "tta_merge", "from": "net1"}, "merge2": {"stage": "tta_merge", "from": "net2"},
        "stack": {"from": ["merge1", "merge2"], "instances": 2},
        "decode_f2": {"from": "stack"},
        "sink": {"from": ["stack", "decode_f2"], "options": {"submission": out + "/predictions.csv", "probabilities": out + "/probs.csv"}},
    }


def results(out):
    return [slurp(out + "/predictions.csv"), slurp(out + "/probs.csv")]


def quiet(tmp):
    os.mkdir(tmp + "/quiet")
    flowrun(write_graph(tmp + "/quiet.json", graph(tmp + "/quiet")), "--run", tmp + "/quiet-run", "-q")
    return results(tmp + "/quiet")


def at_work(pid):
    """Whether it is a stage of the run, not one that is just asked to describe itself."""
    try:
        return b"--setup" in slurp("/proc/%d/cmdline" % pid)
    except OSError:
        return False


def kill_one(run, draw):
    pids = [p for of in run.stages().values() for p in of if at_work(p)]
    if not pids:
        return 0
    try:
        os.kill(draw.choice(pids), signal.SIGKILL)
        return 1
    except ProcessLookupError:
        return 0


def kill_stages(tmp, want, draw, most):
    """A run under fire; the number of kills that hit."""
    out = tmp + "/chaos"
    os.mkdir(out)
    run = Run(write_graph(tmp + "/chaos.json", graph(out)), "--run", tmp + "/chaos-run", "-q")
    kills, end = 0, time.monotonic() + 250
    while run.p.poll() is None:
        holds(time.monotonic() < end, "the run under fire ends; it said %r" % (run.said(),))
        time.sleep(draw.uniform(0, 0.3))
        if kills < most:
            kills += kill_one(run, draw)
    rc, _, err = run.end()
    same(rc, 0, "status after %d kills: %s" % (kills, err))
    same(results(out), want, "results after %d kills" % kills)
    r = report(tmp + "/chaos-run")
    same([r["tiles"], r["predicted"], r["rejected"]], [N, N, 0], "report")
    holds(r["restarts"] > 0, "restarts are counted: %r" % r)
    for path in (out, tmp + "/chaos-run"):
        os.rename(path, path + "-%d" % kills + str(time.monotonic()))
    return kills


def stages_are_killed(tmp):
    draw = random.Random(int(os.environ.get("CHAOS_SEED", "1")))
    want, left = quiet(tmp), 200 if LONG else 20
    while left > 0:
        left -= kill_stages(tmp, want, draw, left)


def the_supervisor_is_killed(tmp):
    draw = random.Random(int(os.environ.get("CHAOS_SEED", "1")) + 1000)
    want, out = quiet(tmp), tmp + "/o"
    os.mkdir(out)
    args = (write_graph(tmp + "/graph.json", graph(out)), "--run", tmp + "/run", "-q")
    for _ in range(5 if LONG else 1):
        run, before = Run(*args), flow.committed(tmp + "/run")
        flow.wait_for(lambda: flow.committed(tmp + "/run") > max(before, 64) or run.p.poll() is not None, "progress")
        time.sleep(draw.uniform(0, 0.3))
        run.p.kill()
        run.p.wait()
        same(flow.orphans(2), 0, "stages that outlive a killed supervisor by 2 s")
        args = ("--resume", tmp + "/run", "-q")
    flowrun(*args)
    same(results(out), want, "results after --resume")
    same(report(tmp + "/run")["predicted"], N, "tiles")


if __name__ == "__main__":
    sys.exit(flow.run_cases([stages_are_killed, the_supervisor_is_killed]))
