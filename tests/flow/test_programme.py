"""Programmes: 480 jobs listed and accounted for; 12 networks x 3 folds from tiles to a submission in passes, killed, resumed, and equal to one big run."""
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import MODELS, ROOT, TILES, Run, committed, holds, report, same, slurp   # noqa: E402

sys.path.insert(0, os.path.join(ROOT, "python"))
from flowrun import safetensors                            # noqa: E402

flow.PATIENCE = 280                                        # a programme is many runs, of a hundred processes some of them
FOLDS, NETS, TRAIN, TEST = 3, 12, 18, 12
SECOND = ["ridge_own_lambda10", "extratrees_trees5_calibrate"]
JOINT = ["oof.h5", "test.h5", "submission.csv", "fits/table.json", "last/table.json", "last/blend.safetensors"] + ["fits/%s.safetensors" % n for n in SECOND]


def flowrun(*args, want=0, **popen):
    rc, out, err = Run(*args, **popen).end(flow.PATIENCE)
    holds(want in (None, rc), "flowrun %s: status %d, want %s: %s%s" % (" ".join(args), rc, want, out[-1500:], err[-1500:]))
    return rc, out, err


def weights(folder, models):
    """For each model and fold its own network: the demo network's weights, each shifted by a draw."""
    os.mkdir(folder)
    tensors = safetensors.load(MODELS[0])
    manifest = json.loads(slurp(MODELS[0].replace(".safetensors", ".json")))
    for i, model in enumerate(models):
        for fold in range(FOLDS):
            rng, path = np.random.default_rng([i, fold]), "%s/%s_%d.safetensors" % (folder, model, fold)
            safetensors.save(path, {k: v + (.05 * v.std() * rng.standard_normal(v.shape)).astype(v.dtype) if v.dtype.kind == "f" and v.ndim > 1 else v
                                    for k, v in tensors.items()})
            with open(path.replace(".safetensors", ".json"), "w") as f:
                json.dump(dict(manifest, sha256=hashlib.sha256(slurp(path)).hexdigest()), f)


def jobs(tiles, variables, split):
    """Source to sink for each of the variables; networks with the same views share the augmentation."""
    name = "-".join("{%s}" % v for v in variables)
    return {
        "tiles": {"stage": "source", "options": tiles},
        "decode": {"from": "tiles"},
        "augment": {"from": "decode", "matrix": {"views": ["identity", "flips"]}, "options": {"views": "{views}", "size": 96}},
        "net": {"stage": "forward", "from": "augment-{model.views}", "matrix": variables, "options": {"weights": "w/{model}_{fold}.safetensors", "rows": "{model.rows}"}},
        "merge": {"stage": "tta_merge", "from": "net-" + name, "matrix": variables},
        "sink": {"from": "merge-" + name, "matrix": variables, "options": {
            "probabilities": "p/{model}/fold_{fold}/%s_{model.views}.h5" % split,
            "about": {"model": "{model}", "fold": "{fold}", "split": split, "tta": "{model.views}"}}},
    }


def read(files, split, **more):
    return {"stage": "predictions", "options": dict({"files": files, "split": split, "folds": "folds.csv"}, **more)}


def second():
    """The second level over the files of all models: their mean scored; two kinds fitted, blended, and applied to the test tiles."""
    known = {"labels": "train.csv"}
    fit = {"matrix": [{"method": "ridge", "features": "own", "lambda": 10}, {"method": "extratrees", "trees": 5, "calibrate": True}], "out": "fits/table.json"}
    return {
        "oof": {"stages": {"tiles": read(["p/*"], "val", **known), "stack": {"from": "tiles"}, "decode_f2": {"from": "stack"},
                           "sink": {"from": "decode_f2", "options": {"truth": "train.csv", "probabilities": "oof.h5"}}}},
        "fit": {"stages": {"tiles": read(["p/*"], "val", **known), "fit": {"stage": "stack_fit", "from": "tiles", "threads": 2, "options": fit}}},
        "blend": {"stages": {"tiles": read(["fits/*.h5"], "val", **known), "fit": {"stage": "stack_fit", "from": "tiles", "options": {"method": "blend", "out": "last/table.json"}}}},
        "submission": {"stages": {"tiles": read(["p/*"], "test"),
                                  "level": {"stage": "stack", "from": "tiles", "matrix": ["second"], "options": {"model": "fits/{second}.safetensors"}},
                                  "blend": {"stage": "stack", "from": "level", "options": {"model": "last/blend.safetensors"}}, "decode_f2": {"from": "blend"},
                                  "sink": {"from": "decode_f2", "options": {"submission": "submission.csv", "probabilities": "test.h5"}}}},
    }


