"""Stages in Python: what they give, what `flowrun check` sees of them, and that they keep every promise of a stage in C."""
import csv
import fractions
import json
import math
import os
import shutil
import signal
import sys
from typing import Annotated, Any

import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
sys.path[:0] = [os.path.join(ROOT, "tests/lib"), os.path.join(ROOT, "python")]
import flow
from flow import BUILD, FLOWRUN, TILES, Run, chain, flowrun as run_flowrun, holds, report, same, slurp, wait_for, write_graph

# The stages say `env python3`: this Python, and this tree's package.
os.environ.update(FLOWRUN=FLOWRUN, PYTHONPATH=os.path.join(ROOT, "python"), PYTHONDONTWRITEBYTECODE="1",
                  PATH=os.path.dirname(sys.executable) + ":" + os.environ["PATH"])
import flowrun
from flowrun import Feed, Option, Tensor

HERE = os.path.join(ROOT, "tests/python/stages")
EXAMPLES = os.path.join(ROOT, "python/examples/stages")
N, B = 24, 4
FILES = [os.path.join(TILES, "sample_%05d.jpg" % i) for i in range(N)]
RESULTS = ("predictions.csv", "probs.csv")
IDS = [os.path.basename(f)[:-4] for f in FILES]


def fed(stage, options, at=HERE, files=FILES, instances=1):
    """The rows that a trainer gets behind a stage: {id: (row, good, batch)}, and the batch's names of tensors."""
    stages = {"tiles": {"stage": "source", "options": {"files": files, "batch": B}}, "decode": {"from": "tiles"},
              stage: {"from": "decode", "options": options, "instances": instances}, "feed": {"from": stage}}
    rows = {}
    with Feed({"memory": "60MB", "stage_path": [at], "stages": stages}) as feed:
        for b in feed:
            for i, tile in enumerate(b.ids):
                rows[tile] = {name: np.array(b[name][i]) for name in b if name != "path"}, bool(b.good[i])
            del b
    return rows


def decoded():
    with Feed({"memory": "60MB", "stages": {"tiles": {"stage": "source", "options": {"files": FILES, "batch": B}}, "decode": {"from": "tiles"}, "feed": {"from": "decode"}}}) as f:
        rows = {}
        for b in f:
            rows.update((tile, np.array(b["pixels"][i])) for i, tile in enumerate(b.ids))
            del b
        return rows


def graph(tmp, out, options, name="graph", instances=2, batch=B, **top):
    os.makedirs(out, exist_ok=True)
    stages = chain(out, FILES, batch=batch)
    stages["trip"] = {"from": "decode", "instances": instances, "options": options}
    stages["augment"]["from"] = "trip"
    return write_graph(f"{tmp}/{name}.json", stages, stage_path=[HERE], **top)


_quiet = {}


def quiet(tmp):
    """Results of an undisturbed run, the measure for all others."""
    if not _quiet:
        run_flowrun(graph(tmp, tmp + "/quiet", {}, "quiet"), "--run", tmp + "/quiet-run", "-q")
        _quiet.update((name, slurp(f"{tmp}/quiet/{name}").splitlines()) for name in RESULTS)


def compare(tmp, bad=()):
    quiet(tmp)
    for name in RESULTS:
        same(slurp(f"{tmp}/out/{name}").splitlines(), [line for line in _quiet[name] if line.split(b",")[0].decode() not in bad], name)
    r = report(tmp + "/run")
    same([r["tiles"], r["predicted"], r["rejected"]], [N, N - len(bad), len(bad)], "in = predicted + rejected")


def rejects(tmp):
    with open(tmp + "/run/rejects.csv", newline="") as f:
        return {row["id"]: row["reason"] for row in csv.DictReader(f)}


# ---- what it gives ----

def its_bytes_come_through_the_graph(tmp):
    got, want = fed("trip", {}), decoded()
    same(sorted(got), sorted(want), "tiles")
    for tile, (row, good) in got.items():
        holds(good, tile)
        same(row["pixels"].tobytes(), (255 - want[tile].astype(int)).astype(np.uint8).tobytes(), f"pixels of {tile}")
        same([float(v) for v in row["mean"]], [int(want[tile][:, :, c].astype(np.int64).sum()) / want[tile][:, :, c].size for c in range(3)], f"mean of {tile}")


