"""Whole runs on the sample tiles: results that depend on nothing but the tile, interruptions, deaths, resumes."""
import csv
import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import flow
from flow import BUILD, FLOWRUN, LABELS, MODELS, TILES, Run, chain, flowrun, holds, report, same, slurp, wait_for, write_graph

N = 60
FILES = [os.path.join(TILES, "sample_%05d.jpg" % i) for i in range(N)]
RESULTS = ("predictions.csv", "probs.csv")


def results(folder):
    return {name: slurp(os.path.join(folder, name)) for name in RESULTS}


def rows(content):
    """The rows of a table by id, as text."""
    lines = content.decode().splitlines()
    return lines[0], {line.split(",")[0]: line for line in lines[1:]}


def probabilities(content):
    table = list(csv.reader(io.StringIO(content.decode())))
    return [r[0] for r in table[1:]], np.array([[np.float32(x) for x in r[1:]] for r in table[1:]], np.float32)


def go(tmp, name, want=0, top=None, edit=None, **change):
    """Runs the chain with these changes in a folder of its own; the folder."""
    folder = os.path.join(tmp, name)
    os.mkdir(folder)
    stages = chain(folder, change.pop("files", FILES), **change)
    if edit:
        edit(stages)
    graph = write_graph(folder + "/graph.yaml", stages, **(top or {}))
    flowrun(graph, "-q", "--run", folder + "/run", want=want)
    return folder


# ---- the same results ----

def instances_change_nothing(tmp):
    first = results(go(tmp, "i1", batch=8))
    same(len(rows(first["predictions.csv"])[1]), N, "rows")
    for n in (2, 4):
        same(results(go(tmp, "i%d" % n, batch=8, instances=n)), first, "%d instances" % n)


def batch_sizes_change_nothing(tmp):
    change = dict(views="flips", net={"rows": 16})
    first = results(go(tmp, "b60", batch=60, **change))
    for n in (1, 7, 16, 64):
        same(results(go(tmp, "b%d" % n, batch=n, **change)), first, "batches of %d" % n)


def memory_changes_nothing(tmp):
    first = results(go(tmp, "much", batch=4))
    said = flowrun("check", os.path.join(tmp, "much", "graph.yaml"), "--set", "memory=1MB", want=2)[2]
    least = int(re.search(r"\((\d+) bytes in total\)", said).group(1))
    same(results(go(tmp, "little", batch=4, top={"memory": str(least + 1000000)})), first, "one or two batches in flight")


def a_shuffled_source_changes_the_order_alone(tmp):
    first, shuffled = results(go(tmp, "sorted", batch=8)), results(go(tmp, "shuffled", batch=8, tiles={"shuffle": True}))
    for name in RESULTS:
        same(rows(shuffled[name]), rows(first[name]), name)
        holds(shuffled[name] != first[name], name + ": a shuffled source gives another order")
    same(results(go(tmp, "again", batch=16, instances=2, tiles={"shuffle": True})), shuffled, "the same seed shuffled again")


def the_company_of_a_tile_changes_nothing(tmp):
    all_rows = rows(results(go(tmp, "all", batch=16))["probs.csv"])[1]
    few = rows(results(go(tmp, "few", batch=16, files=FILES[5:60:7]))["probs.csv"])[1]
    same(few, {i: all_rows[i] for i in few}, "the tiles on their own")


# ---- fan-out and joins ----

def two_nets(stages):
    stages["net"]["matrix"] = stages["tta_merge"]["matrix"] = {"m": MODELS[:2]}
    stages["net"]["options"]["weights"] = ["{m}"]
    stages["tta_merge"]["from"] = "net-{m}"


def clamped_mean(*p):
    return (sum(np.clip(x.astype(np.float64), 1e-7, 1 - 1e-7) for x in p) / len(p)).astype(np.float32)