def programme(place, memory, nets=NETS):
    """In a folder of its own, so that two of them don't share files: tiles, folds, weights, programme.json."""
    os.mkdir(place)
    models = {"m%02d" % i: {"views": "flips" if i % 3 == 0 else "identity", "rows": 8} for i in range(nets)}
    rows = slurp(flow.LABELS).decode().splitlines()
    with open(place + "/train.csv", "w") as f:
        f.write("\n".join(rows[:1 + TRAIN]) + "\n")
    flowrun("folds", place + "/train.csv", "--folds", str(FOLDS), "--out", place + "/folds.csv")
    for name, few in (("train", rows[1:1 + TRAIN]), ("test", rows[1 + TRAIN:1 + TRAIN + TEST])):
        with open("%s/%s.list" % (place, name), "w") as f:
            f.write("".join("%s/%s.jpg\n" % (TILES, r.split(",")[0]) for r in few))
    shared = os.path.dirname(place) + "/w"
    if not os.path.exists(shared):
        weights(shared, models)
    os.symlink(shared, place + "/w")
    train = {"files": "@train.list", "batch": 4, "folds": "folds.csv", "fold": "{fold}", "split": "val"}
    steps = {
        "val": {"each": ["fold"], "stages": jobs(train, ["model"], "val")},
        "test": {"stages": jobs({"files": "@test.list", "batch": 4}, ["model", "fold"], "test")},
        **second(),
    }
    top = {"name": "small", "memory": memory, "matrix": {"model": models, "fold": list(range(FOLDS)), "second": SECOND}}
    with open(place + "/programme.json", "w") as f:
        json.dump(dict(top, programme=steps), f, indent=1)
    with open(place + "/graph.json", "w") as f:              # the step test as an ordinary graph
        json.dump(dict(top, stages=steps["test"]["stages"]), f)
    return place


def files(place, joint=True):
    """What the programme wrote: 12 x 3 files of each split, the joined ones, the second level, the submission."""
    names = sorted(glob.glob(place + "/p/*/fold_*/*.h5")) + [place + "/" + n for n in JOINT if joint]
    return {os.path.relpath(n, place): slurp(n) for n in names}


def named(place, names):
    """Each file of predictions says which weights made it, though nobody told it."""
    try:
        import h5py
    except ImportError as why:
        raise flow.Skip(str(why))
    for name in names:
        _, model, fold, _ = name.split("/")
        with h5py.File(place + "/" + name, "r") as f:
            got = [x.decode() for x in f.attrs["snapshots"]]
        same(got, [hashlib.sha256(slurp("%s/w/%s_%s.safetensors" % (place, model, fold[5:]))).hexdigest()], "snapshots of " + name)


def passes(place):
    return json.loads(slurp(place + "/run/passes.json"))