def the_example_does_what_it_says(tmp):
    got, want = fed("dehaze", {"percentile": 10}, EXAMPLES, FILES[:9]), decoded()
    for tile in IDS[:9]:
        for c in range(3):
            band = want[tile][:, :, c].ravel().tolist()
            dark = sorted(band)[len(band) * 10 // 100 - (len(band) * 10 % 100 == 0)]
            table = {v: math.floor(fractions.Fraction(255 * max(v - dark, 0), 255 - dark) + fractions.Fraction(1, 2)) for v in set(band)}
            same(got[tile][0]["pixels"][:, :, c].ravel().tolist(), [table[v] for v in band], f"band {c} of {tile}")


def a_white_tile_is_rejected_by_the_example(tmp):
    from PIL import Image
    Image.new("RGB", (256, 256), "white").save(tmp + "/white.png")
    Image.open(tmp + "/white.png").save(tmp + "/white.jpg", quality=100)
    got = fed("dehaze", {}, EXAMPLES, FILES[:3] + [tmp + "/white.jpg"])
    same({tile: good for tile, (_, good) in got.items()}, {**{tile: True for tile in IDS[:3]}, "white": False}, "good tiles")
    holds(b"dehaze: E_INPUT: white: a band is white all over" in bytes(got["white"][0]["reason"]), bytes(got["white"][0]["reason"]))


def a_declared_function_is_still_a_function(tmp):
    @flowrun.stage(gives={"out": Tensor("f32", "B")})
    def half(prob: Annotated[Any, Tensor("f32", "B,L")], *, power: float = 2.0) -> Any:
        """Halves."""
        return prob.sum(axis=1) / np.float32(power)
    same(half(np.ones((2, 4), np.float32), power=4.0).tolist(), [1.0, 1.0], "called")


# ---- a full citizen ----

def check(tmp, options=None, stages=None, at=HERE, want=2):
    graph_ = {"tiles": {"stage": "source", "options": {"files": FILES, "batch": B}}, "decode": {"from": "tiles"},
              "trip": {"from": "decode", "options": options or {}}, "feed": {"from": "trip"}}
    graph_.update(stages or {})
    return run_flowrun("check", write_graph(tmp + "/check.json", graph_, stage_path=[at]), want=want)[2]


def flowrun_check_sees_it_as_it_sees_others(tmp):
    check(tmp, want=0)
    for options, said in (({"hwo": "raise"}, "how"), ({"how": "sing"}, "raise"), ({"on_bad_tile": "never"}, "skip")):
        err = check(tmp, options)
        holds("check.json:" in err and said in err, f"{options}: {err}")
    err = check(tmp, stages={"decode": {"from": "tiles", "options": {"mode": "rgbn"}}})
    holds("pixels" in err and "u16" in err and "u8" in err, f"16-bit tiles into 8: {err}")
    err = check(tmp, stages={"trip": {"from": "tiles"}})
    holds("pixels" in err, f"no pixels: {err}")
    err = check(tmp, stages={"net": {"stage": "forward", "from": "trip", "options": {"weights": flow.MODELS[:1]}}, "feed": {"from": "net"}})
    holds("net" in err, f"pixels that no augment has seen: {err}")


def describe_and_help_speak_of_it(tmp):
    import subprocess
    said = json.loads(subprocess.run([EXAMPLES + "/dehaze", "--describe", "--options", '{"percentile": 70}'], check=True, capture_output=True).stdout)
    same([said["name"], said["counters"], said["error"]["code"]], ["dehaze", ["dehazed"], "E_CONFIG"], "describe")
    holds("percentile" in said["error"]["text"], said["error"])
    same({o["name"]: (o["type"], o["default"]) for o in said["options"]}, {"percentile": ("float", "1.0"), "on_bad_tile": ("choice", "skip")}, "options")
    help_ = subprocess.run([EXAMPLES + "/dehaze", "--help"], check=True, capture_output=True, text=True).stdout
    holds("percentile" in help_ and "Stretches each band" in help_, help_)


def a_stage_that_cannot_be_read_is_a_complaint(tmp):
    os.mkdir(tmp + "/stages")
    with open(tmp + "/stages/trip", "w") as f:
        f.write("#!/usr/bin/env python3\nimport no_such_module\n")
    os.chmod(tmp + "/stages/trip", 0o755)
    err = check(tmp, at=tmp + "/stages")
    holds("check.json:" in err and "No module named 'no_such_module'" in err, err)


def declarations_that_cannot_be_are_refused(tmp):
    def refused(text, make):
        try:
            make()
        except TypeError as error:
            holds(text in str(error), f"{text}: {error}")
        else:
            raise AssertionError(f"{text}: taken")

    def declare(gives, function):
        return lambda: flowrun.stage(gives=gives)(function)
    pixels = Annotated[Any, Tensor("u8", "B,H,W,C")]
    one = {"out": Tensor("f32", "B")}

    def plain(a: pixels):
        """Does."""
    def silent(a: pixels): pass
    def untyped(a):
        """Does."""
    def many(*a: pixels):
        """Does."""
    def alien(a: pixels, *, b: complex = 1j):
        """Does."""
    def half(a: pixels, *, b: Annotated[float, Option(min=1)] = 1.0):
        """Does."""
    def odd(a: Annotated[Any, Tensor("u7", "B")]):
        """Does."""
    def nothing(*, b: int = 1):
        """Does."""
    for text, gives, function in (
            ("docstring", one, silent), ("input a", one, untyped), ("parameter a", one, many), ("option b", one, alien), ("go together", one, half), ("u7", one, odd),
            ("an input and an output", one, nothing), ("an input and an output", {}, plain), ("begin with B", {"out": Tensor("f32", "H")}, plain),
            ("dimension K", {"out": Tensor("f32", "B,K")}, plain), ("want one type", {"out": Tensor("f32|f64", "B")}, plain), ('shape "B,,"', {"out": Tensor("f32", "B,,")}, plain)):
        refused(text, declare(gives, function))
    refused("not declared", lambda: flowrun.main(plain, []))


# ---- what goes wrong ----

def an_exception_rejects_its_tile_alone(tmp):
    quiet(tmp)
    bad = [IDS[5], IDS[6], IDS[20]]
    run_flowrun(graph(tmp, tmp + "/out", {"tiles": " ".join(bad)}), "--run", tmp + "/run", "-q", want=3)
    compare(tmp, bad)
    same(sorted(rejects(tmp)), bad, "rejects")
    for tile, reason in rejects(tmp).items():
        holds(reason.startswith(f"E_INPUT: {tile}: ValueError: of {tile} in a second line (line "), reason)
    same(report(tmp + "/run")["restarts"], 0, "nobody died")


def a_tile_that_is_refused_keeps_its_code(tmp):
    rows = fed("trip", {"tiles": IDS[3], "how": "nan"})
    same([tile for tile, (_, good) in rows.items() if not good], [IDS[3]], "rejected")
    row = rows[IDS[3]][0]
    same([int(row["status"]), bytes(row["reason"]).rstrip(b"\0")], [-4, b"trip: E_NUM: %s: it is not a number" % IDS[3].encode()], "its mark")
    holds(not row["pixels"].any(), "its pixels are zeros")


def on_bad_tile_fail_ends_the_run(tmp):
    _, _, err = run_flowrun(graph(tmp, tmp + "/out", {"tiles": IDS[9], "on_bad_tile": "fail"}), "--run", tmp + "/run", "-q", want=1)
    holds("E_INPUT" in err and f"{IDS[9]}: ValueError: of {IDS[9]}" in err, err)


def a_function_that_breaks_its_word_ends_the_run(tmp):
    for how, said in (("type", "output mean is float32 [4, 3], want float64 [4, 3]"), ("shape", "output pixels is uint8 [4, 255, 256, 3], want uint8 [4, 256, 256, 3]"),
                      ("name", "returned ['pixels'], want pixels and mean")):
        _, _, err = run_flowrun(graph(tmp, tmp + "/out", {"tiles": IDS[9], "how": how}), "--run", f"{tmp}/{how}", "-q", want=1)
        holds("E_BUG" in err and said in err, f"{how}: {err}")
    _, _, err = run_flowrun(graph(tmp, tmp + "/out", {"tiles": IDS[9], "how": "memory"}), "--run", tmp + "/memory", "-q", want=1)
    holds("E_NOMEM" in err and f"no room for {IDS[9]}" in err, err)


def inputs_cannot_be_written(tmp):
    rows = fed("trip", {"tiles": IDS[3], "how": "write"})
    same([tile for tile, (_, good) in rows.items() if not good], [IDS[3]], "rejected")
    holds(b"read-only" in bytes(rows[IDS[3]][0]["reason"]), "why")


def a_tile_that_kills_goes_to_quarantine(tmp):
    for how, cause in (("segv", "signal 11"), ("exit", "exit status 1")):
        for name in ("out", "run"):
            shutil.rmtree(f"{tmp}/{name}", ignore_errors=True)
        run_flowrun(graph(tmp, tmp + "/out", {"tiles": IDS[21], "how": how}), "--run", tmp + "/run", "-q", want=3)
        compare(tmp, [IDS[21]])
        holds("E_POISON" in rejects(tmp)[IDS[21]] and cause in rejects(tmp)[IDS[21]], rejects(tmp))


def a_tile_that_hangs_goes_to_quarantine(tmp):
    flow.takes_long()
    run_flowrun(graph(tmp, tmp + "/out", {"tiles": IDS[21], "how": "hang"}, batch=2, stall_timeout=2), "--run", tmp + "/run", "-q", want=3)
    compare(tmp, [IDS[21]])


# ---- delivery ----

def mine(run):
    """Processes of the stage, of a run at work."""
    found = []
    try:
        for pid in slurp("/proc/{0}/task/{0}/children".format(run.p.pid)).split():
            if b"\0FLOWRUN_STAGE=trip." in b"\0" + slurp(f"/proc/{int(pid)}/environ"):
                found.append(int(pid))
    except OSError:
        pass
    return found


def killed_it_is_started_again_and_every_tile_comes_once(tmp):
    run = Run(graph(tmp, tmp + "/out", {}, memory="40MB"), "--run", tmp + "/run", "-q")
    deaths = 0
    while deaths < 4 and run.p.poll() is None:
        before = flow.committed(tmp + "/run") if deaths else 0
        wait_for(lambda: run.p.poll() is not None or (mine(run) and (flow.committed(tmp + "/run") > before or not deaths)), "a batch")
        for pid in mine(run)[:1]:
            os.kill(pid, signal.SIGKILL)
            deaths += 1
    rc, _, err = run.end()
    same(rc, 0, err)
    holds(deaths > 0 and report(tmp + "/run")["restarts"] > 0, f"{deaths} kills, {report(tmp + '/run')['restarts']} restarts")
    compare(tmp)


def its_supervisors_death_ends_it_and_the_run_resumes(tmp):
    run = Run(graph(tmp, tmp + "/out", {}, memory="40MB"), "--run", tmp + "/run", "-q")
    wait_for(lambda: run.p.poll() is not None or flow.committed(tmp + "/run") > 64, "a batch")
    os.kill(run.p.pid, signal.SIGKILL)
    run.p.wait()
    same(flow.orphans(10), 0, "stages that outlived their supervisor")
    run_flowrun("--resume", tmp + "/run", "-q")
    compare(tmp)


def instances_change_nothing(tmp):
    run_flowrun(graph(tmp, tmp + "/out", {}, instances=5), "--run", tmp + "/run", "-q")
    compare(tmp)


if __name__ == "__main__":
    if "-" in os.path.basename(BUILD):          # a library under sanitizers needs a Python under sanitizers
        print("0 passed, 0 failed, 1 skipped")
        sys.exit(0)
    sys.exit(flow.run_cases([
        its_bytes_come_through_the_graph, the_example_does_what_it_says, a_white_tile_is_rejected_by_the_example, a_declared_function_is_still_a_function,
        flowrun_check_sees_it_as_it_sees_others, describe_and_help_speak_of_it, a_stage_that_cannot_be_read_is_a_complaint, declarations_that_cannot_be_are_refused,
        an_exception_rejects_its_tile_alone, a_tile_that_is_refused_keeps_its_code, on_bad_tile_fail_ends_the_run, a_function_that_breaks_its_word_ends_the_run,
        inputs_cannot_be_written, a_tile_that_kills_goes_to_quarantine, a_tile_that_hangs_goes_to_quarantine,
        killed_it_is_started_again_and_every_tile_comes_once, its_supervisors_death_ends_it_and_the_run_resumes, instances_change_nothing,
    ]))
