"""A tile that kills goes to quarantine, whatever way it kills; everything else is predicted as if it weren't there."""
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import msgpack

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import BUILD, TILES, flowrun, holds, report, same, slurp, write_graph   # noqa: E402

STAGES = BUILD + "/tests/flow/stages"
N, B = 300, 16
IDS = sorted(os.path.splitext(f)[0] for f in os.listdir(TILES)) if os.path.isdir(TILES) else []


def graph(tmp, out, trip, instances=1, batch=B, source=None, sink=None, **top):
    stages = flow.chain(out, TILES + "/*.jpg", batch=batch)
    stages["tiles"] = source or stages["tiles"]
    stages["sink"].update({"stage": sink} if sink else {})
    stages["tripwire"] = {"from": "decode", "instances": instances, "options": dict(trip, log=tmp + "/log")}
    stages["augment"]["from"] = "tripwire"
    if "hosts" in top:
        stages["tripwire"]["place"] = "far"
    return write_graph(tmp + "/graph.json", stages, stage_path=[STAGES], **top)


trips = {}                                                 # what is in the environment of the run that dies, and of its replay


def natural(tmp):
    """Ids in the source's order."""
    with open(tmp + "/quiet/probs.csv", newline="") as f:
        return [row["image_name"] for row in csv.DictReader(f)]


def run(tmp, trip, want=3, instances=1, args=(), env=None, patience=flow.PATIENCE, **top):
    """A quiet run, then one with the wire set over trip(ids); its ids, lines of both results, what it said."""
    for name in ("quiet", "out"):
        os.mkdir(tmp + "/" + name)
    flowrun(graph(tmp, tmp + "/quiet", {}, source=top.get("source")), "--run", tmp + "/quiet-run", "-q")
    ids = natural(tmp)
    os.remove(tmp + "/log")
    trips.clear()
    trips.update(env(ids) if env else {})
    rc, _, err = flow.Run(graph(tmp, tmp + "/out", trip(ids), instances, **top), "--run", tmp + "/run", *args, env=dict(os.environ, **trips)).end(patience)
    same(rc, want, "status; it said %s" % err[-1500:])
    return ids, err


def lines(path):
    return slurp(path).splitlines()


def rejects(tmp):
    with open(tmp + "/run/rejects.csv", newline="") as f:
        return {row["id"]: row for row in csv.DictReader(f)}


def only_these_are_missing(tmp, bad):
    for name in ("predictions.csv", "probs.csv"):
        want = [line for line in lines(tmp + "/quiet/" + name) if line.split(b",")[0].decode() not in bad]
        same(lines(tmp + "/out/" + name), want, name + " without the tiles in quarantine")
    same(sorted(rejects(tmp)), sorted(bad), "rejected tiles")
    r = report(tmp + "/run")
    same([r["tiles"], r["predicted"], r["rejected"], r["quarantined"], r["exit"]], [N, N - len(bad), len(bad), len(bad), 3], "report")


def quarantined(tmp):
    """{id: entry} of all files in RUN/quarantine."""
    found = {}
    for name in os.listdir(tmp + "/run/quarantine"):
        if name.endswith(".json"):
            with open(tmp + "/run/quarantine/" + name) as f:
                j = json.load(f)
            for tile in j["tiles"]:
                found[tile.get("id")] = dict(tile, batch=j["batch"])
    return found


def replay(tmp, command, patience=60):
    """Runs the very text that the quarantine gives: status, standard output, standard error."""
    path = dict(os.environ, **trips, PATH=os.path.dirname(flow.FLOWRUN) + ":" + os.environ["PATH"], TMPDIR=tmp)
    p = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience, env=path)
    holds(not [f for f in os.listdir(tmp) if f.startswith("flowrun-replay")], "nothing of the replay stays: %s" % os.listdir(tmp))
    return p.returncode, p.stdout, p.stderr