def twelve_networks_of_three_folds_from_tiles_to_a_submission(tmp):
    small, big = programme(tmp + "/small", "30MB"), programme(tmp + "/big", "4GB")
    flowrun("programme.json", "--run", "run", "-q", cwd=big)
    want = files(big)
    same(len(want), 2 * NETS * FOLDS + len(JOINT), "files")
    same([p["pass"] for p in passes(big)], ["val-0", "val-1", "val-2", "test", "oof", "fit", "blend", "submission"], "one pass for each step")
    same(sum(p["tiles"] for p in passes(big) if p["step"].startswith("val")), TRAIN, "each fold's own tiles")

    for name in want:                                       # an ordinary run makes no folders
        os.makedirs(os.path.dirname(os.path.join(small, name)), exist_ok=True)
    flowrun("graph.json", "--set", "memory=4GB", "--run", "plain", "-q", cwd=small)
    plain = {name: data for name, data in files(small, False).items()}
    named(big, [name for name in want if name not in JOINT])
    same(len(plain), NETS * FOLDS, "files of the ordinary run")
    for name, data in plain.items():
        same(data == want[name], True, "%s as one ordinary run makes it" % name)
        os.remove(os.path.join(small, name))

    under_fire(small)
    cut = passes(small)
    holds(len(cut) > 8, "the passes are cut to fit: %r" % [p["pass"] for p in cut])
    same(sum(len(p["jobs"]) for p in cut), 2 * NETS * FOLDS + 4, "jobs")
    got = files(small)
    same(sorted(got), sorted(want), "the same files")
    same([n for n in want if got[n] != want[n]], [], "files that differ from those of one pass a step")
    same([report(small + "/run/" + p["pass"])["exit"] for p in cut], [0] * len(cut), "each pass is a run with its report")
    _, out, _ = flowrun("plan", "run", cwd=small)
    holds("total: %d jobs in %d passes, %d of them done" % (2 * NETS * FOLDS + 4, len(cut), len(cut)) in out, out)
    _, _, err = flowrun("programme.json", "--run", "run", "-q", cwd=small, want=2)
    holds("holds a programme already" in err, err)
    _, _, err = flowrun("--resume", "run", "--set", "memory=1GB", cwd=small, want=2)
    holds("goes on as it was begun" in err, err)


def a_list_of_passes_that_does_not_fit_is_refused(tmp):
    place = programme(tmp + "/p", "60MB", 2)
    run = Run("programme.json", "--run", "run", "-q", cwd=place)
    flow.wait_for(lambda: run.p.poll() is not None or glob.glob(place + "/run/val-0/report.json"), "the first pass")
    run.kill()
    good = passes(place)

    def wrong(want, text):
        with open(place + "/run/passes.json", "w") as f:
            f.write(text)
        _, _, err = flowrun("--resume", "run", "-q", cwd=place, want=None)
        holds(want in err, "%s: %s" % (want, err))

    wrong("not a list of passes", "{}")
    wrong("not a list of passes", "[")
    wrong("not a list of passes", json.dumps([dict(good[0], step="other")]))
    wrong("not a list of passes", json.dumps([dict(good[0], jobs=[])]))
    wrong("not a list of passes", json.dumps([dict(good[0], exit=1)]))
    wrong("not a list of passes", json.dumps([dict(good[0], **{"pass": ".."})]))
    wrong("no stage is called sink-none", json.dumps([dict(p, jobs=["sink-none"], exit=None, **{"pass": "new"}) for p in good[:1]]))
    with open(place + "/run/passes.json", "w") as f:
        json.dump(good, f)
    flowrun("--resume", "run", "-q", cwd=place)