def a_join_takes_the_mean_of_two_nets(tmp):
    both = go(tmp, "both", batch=8, edit=two_nets)
    ids, got = probabilities(results(both)["probs.csv"])
    single = [probabilities(results(go(tmp, "m%d" % i, batch=8, models=[MODELS[i]]))["probs.csv"]) for i in (0, 1)]
    same([s[0] for s in single], [ids, ids], "ids")
    holds(np.abs(single[0][1] - single[1][1]).max() > 1e-3, "the two networks differ")
    np.testing.assert_array_equal(got, clamped_mean(single[0][1], single[1][1]))
    same(results(go(tmp, "more", batch=5, instances=2, edit=two_nets)), results(both), "a join of several instances")


def a_sink_takes_two_edges(tmp):
    def edit(stages):
        stages["sink"]["from"] = ["stack", "decode_f2"]
    same(results(go(tmp, "two", batch=8, instances=2, edit=edit)), results(go(tmp, "one", batch=8)), "from: [stack, decode_f2]")


def two_sinks_see_the_same(tmp):
    def edit(stages):
        stages["second"] = {"stage": "sink", "from": "decode_f2", "options": {"probabilities": tmp + "/second.csv"}}
    folder = go(tmp, "two", batch=8, instances=2, edit=edit)
    same(slurp(tmp + "/second.csv"), results(folder)["probs.csv"], "the second sink")


# ---- what is told ----

def bad_tiles_are_rejected_and_counted(tmp):
    bad = {"cut": slurp(FILES[0])[:2000], "empty": b"", "text": b"no image at all\n" * 40}
    for name, content in bad.items():
        with open("%s/%s.jpg" % (tmp, name), "wb") as f:
            f.write(content)
    good = FILES[:20]
    folder = go(tmp, "run", want=3, batch=8, instances=2, files=good[:7] + ["%s/%s.jpg" % (tmp, name) for name in bad] + good[7:])
    r = report(folder + "/run")
    same([r[k] for k in ("exit", "tiles", "done", "predicted", "rejected")], [3, 23, 23, 20, 3], "report")
    same(r["predicted"] + r["rejected"], r["tiles"], "predicted + rejected")
    counters = r["stages"]["sink"]["counters"]
    same([counters["tiles"], counters["rejected"], r["stages"]["decode"]["counters"]["bad"]], [23, 3, 3], "counters")
    table = list(csv.reader(io.StringIO(slurp(folder + "/run/rejects.csv").decode())))
    same([table[0], sorted(row[0] for row in table[1:])], [["id", "stage", "reason"], sorted(bad)], "rejects.csv")
    holds(all(row[1] == "decode" and row[2] for row in table[1:]), "rejects.csv names stage and reason: %r" % table)
    same(results(folder), results(go(tmp, "good", batch=8, files=good)), "the good tiles")


def the_report_adds_up(tmp):
    folder = go(tmp, "run", batch=7, instances=2, truth=LABELS)
    r = report(folder + "/run")
    same([r[k] for k in ("exit", "status", "tiles", "done", "predicted", "rejected", "batches", "resumed_batches")],
         [0, "complete", N, N, N, 0, 9, 0], "report")
    for name, stage in r["stages"].items():
        same([stage["tiles"], stage["batches"]], [N, 9], name)
        holds(stage["cpu_s"] > 0, "%s: %r s of the processor" % (name, stage["cpu_s"]))
    holds(0.5 < r["stages"]["sink"]["results"]["f2"] <= 1, "f2 is %r" % r["stages"]["sink"]["results"])


def quiet_prints_nothing(tmp):
    os.mkdir(tmp + "/o")
    graph = write_graph(tmp + "/graph.yaml", chain(tmp + "/o", FILES[:8]))
    same(flowrun(graph, "-q", "--run", tmp + "/run"), (0, "", ""), "-q")
    same(flowrun("--resume", tmp + "/run", "-q"), (0, "", ""), "--resume -q of a complete run")


