"""forward in whole runs: what `auto` comes to and that a resumed run keeps it, memory against the plan, flowrun bench forward."""
import json
import os
import re
import shutil
import sys

import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
sys.path[:0] = [os.path.join(ROOT, "tests/lib"), os.path.join(ROOT, "python")]
import flow
from flow import MODELS, TILES, Run, Skip, chain, flowrun, holds, run_cases, same, slurp, wait_for, write_graph
from flowrun import safetensors

CPUS = sorted(os.sched_getaffinity(0))


def on(cpus):
    """For a child on these processors alone."""
    return lambda: os.sched_setaffinity(0, cpus)


def settled(run):
    s = json.loads(slurp(run + "/config.json"))["stages"]["net"]
    return s["options"]["device"], s["options"]["precision"], s["threads"]


def said(run):
    """What forward says when it has opened, of every process that has."""
    lines = [json.loads(v)["text"] for v in slurp(run + "/log.jsonl").decode().splitlines()]
    return [re.search(r"device (\w+), (\w+), .* (\d+) threads?,", v).groups() for v in lines if "sets of weights" in v or "set of weights" in v]


def begun(tmp, graph, **popen):
    """A whole run, cut back to the first batches that were committed; its results."""
    os.makedirs(tmp + "/out", exist_ok=True)
    flowrun(write_graph(tmp + "/graph.json", graph), "--run", tmp + "/run", "-q", **popen)
    want = slurp(tmp + "/out/probs.csv")
    segment = tmp + "/run/journal/sink/00000000.j"
    data, at = slurp(segment), 64
    for _ in range(2):                                     # a record: 36 bytes, its length at 4, payload, 4 bytes of sum
        at += 36 + int.from_bytes(data[at + 4:at + 8], "little") + 4
    os.truncate(segment, at)
    return want


def auto_is_settled_once(tmp):
    """Threads by the processors there are, precision by the manifest; what holds at the resume is what was settled at the start."""
    model = tmp + "/m.safetensors"
    shutil.copy(MODELS[0], model)
    with open(MODELS[0].replace(".safetensors", ".json")) as f:
        manifest = json.load(f)
    with open(tmp + "/m.json", "w") as f:
        json.dump(manifest, f)
    graph = chain(tmp + "/out", TILES + "/*.jpg", models=[model], net={"device": "auto"})
    want = begun(tmp, graph, preexec_fn=on(CPUS[:1]))
    device = settled(tmp + "/run")[0]
    same(settled(tmp + "/run"), (device, "f32", 1), "on one processor, without a check of bf16")
    holds(device in ("cpu", "ref") or device.startswith("cuda:"), device)
    with open(tmp + "/m.json", "w") as f:
        json.dump(dict(manifest, bf16_ok=True, f16_ok=True), f)
    before = slurp(tmp + "/run/config.json")
    flowrun("--resume", tmp + "/run", "--force", "-q", preexec_fn=on(CPUS))      # another manifest, for which it wants to be forced
    same((slurp(tmp + "/out/probs.csv"), slurp(tmp + "/run/config.json")), (want, before), "the resumed run's results and configuration")
    same(set(said(tmp + "/run")), {(device, "f32", "1")}, "what forward itself says")