def a_tile_that_kills(tmp):
    ids, err = run(tmp, lambda ids: {"tiles": [ids[37]]})
    only_these_are_missing(tmp, [ids[37]])
    q = quarantined(tmp)
    same(list(q), [ids[37]], "in quarantine")
    e = q[ids[37]]
    same([e["batch"], e["row"], e["stage"]], [37 // B, 37 % B, "tripwire"], "where it was")
    holds("signal 11" in e["cause"] and "signal 11" in rejects(tmp)[ids[37]]["reason"], "the cause is told: %r" % e)
    h = msgpack.unpackb(slurp(tmp + "/run/quarantine/" + e["header"]))
    same([h["batch"], h["probe"], h["n"]], [37 // B, 37 % B + 1, B], "its header")
    holds("pixels" in [t[0] for t in h["t"]], "its header names the tensors: %r" % h)
    holds("quarantine" in err, "the person is told: %r" % err)
    rc, out, said = replay(tmp, e["command"])
    same([rc, "done" in out], [1, False], "the command ends with the death: %s%s" % (out, said))
    holds(re.search(r"^tripwire: died of signal 11 \(.*\) over batch %d; in quarantine: %s \(row %d\)$" % (37 // B, ids[37], 37 % B), said, re.M), "it says what died over what: %s" % said)
    # two deaths in company, one alone, one for each half that holds it, two more when single
    same(report(tmp + "/run")["restarts"], 2 + 1 + 3 + 2, "deaths")


def a_tile_that_kills_on_another_host(tmp):
    """Found there, told here: the run's own quarantine has it, under the numbers of the run."""
    ids, err = run(tmp, lambda ids: {"tiles": [ids[37], ids[200]]}, hosts={"far": ["h1", "h2"]}, cluster={"launcher": "exec"}, memory="64MB")
    only_these_are_missing(tmp, [ids[37], ids[200]])
    q = quarantined(tmp)
    same(sorted(q), sorted([ids[37], ids[200]]), "in quarantine")
    for at in (37, 200):
        e = q[ids[at]]
        same([e["batch"], e["row"], e["stage"], e["host"] in ("h1", "h2")], [at // B, at % B, "tripwire", True], "where it was")
        same("tripwire: " + rejects(tmp)[ids[at]]["reason"], e["reason"], "the reason in rejects.csv")
        holds("signal 11" in e["cause"], "the cause: %r" % e)
        h = msgpack.unpackb(slurp(tmp + "/run/quarantine/" + e["header"]))
        same([h["batch"], h["probe"], h["n"], "id" in [t[0] for t in h["t"]]], [at // B, at % B + 1, B, True], "its header")
        holds("%s: tile %d of batch %d (%s) died of signal 11" % (e["host"], at % B, at // B, ids[at]) in err, "the person is told: %r" % err)
        rc, out, said = replay(tmp, e["command"])
        same([rc, "done" in out], [1, False], "the command ends with the death: %s%s" % (out, said))
        holds(re.search(r"^tripwire: died of signal 11 \(.*\) over batch %d; in quarantine: %s \(row %d\)$" % (at // B, ids[at], at % B), said, re.M), "it says what died over what: %s" % said)
    same([report(tmp + "/run")["restarts"], report(tmp + "/run")["reissued_batches"]], [0, 0], "deaths of stages here, batches that were issued here again")


def tests_run_alone_and_keep_nothing(tmp):
    ids, _ = run(tmp, lambda ids: {"tiles": [ids[100]]})
    log = [tuple(map(int, line.split())) for line in slurp(tmp + "/log").splitlines()]
    mine = [g for b, _, g in log if b == 100 // B]
    same(sorted(set(mine)), [1, 2, 4, 8, B - 1, B], "good rows in the batches that came: whole, halves, the rest")
    same(mine[-1], B - 1, "the last of them is the one that counts")
    attempts = [a for b, a, _ in log if b == 100 // B]
    same(attempts, list(range(len(attempts))), "attempts count up")


def a_tile_that_kills_a_sink(tmp):
    """It is narrowed down as in any other stage, though nothing of the tests may be kept."""
    ids, _ = run(tmp, lambda ids: {}, sink="tripsink", env=lambda ids: {"TRIP_SINK": "%s,%s" % (ids[37], ids[N - 1]), "TRIP_LOG": tmp + "/sinks"})
    bad = [ids[37], ids[N - 1]]
    only_these_are_missing(tmp, bad)
    q = quarantined(tmp)
    same([[q[i]["batch"], q[i]["row"], q[i]["stage"]] for i in bad], [[2, 5, "sink"], [N // B, N % B - 1, "sink"]], "where they were")
    h = msgpack.unpackb(slurp(tmp + "/run/quarantine/" + q[ids[37]]["header"]))
    same([h["batch"], h["probe"], "prob" in [t[0] for t in h["t"]]], [2, 6, True], "its header")
    mine = [int(line.split()[2]) for line in lines(tmp + "/sinks") if int(line.split()[0]) == 2]
    same([sorted(set(mine)), mine[-1], mine.count(B - 1)], [[1, 2, 4, 8, B - 1, B], B - 1, 1], "good rows in the batches that came")
    rc, out, said = replay(tmp, q[ids[37]]["command"])
    holds(rc == 1 and re.search(r"^sink: died of signal 11 \(.*\) over batch 2; in quarantine: %s \(row 5\)$" % ids[37], said, re.M), "its command shows it: %d %s%s" % (rc, out, said))


def listed():
    return {"stage": "tripsource", "options": {"csv": flow.LABELS, "folder": TILES, "batch": B}}


def a_file_that_kills_the_source(tmp):
    ids, _ = run(tmp, lambda ids: {}, source=listed(), env=lambda ids: {"TRIP_FILES": "/%s.jpg,/%s.jpg" % (ids[37], ids[40]), "TRIP_HOW": "exit"})
    bad = [ids[37], ids[40]]
    only_these_are_missing(tmp, bad)
    q = quarantined(tmp)
    same([[q[i]["batch"], q[i]["row"], q[i]["stage"], q[i]["header"]] for i in bad], [[2, 5, "tiles", None], [2, 8, "tiles", None]], "where they were")
    holds("exit status 7" in q[ids[37]]["cause"], "the cause is told")
    rc, out, said = replay(tmp, q[ids[37]]["command"])
    holds(rc == 1 and re.search(r"^tiles: ended with exit status 7 .* over batch 2; in quarantine: %s \(row 5\), %s" % tuple(bad), said, re.M), "its command shows it: %d %s%s" % (rc, out, said))


def a_file_that_hangs_the_source(tmp):
    flow.takes_long()
    ids, _ = run(tmp, lambda ids: {}, source=listed(), env=lambda ids: {"TRIP_FILES": "/%s.jpg" % ids[17], "TRIP_HOW": "hang"}, stall_timeout=1)
    only_these_are_missing(tmp, [ids[17]])


def a_source_that_dies_now_and_then(tmp):
    """Of its own doing before it is ready and over a batch, and by kills: it is started again and nothing is held against a batch."""
    for name in ("quiet", "out"):
        os.mkdir(tmp + "/" + name)
    flowrun(graph(tmp, tmp + "/quiet", {}, source=listed()), "--run", tmp + "/quiet-run", "-q")
    ids = natural(tmp)
    env = dict(os.environ, TRIP_FILES="/%s.jpg" % ids[200], TRIP_ONCE=tmp + "/once", TRIP_STARTS=tmp + "/starts", TRIP_STILLBORN="3")
    run_ = flow.Run(graph(tmp, tmp + "/out", {}, source=listed(), memory="60MB"), "--run", tmp + "/run", env=env)
    for more in (64, 2000, 6000):
        flow.wait_for(lambda: flow.committed(tmp + "/run") > more or run_.p.poll() is not None, "results")
        for pid in run_.stages().get("tripsource", []):
            os.kill(pid, signal.SIGKILL)
    rc, _, err = run_.end()
    same(rc, 0, "status; it said %s" % err)
    for name in ("predictions.csv", "probs.csv"):
        same(slurp(tmp + "/out/" + name), slurp(tmp + "/quiet/" + name), name)
    holds(err.count("SIGBUS") + err.count("signal 7") == 4 and err.count("signal 9") >= 1, "deaths: %s" % err)
    holds(not os.path.exists(tmp + "/run/quarantine"), "nothing is in quarantine")


def a_source_that_cannot_be_started_ends_the_run(tmp):
    os.mkdir(tmp + "/out")
    env = dict(os.environ, TRIP_STARTS=tmp + "/starts", TRIP_STILLBORN="99", TRIP_HOW="exit")
    _, _, err = flowrun(graph(tmp, tmp + "/out", {}, source=listed()), "--run", tmp + "/run", want=1, env=env)
    holds("tiles: ended with exit status 7" in err, "the person is told: %s" % err)
    same(len(slurp(tmp + "/starts")), 6, "starts")


def several_tiles_in_several_batches(tmp):
    ids, _ = run(tmp, lambda ids: {"tiles": [ids[i] for i in (0, 15, 16, 299)], "how": "exit"}, instances=3)
    only_these_are_missing(tmp, [ids[i] for i in (0, 15, 16, 299)])
    holds(all("exit status 7" in e["cause"] for e in quarantined(tmp).values()), "the cause is told")


def a_tile_that_hangs(tmp):
    ids, _ = run(tmp, lambda ids: {"tiles": [ids[5]], "how": "hang"}, batch=2, stall_timeout=1)
    only_these_are_missing(tmp, [ids[5]])
    rc, out, said = replay(tmp, quarantined(tmp)[ids[5]]["command"])
    holds(rc == 1 and re.search(r"^tripwire: made no progress .* over batch 2; in quarantine: %s " % ids[5], said, re.M), "its command shows it: %d %s%s" % (rc, out, said))


def a_stage_that_never_gets_ready(tmp):
    path = graph(tmp, tmp, {"how": "open"}, open_timeout=1.5)
    at = time.monotonic()
    _, _, err = flowrun(path, "--run", tmp + "/run", want=1)
    holds(time.monotonic() - at > 1.5, "it had its time")
    holds("tripwire: was not ready, made no progress for open_timeout and was killed" in err, "the person is told: %r" % err)


def tiles_that_kill_in_company_only(tmp):
    ids, _ = run(tmp, lambda ids: {"tiles": [ids[2], ids[12]], "company": 2, "how": "abort"})
    only_these_are_missing(tmp, ids[:B])
    tiles = json.loads(slurp(tmp + "/run/quarantine/0.json"))["tiles"]
    same(sorted(e["row"] for e in tiles), list(range(B)), "rows")
    rc, out, said = replay(tmp, tiles[0]["command"])
    holds(rc == 1 and "signal 6" in said and "over batch 0; in quarantine: row 0, row 1, " in said, "its command shows it: %d %s%s" % (rc, out, said))


def a_short_batch_that_kills_in_company(tmp):
    """The last batch has 12 rows: so many are put aside and counted, not a whole batch's."""
    last = N // B * B
    ids, _ = run(tmp, lambda ids: {"tiles": [ids[last + 1], ids[N - 1]], "company": 2, "how": "exit"})
    only_these_are_missing(tmp, ids[last:])
    same(sorted(e["row"] for e in json.loads(slurp(tmp + "/run/quarantine/%d.json" % (N // B)))["tiles"]), list(range(N - last)), "rows")


def too_many_are_no_matter_of_tiles(tmp):
    flow.takes_long()
    _, err = run(tmp, lambda ids: {"tiles": ids[:70], "how": "exit"}, batch=1, want=1, patience=600)      # back-off: no batch of the window is good
    holds("no matter of single tiles" in err and "tripwire" in err, "the person is told: %r" % err)


def a_stage_that_does_nothing_but_die(tmp):
    flow.takes_long()
    _, err = run(tmp, lambda ids: {"tiles": ids, "how": "exit"}, want=1, memory="60MB")
    holds("times in a row without finishing a batch" in err and "tripwire" in err, "the person is told: %r" % err)


def what_was_put_aside_stays_so_on_resume(tmp):
    """The run stops while the tile is in quarantine but its batch isn't committed; resumed, it isn't tried again."""
    ids, _ = run(tmp, lambda ids: {"tiles": [ids[37]]})
    q = slurp(tmp + "/run/quarantine/2.json")
    segment = tmp + "/run/journal/sink/00000000.j"
    os.truncate(segment, 64)                           # nothing is committed
    os.remove(tmp + "/log")
    flowrun("--resume", tmp + "/run", want=3)
    only_these_are_missing(tmp, [ids[37]])
    same(slurp(tmp + "/run/quarantine/2.json"), q, "quarantine")
    same(report(tmp + "/run")["restarts"], 0, "nobody dies of it again")


def kills_from_outside_never_count(tmp):
    """The wire kills its own process by SIGKILL, which can't be told from a kill from outside: it is tried for ever, until the person stops it."""
    for name in ("quiet", "out"):
        os.mkdir(tmp + "/" + name)
    flowrun(graph(tmp, tmp + "/quiet", {}), "--run", tmp + "/quiet-run", "-q")
    ids = natural(tmp)
    run_ = flow.Run(graph(tmp, tmp + "/out", {"tiles": [ids[37]], "how": "kill"}), "--run", tmp + "/run")
    flow.wait_for(lambda: run_.said()[1].count("signal 9") >= 5, "five deaths")
    holds(not os.path.exists(tmp + "/run/quarantine"), "nothing goes to quarantine")
    run_.p.terminate()
    run_.p.terminate()
    run_.kill()


def kills_before_it_is_ready_never_count(tmp):
    """Eight in a row before the run has begun, then eight more after a kill in the midst of it: the run goes on."""
    for name in ("quiet", "out"):
        os.mkdir(tmp + "/" + name)
    flowrun(graph(tmp, tmp + "/quiet", {}), "--run", tmp + "/quiet-run", "-q")
    ids = natural(tmp)
    deaths = [str(n) for n in list(range(1, 9)) + list(range(10, 18))]
    run_ = flow.Run(graph(tmp, tmp + "/out", {"stillborn": deaths, "how": "kill"}, memory="60MB"), "--run", tmp + "/run")
    flow.wait_for(lambda: flow.committed(tmp + "/run") > 64 or run_.p.poll() is not None, "the first results")
    os.kill(run_.stages()["tripwire"][0], signal.SIGKILL)
    rc, _, err = run_.end()
    same(rc, 0, "status; it said %s" % err)
    for name in ("predictions.csv", "probs.csv"):
        same(slurp(tmp + "/out/" + name), slurp(tmp + "/quiet/" + name), name)
    same([report(tmp + "/run")["restarts"], len(slurp(tmp + "/log.starts")), len(ids)], [17, 18, N], "deaths, starts, tiles")


def crashes_before_it_is_ready_end_the_run(tmp):
    os.mkdir(tmp + "/out")
    _, _, err = flowrun(graph(tmp, tmp + "/out", {"stillborn": ["1", "2"], "how": "abort"}), "--run", tmp + "/run0")
    same([report(tmp + "/run0")["restarts"], len(slurp(tmp + "/log.starts"))], [2, 3], "deaths, starts; it said %s" % err)
    os.remove(tmp + "/log.starts")
    _, _, err = flowrun(graph(tmp, tmp + "/out", {"stillborn": [str(n) for n in range(1, 20)], "how": "abort"}), "--run", tmp + "/run", want=1)
    same(len(slurp(tmp + "/log.starts")), 6, "starts")
    os.remove(tmp + "/log.starts")
    holds("signal 6" in err and "tripwire" in err, "before the run has begun: %s" % err)
    run_ = flow.Run(graph(tmp, tmp + "/out", {"stillborn": [str(n) for n in range(2, 20)], "how": "exit"}, memory="60MB"), "--run", tmp + "/run2")
    flow.wait_for(lambda: flow.committed(tmp + "/run2") > 64 or run_.p.poll() is not None, "the first results")
    os.kill(run_.stages()["tripwire"][0], signal.SIGKILL)
    rc, _, err = run_.end()
    same(rc, 1, "status; it said %s" % err)
    holds("exit status 7" in err and "tripwire" in err, "in the midst of it: %s" % err)


def killed_by_the_kernel_for_want_of_memory(tmp):
    cgroup = "/sys/fs/cgroup/memory/flowrun-test-%d" % os.getpid()
    limit = "memory.limit_in_bytes"
    if not os.path.isdir("/sys/fs/cgroup/memory"):
        cgroup, limit = "/sys/fs/cgroup/flowrun-test-%d" % os.getpid(), "memory.max"
    try:
        os.mkdir(cgroup)
        with open(cgroup + "/" + limit, "w") as f:
            f.write("%d" % (600 << 20))
    except OSError as why:
        if os.path.isdir(cgroup):
            os.rmdir(cgroup)
        raise flow.Skip("no memory cgroup of our own: %s" % why)
    for name in ("quiet", "out"):
        os.mkdir(tmp + "/" + name)
    flowrun(graph(tmp, tmp + "/quiet", {}), "--run", tmp + "/quiet-run", "-q")
    ids = natural(tmp)

    def enter():
        with open(cgroup + "/cgroup.procs", "w") as f:
            f.write("0")
    try:
        flowrun(graph(tmp, tmp + "/out", {"tiles": [ids[37]], "how": "oom"}, memory="100MB"), "--run", tmp + "/run", want=3, preexec_fn=enter)
    finally:
        flow.orphans(2)
        os.rmdir(cgroup)
    only_these_are_missing(tmp, [ids[37]])
    holds("out of memory" in quarantined(tmp)[ids[37]]["cause"], "the cause is told")


if __name__ == "__main__":
    sys.exit(flow.run_cases([
        a_tile_that_kills, a_tile_that_kills_on_another_host, tests_run_alone_and_keep_nothing, a_tile_that_kills_a_sink, a_file_that_kills_the_source, a_file_that_hangs_the_source, a_source_that_dies_now_and_then,
        a_source_that_cannot_be_started_ends_the_run, several_tiles_in_several_batches, a_tile_that_hangs, a_stage_that_never_gets_ready, tiles_that_kill_in_company_only, a_short_batch_that_kills_in_company,
        too_many_are_no_matter_of_tiles, a_stage_that_does_nothing_but_die, what_was_put_aside_stays_so_on_resume, kills_from_outside_never_count,
        kills_before_it_is_ready_never_count, crashes_before_it_is_ready_end_the_run, killed_by_the_kernel_for_want_of_memory,
    ]))