def without_a_terminal_lines_are_plain(tmp):
    os.mkdir(tmp + "/o")
    graph = write_graph(tmp + "/graph.yaml", chain(tmp + "/o", FILES[:8], batch=4))
    _, out, err = flowrun(graph, "--run", tmp + "/run")
    same(out, "", "standard output")
    holds("\033" not in err and "\r" not in err, "plain lines: %r" % err)
    holds(re.search(r"^run: %s/run; window \d+ batches of 4 tiles$" % tmp, err, re.M), "the first line: %r" % err)
    holds(re.search(r"^complete: 8 of 8 tiles, 8 predicted, 0 rejected, in ", err, re.M), "the last line: %r" % err)


def on_terminal(graph, run, height, width):
    """What a run writes to a terminal of this size."""
    control, tty = pty.openpty()
    fcntl.ioctl(tty, termios.TIOCSWINSZ, struct.pack("4H", height, width, 0, 0))
    p = subprocess.Popen([FLOWRUN, graph, "--run", run], stdin=subprocess.DEVNULL, stdout=tty, stderr=tty)
    os.close(tty)
    said, end = b"", time.monotonic() + flow.PATIENCE
    while time.monotonic() < end and select.select([control], [], [], 5)[0]:
        try:
            more = os.read(control, 65536)
        except OSError:                        # all of the other side is closed
            break
        said += more
    os.close(control)
    same(p.wait(flow.PATIENCE), 0, "status")
    return said.decode()


def on_a_terminal_a_table_is_drawn(tmp):
    os.mkdir(tmp + "/o")
    stages = chain(tmp + "/o", FILES[:24], batch=2, views="d4", models=MODELS)
    stages["nap"] = {"from": "decode", "options": {"ms": 150}}     # or it is over before the table is drawn again
    stages["augment"]["from"] = "nap"
    graph = write_graph(tmp + "/graph.yaml", stages, stage_path=[BUILD + "/tests/flow/stages"])
    said = on_terminal(graph, tmp + "/wide", 24, 80)
    lines = re.findall(r"\033\[K(.*?)\r\n", said)
    holds("\033[11A" in said and any(s.startswith("tta_merge") for s in lines) and any("; limited by " in s for s in lines), "a table: %r" % said[-2000:])
    holds(max(map(len, lines)) < 80, "no line wraps: %r" % max(lines, key=len))
    for height, width in ((24, 20), (10, 80)):
        said = on_terminal(graph, tmp + "/run%d" % height, height, width)
        holds("\033" not in said and "\ncomplete: 24 of 24 tiles" in said, "plain lines where there is no room: %r" % said[-2000:])


def hosts_have_rows_of_their_own(tmp):
    os.mkdir(tmp + "/o")
    stages = chain(tmp + "/o", FILES[:24], batch=2, views="d4", models=MODELS)
    stages["net"]["place"] = "far"
    graph = write_graph(tmp + "/graph.yaml", stages, hosts={"far": ["h1", "h2"]}, cluster={"launcher": "exec"})
    rows = [re.split(" +", line.strip()) for line in re.findall(r"\033\[K(.*?)\r\n", on_terminal(graph, tmp + "/wide", 24, 80))]
    names = [r[0] for r in rows]
    at = names.index("net")
    same(names[at:at + 3], ["net", "h1", "h2"], "rows: %s" % rows)
    holds(max(len(" ".join(r)) for r in rows) < 80 and any(float(r[1]) > 0 for r in rows if r[0] in ("h1", "h2")), "their rates: %s" % rows)
    said = on_terminal(graph, tmp + "/low", 12, 80)
    holds("\033[Ktta_merge " in said and "\033[K  h1" not in said, "no rows for them where there is no room: %r" % said[-2000:])


# ---- interruptions and deaths ----