def under_fire(place):
    """Interrupted after a pass, resumed, killed within a pass, resumed to the end."""
    run = Run("programme.json", "--run", "run", "-q", cwd=place)
    flow.wait_for(lambda: run.p.poll() is not None or glob.glob(place + "/run/val-0*/report.json"), "the first pass")
    run.p.send_signal(signal.SIGINT)
    rc, _, err = run.end(flow.PATIENCE)
    same(rc, 4, "status: %s" % err)
    holds("to go on: flowrun --resume run" in err, err)

    run = Run("--resume", "run", "-q", cwd=place)
    flow.wait_for(lambda: run.p.poll() is not None or within(place, "test.1"), "a batch of the first test pass")
    run.kill()
    done = [p["pass"] for p in passes(place) if p["exit"] is not None]
    holds(done and "test.1" not in done, "some passes are done, the one at work is not: %r" % done)
    stamps = {p: os.stat(place + "/run/" + p + "/report.json").st_mtime_ns for p in done}
    _, out, _ = flowrun("plan", place + "/run", cwd="/")   # from any folder: names are those of the one it was started in
    holds(re.search(r"total: %d jobs in \d+ passes, %d of them done" % (2 * NETS * FOLDS, len(done)), out), out)

    flowrun("--resume", place + "/run", "-q", cwd="/")
    holds(report(place + "/run/test.1")["resumed_batches"] >= 1, "within the pass it went on")
    same({p: os.stat(place + "/run/" + p + "/report.json").st_mtime_ns for p in done}, stamps, "what was done was not done again")


def within(place, name):
    """All sinks of the pass hold a batch, so that it counts as done."""
    sinks = glob.glob("%s/run/%s/journal/*" % (place, name))
    return len(sinks) > 0 and all(committed(place + "/run/" + name, os.path.basename(s)) > 200 for s in sinks)


def small(tmp, steps, name="small.json", **top):
    """A programme of few tiles; each step is the default chain, changed by a function, into files of its own."""
    stages, few = {}, TILES + "/" + sorted(os.listdir(TILES))[0][:-5] + "*.jpg"
    for step, change in steps.items():
        os.makedirs("%s/%s" % (tmp, step), exist_ok=True)
        stages[step] = {"stages": flow.chain("%s/%s" % (tmp, step), few, batch=4)}
        change(stages[step]["stages"])
    with open(tmp + "/" + name, "w") as f:
        json.dump(dict({"memory": "100MB", "programme": stages}, **top), f)
    return name


def beginnings(tmp):
    """Any name of a step will do; a folder with other runs will not; stages go to the hosts that the file names."""
    def far(stages):
        stages["net"]["place"] = "far"

    file = small(tmp, {"lock": far}, hosts={"far": ["h1"]}, cluster={"launcher": "exec"})
    flowrun(file, "--run", "run", "-q", cwd=tmp)
    same([p["exit"] for p in passes(tmp)], [0], "passes")
    at = report(tmp + "/run/lock")["stages"]
    holds("h1" in json.dumps(at), "net was on its host: %r" % at)

    os.remove(tmp + "/run/programme.json")                 # what is left is no programme, but would pass for passes that were begun
    _, _, err = flowrun(file, "--run", "run", "-q", cwd=tmp, want=2)
    holds("there is a run already (run/" in err, err)


# The room of a programme's folder and of its second step's files, first too little, then enough; status and messages of each.
FULL = """mkdir -p run b && mount -t tmpfs -o size=%(run)s tiny run && mount -t tmpfs -o size=%(out)s tiny b || exit 77
'%(flowrun)s' small.json --run run -q; echo "first $?"
mount -o remount,size=10m tiny run; mount -o remount,size=10m tiny b
'%(flowrun)s' --resume run -q; echo "second $?"; cp b/* seen
"""


