"""flowrun chaos: under kills, stops, cut links and a killed supervisor the results are those of a quiet run, byte for byte; the command
itself notices what differs and leaves nothing behind. CHAOS_SEED chooses what happens; `make chaos` does ten times as much."""
import os
import re
import shutil
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import MODELS, TILES, Run, chain, holds, same, wait_for, write_graph   # noqa: E402

SEED = os.environ.get("CHAOS_SEED", "1")


def graph(out):
    """Fan-out to two networks, two joins, several instances, two sinks: every kind of link."""
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
        "first": {"stage": "sink", "from": "merge1", "options": {"probabilities": out + "/first.csv"}},
    }


def chaos(tmp, stages, *args):
    return Run("chaos", write_graph(tmp + "/graph.json", stages), "--seed", SEED, *args, cwd=tmp)


def results_are_those_of_a_quiet_run(tmp):
    rc, out, err = chaos(tmp, graph(tmp), "--kills", "20", "--supervisor-kills", "1").end(250)
    same(rc, 0, "status; it said %s%s" % (out, err))
    done = re.search(r"^chaos: (\d+) kills, (\d+) stops, (\d+) cut links, (\d+) kills of flowrun .*: all equal$", out, re.M)
    holds(done is not None, "the sum: %s" % out[-300:])
    kills, stops, cuts, supervisor = map(int, done.groups())
    same([kills >= 20, stops > 0, supervisor], [True, True, 1], "done: %s" % done.group(0))
    holds(cuts > 0 or "could not be cut" in out, "links were cut: %s" % done.group(0))
    same(len(re.findall(r"  (?:killed|stopped for|one of its)", out)), kills + stops + cuts + supervisor, "lines of what was done")
    holds("4 files equal" in out, "three files of results and the rejects are compared: %s" % out[-300:])
    same(os.listdir(tmp + "/runs"), [], "what is left of equal runs")
    holds(not os.path.exists(tmp + "/predictions.csv"), "the files that the graph names are left alone")


def expanded(out):
    """Networks and merges out of a matrix."""
    return {
        "tiles": {"stage": "source", "options": {"files": TILES + "/*.jpg", "batch": 4}},
        "decode": {"from": "tiles", "instances": 2},
        "augment": {"from": "decode", "options": {"views": "flips", "size": 96}},
        "net": {"stage": "forward", "from": "augment", "matrix": {"m": [1, 2, 3]}, "options": {"weights": [flow.ROOT + "/samples/models/tilenet-{m}.safetensors"], "rows": 16}},
        "merge": {"stage": "tta_merge", "from": "net-{m}", "matrix": {"m": [1, 2, 3]}},
        "stack": {"from": "merge", "instances": 2},
        "decode_f2": {"from": "stack"},
        "sink": {"from": ["stack", "decode_f2"], "options": {"submission": out + "/predictions.csv", "probabilities": out + "/probs.csv"}},
    }


def epochs(out):
    return chain(out, TILES + "/*[0-4].jpg", batch=4, tiles={"epochs": 3, "shuffle": True, "last": "pad"}, instances=2)


def poisoned(out):
    """Two tiles that kill a stage, two that kill the sink: halved in the midst of it all."""
    stages = chain(out, TILES + "/*.jpg", batch=8, instances=2)
    stages["tripwire"] = {"from": "decode", "instances": 2, "options": {"tiles": ["sample_00037", "sample_00150"]}}
    stages["augment"]["from"] = "tripwire"
    stages["sink"]["stage"] = "tripsink"
    return stages


def graphs_of_other_kinds_under_fire(tmp):
    """Each with a kill of flowrun and a resume. FLOWRUN_LONG=1: three seeds and more kills."""
    long = os.environ.get("FLOWRUN_LONG")
    env = dict(os.environ, TRIP_SINK="sample_00002,sample_00299")
    for seed in range(int(SEED), int(SEED) + (3 if long else 1)):
        for kind in (expanded, epochs, poisoned):
            path = write_graph(tmp + "/kind.json", kind(tmp), stage_path=[flow.BUILD + "/tests/flow/stages"])
            rc, out, err = Run("chaos", path, "--seed", str(seed), "--kills", "30" if long else "5", "--supervisor-kills", "1", cwd=tmp, env=env).end(600)
            same([rc, ": all equal\n" in out], [0, True], "%s, seed %d: %s%s" % (kind.__name__, seed, out[-600:], err[-600:]))


def a_difference_is_told(tmp):
    shutil.copytree(TILES, tmp + "/tiles", ignore=lambda d, names: sorted(names)[60:])
    tiles = sorted(os.listdir(tmp + "/tiles"))
    run = chaos(tmp, chain(tmp, tmp + "/tiles/*.jpg", batch=4), "--seconds", "0.2")
    wait_for(lambda: "quiet run: " in run.said()[0] or run.p.poll() is not None, "the quiet run")
    for name in tiles[1:]:
        shutil.copyfile(os.path.join(tmp, "tiles", tiles[0]), os.path.join(tmp, "tiles", name))
    rc, out, err = run.end()
    same(rc, 1, "status; it said %s%s" % (out, err))
    holds(re.search(r"sink\.probabilities\.probs\.csv: differs from .*/quiet/out/sink\.probabilities\.probs\.csv at byte \d+, line 3\n", out), "where: %s" % out)
    kept = re.search(r"^what is left of it: (.*)$", out, re.M)
    same(sorted(os.listdir(kept.group(1))), ["chaos-1", "quiet"], "what is kept")


def an_interrupted_one_leaves_nothing(tmp):
    run = chaos(tmp, graph(tmp), "--seconds", "100", "--every", "0.2")
    wait_for(lambda: "  stopped for" in run.said()[0] or run.p.poll() is not None, "the first stop")
    run.p.send_signal(signal.SIGINT)
    rc, out, err = run.end()
    same(rc, 4, "status; it said %s%s" % (out, err))
    same(os.listdir(tmp + "/runs"), [], "folders")


def what_is_wrong_is_refused(tmp):
    path = write_graph(tmp + "/graph.json", graph(tmp))
    for args, says in [(("--kills", "0"), "--kills 0: want a whole number from 1"), (("--seconds", "-1"), "--seconds -1: want a number from 0.1"),
                       (("--seed", "x"), "--seed x: want a whole number"), (("--set", "nets.rows=1"), "no stage is called nets"),
                       (("--run", tmp), "File exists")]:
        rc, out, err = Run("chaos", path, *args, cwd=tmp).end()
        same([rc, says in err], [2, True], "%s: %s" % (args, err))
    bad = graph(tmp)
    bad["net1"]["options"]["weights"] = [tmp + "/graph.json"]
    rc, out, err = Run("chaos", write_graph(tmp + "/bad.json", bad), cwd=tmp).end()
    same(rc, 2, "a graph that is refused: %s" % err)
    for stage, says in (("feed", "x waits for trainers"), ("record", "no stage keeps a journal")):
        stages = {name: graph(tmp)[name] for name in ("tiles", "decode")}
        rc, out, err = Run("chaos", write_graph(tmp + "/bad.json", dict(stages, x={"stage": stage, "from": "decode"})), cwd=tmp).end()
        same([rc, says in err, os.path.exists(tmp + "/runs")], [2, True, False], "%s: %s" % (stage, err))


if __name__ == "__main__":
    sys.exit(flow.run_cases([results_are_those_of_a_quiet_run, graphs_of_other_kinds_under_fire, a_difference_is_told, an_interrupted_one_leaves_nothing, what_is_wrong_is_refused]))