def slow(tmp, **top):
    """A run that takes a second or two, its graph, and what it gives undisturbed."""
    change = dict(batch=2, views="flips", models=MODELS[:2], net={"rows": 16})
    if slow.results is None:
        slow.results = results(go(tmp, "undisturbed", **change))
    os.mkdir(tmp + "/o")
    return write_graph(tmp + "/graph.yaml", chain(tmp + "/o", FILES, **change), **top)


slow.results = None


def start(tmp, **top):
    """Starts the slow run and waits until something is committed."""
    run = Run(slow(tmp, **top), "--run", tmp + "/run")
    head = 64                                  # a journal's first bytes may be there before any record
    wait_for(lambda: flow.committed(tmp + "/run") > head or run.p.poll() is not None, "the first committed batch")
    if run.p.poll() is not None:
        raise AssertionError("over before anything could happen: %r" % (run.end(),))
    return run


def nothing_left(tmp, shm):
    holds(not os.path.exists(tmp + "/run/s"), "the sockets' folder is gone")
    same([n for n in os.listdir("/dev/shm") if n not in shm and "flowrun" in n], [], "/dev/shm")


def resume(tmp):
    flowrun("--resume", tmp + "/run")
    same(results(tmp + "/o"), slow.results, "results after --resume")
    r = report(tmp + "/run")
    same([r["tiles"], r["predicted"], r["rejected"]], [N, N, 0], "report after --resume")
    holds(0 < r["resumed_batches"], "batches that were committed are not done again")


def an_interrupt_drains(tmp):
    run = start(tmp)
    shm = os.listdir("/dev/shm")
    run.p.send_signal(signal.SIGINT)
    rc, _, err = run.end()
    same(rc, 4, "status (%s)" % err)
    holds("draining" in err and "--resume " + tmp + "/run" in err, "what it says: %r" % err)
    nothing_left(tmp, shm)
    r = report(tmp + "/run")
    same([r["exit"], r["status"], r["predicted"] + r["rejected"]], [4, "interrupted and drained", r["done"]], "report")
    holds(0 < r["done"] < N, "%d of %d tiles are done" % (r["done"], N))
    same(os.listdir(tmp + "/o"), [], "an interrupted run writes no results")
    resume(tmp)


def a_second_interrupt_stops_at_once(tmp):
    run = start(tmp)
    shm = os.listdir("/dev/shm")
    frozen = run.stages()["forward"][0]
    os.kill(frozen, signal.SIGSTOP)            # so that draining can't come to an end
    run.p.send_signal(signal.SIGTERM)
    wait_for(lambda: "draining" in run.said()[1], "the first signal's answer")
    holds(run.p.poll() is None, "it drains")
    at = time.monotonic()
    run.p.send_signal(signal.SIGINT)
    rc, _, err = run.end()
    holds(time.monotonic() - at < 5, "it stops at once")
    holds(rc in (1, 4), "status %d: %s" % (rc, err))
    nothing_left(tmp, shm)
    resume(tmp)


def an_interrupt_before_the_start_ends_it(tmp):
    run = Run(slow(tmp), "--run", tmp + "/run")
    wait_for(lambda: os.path.exists(tmp + "/run/s") or run.p.poll() is not None, "the sockets' folder")
    run.p.send_signal(signal.SIGINT)
    rc, _, err = run.end()
    holds(rc in (1, 4), "status %d: %s" % (rc, err))
    holds(not os.path.exists(tmp + "/run/s"), "the sockets' folder is gone")
    flowrun("--resume", tmp + "/run", "-q")
    same(results(tmp + "/o"), slow.results, "results after --resume")


def draining_takes_drain_timeout_at_most(tmp):
    run = start(tmp, drain_timeout=1)
    os.kill(run.stages()["forward"][0], signal.SIGSTOP)
    at = time.monotonic()
    run.p.send_signal(signal.SIGINT)
    rc, _, err = run.end()
    holds(0.9 < time.monotonic() - at < 10, "it took %.1f s" % (time.monotonic() - at))
    holds(rc in (1, 4), "status %d: %s" % (rc, err))
    resume(tmp)