def a_full_disk_stops_it_and_room_lets_it_go_on(tmp):
    """At the beginning of a pass, in its journal, in the list of passes, in the predictions: what is full is told, and nothing is lost."""
    small(tmp, {"a": lambda s: None, "b": lambda s: s["sink"]["options"].update(probabilities=tmp + "/b/probs.h5")})
    flowrun("small.json", "--run", "quiet", "-q", cwd=tmp)
    want = {n: slurp(tmp + "/b/" + n) for n in os.listdir(tmp + "/b")}
    os.mkdir(tmp + "/seen")
    cases = [("12k", "10m", "run/a/", "a"), ("60k", "10m", "run/passes.json", "a"), ("10m", "4k", "probs.h5", "b")]
    for run, out, what, step in cases[0 if os.environ.get("FLOWRUN_LONG") else 1:]:
        shutil.rmtree(tmp + "/run", ignore_errors=True)
        r = subprocess.run(["unshare", "--mount", "sh", "-c", FULL % {"run": run, "out": out, "flowrun": flow.FLOWRUN}], cwd=tmp, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        if "first" not in r.stdout:
            raise flow.Skip("no small file system can be mounted here")
        holds(re.search(re.escape(what) + ".*No space left on device", r.stdout), "%s: %s" % (what, r.stdout))
        holds("programme: stopped at step %s; to go on: flowrun --resume run" % step in r.stdout, r.stdout)
        holds("first 1\n" in r.stdout and "second 0\n" in r.stdout, "%s: %s" % (what, r.stdout))
        same({n: slurp(tmp + "/seen/" + n) for n in os.listdir(tmp + "/seen")}, want, "files")


def other_weights_go_on_by_force(tmp):
    """A pass that was at work when its weights were changed: what is committed is of the old ones, which has to be said."""
    def put(model):
        for ext in (".safetensors", ".json"):
            with open(tmp + "/net" + ext, "wb") as f:
                f.write(slurp(model.replace(".safetensors", ext)))

    file = small(tmp, {"a": lambda s: s["net"]["options"].update(weights=[tmp + "/net.safetensors"])})
    put(MODELS[0])
    flowrun(file, "--run", "run", "-q", cwd=tmp)
    undone = [dict(passes(tmp)[0], exit=None)]
    with open(tmp + "/run/passes.json", "w") as f:
        json.dump(undone, f)
    put(MODELS[1])
    _, _, err = flowrun("--resume", "run", "-q", cwd=tmp, want=2)
    holds("--force mixes them" in err, err)
    flowrun("--resume", "run", "--force", "-q", cwd=tmp)
    same([p["exit"] for p in passes(tmp)], [0], "passes")


def all_480(tmp):
    """samples/planet480.yaml: 7 members, 48 networks, 10 folds. What is listed adds up to what it asks for."""
    text = slurp(ROOT + "/samples/planet480.yaml").decode()
    views = {"albu": 8, "alno": 8, "n01z3": 7, "ternaus": 40, "nizhib": 48, "kostia": 8, "romul": 40}
    models = dict(re.findall(r"^    (\w+): {member: (\w+),", text, re.M))
    same([len(models), sorted(set(models.values()))], [48, sorted(views)], "models and members")
    manifest = json.loads(slurp(os.path.splitext(MODELS[0])[0] + ".json"))
    manifest["input"]["size"] = 224
    with open(tmp + "/net.json", "w") as f:
        json.dump(manifest, f)
    for model in models:                                    # one network under 480 names
        os.makedirs("%s/weights/%s" % (tmp, model))
        for fold in range(10):
            for ext, of in ((".safetensors", MODELS[0]), (".json", tmp + "/net.json")):
                os.symlink(of, "%s/weights/%s/fold_%d%s" % (tmp, model, fold, ext))
    rows = slurp(flow.LABELS).decode().splitlines()
    for name, few in (("train", rows[1:41]), ("test", rows[41:61])):
        os.mkdir(tmp + "/" + name)
        for r in few:
            os.symlink("%s/%s.jpg" % (TILES, r.split(",")[0]), "%s/%s/%s.jpg" % (tmp, name, r.split(",")[0]))
    with open(tmp + "/train.csv", "w") as f:
        f.write("\n".join(rows[:41]) + "\n")
    flowrun("folds", "train.csv", "--folds", "10", "--out", "folds.csv", cwd=tmp)

    _, out, _ = flowrun("plan", ROOT + "/samples/planet480.yaml", "--set", "memory=900MB", cwd=tmp)
    lines = out.splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("    sink-")]
    same([len(listed), len(set(listed))], [960, 480 + 48], "each job of both splits is listed once: val's are named by model, in ten steps")
    total = re.search(r"^total: 960 jobs in (\d+) passes, 0 of them done; ([0-9.]+) MB of weights, (\d+) rows through networks$", out, re.M)
    holds(total is not None, "the sum: %s" % lines[-2:])
    same(int(total.group(3)), sum(views[m] for m in models.values()) * (40 + 20 * 10), "tiles x views, each validation tile by one fold's networks, each test tile by all")
    same(total.group(2), "%.1f" % (960 * os.path.getsize(MODELS[0]) / 1e6), "weights")
    holds(int(total.group(1)) > 10 + 480 / 63, "it is the memory that cuts")
    holds("and 4 steps that are cut when what they read is there" in out, lines[-1])
    for line in lines:                                      # each pass is within the memory, by what the same table says
        if re.match(r"  (val|test)\S* ", line):
            own, batch = (float(a) * {"kB": 1e3, "MB": 1e6, "GB": 1e9}[u] for a, u in re.findall(r"([0-9.]+) (kB|MB|GB)\b", line)[1:3])
            holds(own + batch * min(4, 2 if line.startswith("  test") else 1) <= 900.2e6, line)