def threads_share_the_processors(tmp):
    os.mkdir(tmp + "/out")
    all_of = len(CPUS)
    for instances, threads, want in ((1, None, all_of), (2, None, max(1, all_of // 2)), (1, "auto", all_of), (1, 3, 3)):
        graph = chain(tmp + "/out", TILES + "/sample_0000?.jpg", net={"device": "cpu"})
        graph["net"]["instances"] = instances
        if threads is not None:
            graph["net"]["threads"] = threads
        plan = flowrun("plan", write_graph(tmp + "/graph.json", graph))[1]
        shown = re.search(r"^  net +forward +(\d+) +(\d+) ", plan, re.M).groups()
        if "processors: %d" % all_of not in plan:          # a quota of the control group
            raise Skip("fewer processors than the affinity says")
        same(shown, (str(instances), str(want)), "%d instances, threads %s" % (instances, threads))
    rc, _, err = flowrun("check", write_graph(tmp + "/graph.json", dict(graph, net=dict(graph["net"], threads="all"))), want=None)
    holds(rc == 2 and "threads" in err, "threads: all: %s" % err)


def threads_stay_when_processes_change(tmp):
    """A file that leaves threads to flowrun goes on with those of its run, however many processes and processors there are now."""
    graph = chain(tmp + "/out", TILES + "/*.jpg", net={"device": "cpu"})
    want = begun(tmp, graph)
    graph["net"]["instances"] = 2
    flowrun(write_graph(tmp + "/graph.json", graph), "--resume", tmp + "/run", "-q", preexec_fn=on(CPUS[:1]))
    same((slurp(tmp + "/out/probs.csv"), settled(tmp + "/run")[2]), (want, len(CPUS)), "results and threads")
    shutil.rmtree(tmp + "/run")
    begun(tmp, graph)
    graph["net"]["threads"] = 5
    _, _, err = flowrun(write_graph(tmp + "/graph.json", graph), "--resume", tmp + "/run", want=2)
    holds("stages.net.threads: %d -> 5" % max(1, len(CPUS) // 2) in err, "another number that was asked for: %s" % err)


def wide(tmp):
    """A network whose weights and activations are most of what its process has: resnet18 drawn at random."""
    try:
        import torchvision
    except ImportError:
        raise Skip("no torchvision for this Python") from None
    with open(MODELS[0].replace(".safetensors", ".json")) as f:
        manifest = json.load(f)
    draw = np.random.default_rng(1)
    state = {k: np.float32(draw.uniform(0.01, 0.02, tuple(v.shape))) for k, v in torchvision.models.resnet18(num_classes=17).state_dict().items() if v.ndim > 0}
    safetensors.save(tmp + "/wide.safetensors", state)
    manifest.pop("sha256", None)
    with open(tmp + "/wide.json", "w") as f:
        json.dump(dict(manifest, arch="resnet18"), f)
    return tmp + "/wide.safetensors"


def anonymous(pid):
    return int(re.search(r"RssAnon:\s+(\d+) kB", slurp("/proc/%d/status" % pid).decode()).group(1)) * 1024


def memory_is_what_the_plan_says(tmp):
    """Of a process at work, besides slabs: code that oneDNN makes, tables and heaps are the rest."""
    os.mkdir(tmp + "/out")
    graph = chain(tmp + "/out", TILES + "/sample_000[0-7]?.jpg", batch=16, models=[wide(tmp)], net={"device": "cpu", "rows": 64})
    path = write_graph(tmp + "/graph.json", graph)
    out = flowrun("describe", "forward", "--set", "weights=" + tmp + "/wide.safetensors", "--set", "device=cpu", "--set", "rows=64")[1]
    told = float(re.search(r"memory of one process, besides slabs\n +([\d.]+) MB", out).group(1)) * 1e6
    planned = re.search(r"and ([\d.]+) MB of stages' own", flowrun("plan", path)[1])
    more = float(planned.group(1)) * 1e6 - told            # making the source's list of 80 tiles is in the plan as well; both are rounded
    holds(-1e5 < more < 3e5, "the plan and describe agree: %s, %g" % (planned.group(0), told))
    run = Run(path, "--run", tmp + "/run", "-q")
    try:
        wait_for(lambda: flow.committed(tmp + "/run") > 64 or run.p.poll() is not None, "the first batch")
        holds(run.p.poll() is None, "it ended before it was looked at: %s" % (run.said(),))
        used = anonymous(run.stages()["forward"][0])
    finally:
        run.p.terminate()
        rc, _, err = run.end()
    holds(rc in (0, 4), "the run: %d %s" % (rc, err))
    holds(0.9 * told <= used <= told + 32e6, "told %.1f MB, used %.1f MB" % (told / 1e6, used / 1e6))


def bench_measures(tmp):
    out = json.loads(flowrun("bench", "forward", "--arch", "tilenet", "--size", "64", "--batch", "4", "--device", "cpu", "--seconds", "0.02", "--snapshots", "2",
                             "--layers", "--json")[1])
    same([out[k] for k in ("arch", "device", "precision", "size", "rows", "threads", "streams", "snapshots")], ["tilenet", "cpu", "f32", 64, 4, 1, 1, 2], "settings")
    holds(all(out[k] > 0 for k in ("tiles_s", "gflop_s", "tiles_cpu_s", "gflop_cpu_s", "matmul_gflop_s", "memory", "rss")) and out["device_memory"] == 0, "figures: %s" % out)
    macs, width, side = 0, 3, 64
    for i, w in enumerate((16, 32, 64, 96)):              # by hand: the first convolution has stride 2, pools follow the second and third
        side = side // 2 if i == 0 else side
        macs += side * side * 9 * width * w
        width, side = w, side // 2 if i in (1, 2) else side
    macs += 96 * 17
    same(sum(v["macs"] for v in out["layers"]), 4 * macs, "products of all layers")
    off = out["gflop_s"] / (out["tiles_s"] * 2 * macs * 2e-9)
    holds(abs(off - 1) < 1e-3, "GFLOP/s follow from tiles and snapshots: %g" % off)
    holds(all(v["seconds"] >= 0 for v in out["layers"]) and sum(v["seconds"] for v in out["layers"]) > 0, "times")
    off = out["gflop_cpu_s"] / (out["tiles_cpu_s"] * 2 * 2 * macs * 1e-9)
    holds(abs(off - 1) < 1e-3, "and those of processor time: %g" % off)
    team = json.loads(flowrun("bench", "forward", "--arch", "tilenet", "--size", "64", "--batch", "9", "--device", "cpu", "--seconds", "0.02", "--threads", "2",
                              "--views", "d4", "--json")[1])
    same((team["tiles_cpu_s"], team["rows"]), (0, 9), "processor time is told of one thread alone")
    text = flowrun("bench", "forward", "--model", MODELS[0], "--device", "cpu", "--seconds", "0.02", "--batch", "2", "--layers")[1]
    holds("tilenet, 3 channels at 96 px" in text and "tiles/s" in text and text.count("conv 3x3") == 4, text)


def bench_refuses(tmp):
    for args, want, text in (
        ((), 2, "--model FILE or --arch NAME"), (("--arch", "tilenet", "--model", MODELS[0]), 2, "--model FILE or --arch NAME"),
        (("--arch", "tilnet"), 2, 'did you mean "tilenet"?'), (("--arch", "tilenet", "--batch", "0"), 2, "batch"), (("--arch", "tilenet", "--batch", "x"), 2, "batch"),
        (("--arch", "tilenet", "--size", "16"), 2, "size"), (("--arch", "tilenet", "--precision", "f8"), 2, "precision"), (("--arch",), 2, "--arch wants a value"),
        (("--arch", "tilenet", "--layer"), 2, "did you mean --layers?"), (("--arch", "tilenet", "word"), 2, "word"),
        (("--arch", "tilenet", "--device", "tpu"), 2, "tpu"), (("--arch", "tilenet", "--device", "cpu", "--precision", "f16"), 1, "f16"),
        (("--model", tmp + "/none.safetensors"), 1, "none"), (("--arch", "tilenet", "--streams", "65"), 2, "streams"),
        (("--arch", "tilenet", "--seconds", "nan"), 2, "seconds"), (("--arch", "tilenet", "--batch", "inf"), 2, "batch"),
        (("--model", MODELS[0], "--size", "64"), 2, "--size goes with --arch"), (("--model", MODELS[0], "--channels", "3"), 2, "--channels goes with --arch"),
    ):
        rc, out, err = flowrun("bench", "forward", *args, want=None)
        holds(rc == want and text in err and not out, "%s: %d, it said %s%s" % (args, rc, out, err))
    rc, _, err = flowrun("bench", "backward", want=None)
    holds(rc == 2 and "forward" in err, "another stage: %s" % err)


if __name__ == "__main__":
    sys.exit(run_cases((auto_is_settled_once, threads_share_the_processors, threads_stay_when_processes_change, memory_is_what_the_plan_says, bench_measures,
                        bench_refuses)))