def a_stopped_stage_is_waited_for(tmp):
    run = start(tmp, stall_timeout=1)
    pid = run.stages()["forward"][0]
    os.kill(pid, signal.SIGSTOP)
    time.sleep(2.5)                            # there is no event to wait for: nothing is to happen
    holds(run.p.poll() is None and os.path.exists("/proc/%d" % pid), "it is still there after more than stall_timeout")
    os.kill(pid, signal.SIGCONT)
    rc, _, err = run.end()
    same(rc, 0, "status (%s)" % err)
    same(results(tmp + "/o"), slow.results, "results")


def a_crashed_stage_costs_nothing(tmp):
    run = start(tmp)
    os.kill(run.stages()["forward"][0], signal.SIGSEGV)
    rc, _, err = run.end()
    complete(tmp, rc, err)
    holds(re.search(r"\bnet\b.*(signal 11|Segmentation)", err), "it names stage and signal: %r" % err)


def kill_stage(exe):
    def case(tmp):
        run = start(tmp)
        shm = os.listdir("/dev/shm")
        pids = run.stages()
        for pid in [p for of in pids.values() for p in of]:
            holds(b"/dev/shm" not in slurp("/proc/%d/maps" % pid), "no memory has a name in /dev/shm")
        os.kill(pids[exe][0], signal.SIGKILL)
        rc, _, err = run.end()
        nothing_left(tmp, shm)
        complete(tmp, rc, err)
        name = {"source": "tiles", "forward": "net"}.get(exe, exe)
        holds(re.search(r"\b%s\b.*(signal 9|Killed)" % name, err), "it names stage and signal: %r" % err)
    case.__name__ = "a_killed_%s_costs_nothing" % exe
    return case


def complete(tmp, rc, err):
    """The run went on with a new process (status 0), or it failed and can be resumed: the results are those of an undisturbed one."""
    if rc != 0:
        same(rc, 1, "status (%s)" % err)
        resume(tmp)
    same(results(tmp + "/o"), slow.results, "results")
    r = report(tmp + "/run")
    same([r["tiles"], r["predicted"], r["rejected"]], [N, N, 0], "report")


def many_kills_cost_nothing(tmp):
    run = start(tmp)
    shm = os.listdir("/dev/shm")
    for exe in ("forward", "decode", "sink", "forward", "augment", "source"):
        before = flow.committed(tmp + "/run")
        wait_for(lambda: run.p.poll() is not None or exe in run.stages(), exe)
        if run.p.poll() is not None:
            break
        for pid in run.stages().get(exe, []):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: run.p.poll() is not None or flow.committed(tmp + "/run") > before, "something committed after a kill")
    rc, _, err = run.end()
    nothing_left(tmp, shm)
    complete(tmp, rc, err)


def a_killed_supervisor_costs_nothing(tmp):
    run = start(tmp)
    shm = os.listdir("/dev/shm")
    run.p.kill()
    run.p.wait()
    same(flow.orphans(2), 0, "stages still there 2 s after their supervisor")
    resume(tmp)
    nothing_left(tmp, shm)


def everything_killed_costs_nothing(tmp):
    run = start(tmp)
    pids = [p for of in run.stages().values() for p in of]
    run.p.kill()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    run.p.wait()
    flow.orphans(2)
    resume(tmp)


def journal_file(tmp):
    folder = tmp + "/run/journal/sink"
    return max((os.path.join(folder, n) for n in os.listdir(folder)), key=os.path.getsize)


def stop_midway(tmp):
    run = start(tmp)
    wait_for(lambda: flow.committed(tmp + "/run") > 2000 or run.p.poll() is not None, "more in the journal")
    run.p.kill()
    run.p.wait()
    flow.orphans(2)