def complaints(tmp):
    place = programme(tmp + "/p", "60MB", 2)
    good = json.loads(slurp(place + "/programme.json"))

    def wrong(want, *args, **changed):
        with open(place + "/wrong.json", "w") as f:
            json.dump(dict(good, **changed), f, indent=1)
        _, _, err = flowrun("check", "wrong.json", *args, cwd=place, want=2)
        holds(want in err, "%s: %s" % (want, err))
        same(len(err.splitlines()), len(set(err.splitlines())), "each line once")

    def step(name, **changed):
        return {"programme": dict(good["programme"], **{name: dict(good["programme"][name], **changed)})}

    wrong("unknown key memry; did you mean memory?", memry="1GB")
    wrong("9th is no name for a step", programme={"9th": good["programme"]["test"]})
    wrong("stages does not go with a programme", stages={})
    wrong("val: unknown key eech; did you mean each?", **step("val", eech=["fold"]))
    wrong("no stages: want a map of stages", **step("test", stages={}))
    wrong("val: matrix: text \"flod\" is no variable of the file's matrix", **step("val", each=["flod"]))
    wrong("no step has a stage nett", "--set", "nett.rows=3")
    wrong("net: rows is 9000", "--set", "net.rows=9000")
    stages = json.loads(json.dumps(good["programme"]["test"]["stages"]))
    stages["net"]["options"]["rows"] = "{model.row}"
    wrong("net: no attribute is called row; did you mean rows?", **step("test", stages=stages))
    stages = json.loads(json.dumps(good["programme"]["oof"]["stages"]))
    stages["stack"]["options"] = {"method": "meen"}            # of a step that reads what is not there yet
    wrong("stack: method is text \"meen\"", **step("oof", stages=stages))
    _, _, err = flowrun("check", "programme.json", "--set", "memory=1MB", cwd=place, want=2)
    holds("memory is 1.0MB" in err and "one batch of 4 tiles needs" in err, err)
    _, _, err = flowrun("chaos", "programme.json", "--run", "no", cwd=place, want=2)
    holds("a programme is several graphs" in err, err)
    holds("memory is 1.0MB" in flowrun("programme.json", "--set", "memory=1MB", "--run", "no", cwd=place, want=2)[2], "a run checks first")
    holds(not os.path.exists(place + "/no"), "no folder was made")
    _, out, _ = flowrun("check", "programme.json", cwd=place)
    holds("good: 8 steps, %d jobs in" % (2 * 2 * FOLDS) in out and "4 steps read what earlier ones write" in out, out)


if __name__ == "__main__":
    sys.exit(flow.run_cases([twelve_networks_of_three_folds_from_tiles_to_a_submission, a_list_of_passes_that_does_not_fit_is_refused, beginnings, a_full_disk_stops_it_and_room_lets_it_go_on, other_weights_go_on_by_force, all_480, complaints]))