def a_torn_journal_is_done_again(tmp):
    stop_midway(tmp)
    path = journal_file(tmp)
    with open(path, "r+b") as f:
        f.truncate(os.path.getsize(path) - 7)
    resume(tmp)
    holds("torn end" in slurp(tmp + "/run/log.jsonl").decode(), "the log speaks of it")


def a_damaged_journal_is_done_again(tmp):
    stop_midway(tmp)
    path = journal_file(tmp)
    with open(path, "r+b") as f:
        f.seek(os.path.getsize(path) // 2)
        byte = f.read(1)
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte[0] ^ 0x40]))
    resume(tmp)


def other_inputs_are_refused(tmp):
    os.mkdir(tmp + "/tiles")
    for f in FILES[:30]:
        os.symlink(f, os.path.join(tmp, "tiles", os.path.basename(f)))
    folder = go(tmp, "run", batch=4, files=[tmp + "/tiles"])
    first = results(folder)
    os.symlink(FILES[30], tmp + "/tiles/one_more.jpg")
    rc, _, err = flowrun("--resume", folder + "/run", want=None)
    holds(rc in (1, 2) and "inputs" in err, "status %d: %s" % (rc, err))
    same(results(folder), first, "the results stay")
    os.remove(tmp + "/tiles/one_more.jpg")
    flowrun("--resume", folder + "/run", "-q")
    same(results(folder), first, "with the old inputs it goes on")


def a_second_supervisor_is_refused(tmp):
    run = start(tmp)
    rc, _, err = flowrun_beside("--resume", tmp + "/run")
    same(rc, 2, "status of --resume beside it")
    holds("another flowrun works in this run directory" in err, "what it says: %r" % err)
    rc, _, err = flowrun_beside(tmp + "/graph.yaml", "--run", tmp + "/run")
    same(rc, 2, "status of --run beside it")
    holds(tmp + "/run" in err, "what it says: %r" % err)
    same(run.end()[0], 0, "status of the first")
    same(results(tmp + "/o"), slow.results, "results of the first")
    rc, _, err = flowrun(tmp + "/graph.yaml", "--run", tmp + "/run", want=2)
    holds("holds a run already" in err, "what it says afterwards: %r" % err)


def flowrun_beside(*args):
    p = subprocess.run([FLOWRUN, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=flow.PATIENCE)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def a_complete_run_resumes_to_the_same(tmp):
    folder = go(tmp, "run", batch=8)
    first = results(folder)
    for name in RESULTS:
        os.remove(os.path.join(folder, name))
    flowrun("--resume", folder + "/run", "-q")
    same(results(folder), first, "results made anew from the journal")
    same(report(folder + "/run")["resumed_batches"], 8, "resumed batches")


STAGES = ("source", "decode", "augment", "forward", "tta_merge", "stack", "decode_f2", "sink")
CASES = [instances_change_nothing, batch_sizes_change_nothing, memory_changes_nothing, a_shuffled_source_changes_the_order_alone,
         the_company_of_a_tile_changes_nothing, a_join_takes_the_mean_of_two_nets, a_sink_takes_two_edges, two_sinks_see_the_same,
         bad_tiles_are_rejected_and_counted, the_report_adds_up, quiet_prints_nothing, without_a_terminal_lines_are_plain,
         on_a_terminal_a_table_is_drawn, hosts_have_rows_of_their_own, an_interrupt_drains, a_second_interrupt_stops_at_once, an_interrupt_before_the_start_ends_it,
         draining_takes_drain_timeout_at_most, a_stopped_stage_is_waited_for, a_crashed_stage_costs_nothing, *(kill_stage(s) for s in STAGES),
         many_kills_cost_nothing, a_killed_supervisor_costs_nothing, everything_killed_costs_nothing, a_torn_journal_is_done_again,
         a_damaged_journal_is_done_again, other_inputs_are_refused, a_second_supervisor_is_refused, a_complete_run_resumes_to_the_same]

if __name__ == "__main__":
    sys.exit(flow.run_cases(CASES))
