"""Recording edges of a live run: all of it, the last batches before a death, on demand; a resumed run; what is refused."""
import glob
import json
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import TILES, Run, flowrun, holds, report, same, slurp, write_graph   # noqa: E402


def files(run):
    return sorted(os.path.basename(p) for p in glob.glob(run + "/recordings/*"))


def batches(path):
    """Numbers of the batches in a finished segment, by its index (docs/recording.md)."""
    data = slurp(path)
    same(data[:8] + data[-32:-24], b"FLRECORDFLRCTAIL", "magic of " + path)
    at, n = int.from_bytes(data[-24:-16], "little"), int.from_bytes(data[-16:-12], "little")
    return [int.from_bytes(data[at + 64 + 32 * i:at + 72 + 32 * i], "little") for i in range(n)]


def every_edge_is_recorded_and_results_stay(tmp):
    os.mkdir(tmp + "/a")
    os.mkdir(tmp + "/b")
    plain = write_graph(tmp + "/a.json", flow.chain(tmp + "/a", TILES + "/*1.jpg", batch=4))
    flowrun(plain, "--run", tmp + "/ra", "-q")
    flowrun(write_graph(tmp + "/b.json", flow.chain(tmp + "/b", TILES + "/*1.jpg", batch=4)), "--run", tmp + "/rb", "-q", "--record", "all")
    same(slurp(tmp + "/b/probs.csv"), slurp(tmp + "/a/probs.csv"), "results of a recorded run")
    names = ["augment", "decode", "decode_f2", "net", "stack", "tiles", "tta_merge"]
    same(files(tmp + "/rb"), [n + ".0000.flr" for n in names], "recordings")
    for n in names:
        same(sorted(batches(tmp + "/rb/recordings/%s.0000.flr" % n)), list(range(8)), n)


def the_limit_is_shared_by_what_edges_carry(tmp):
    """All edges together stay below it, and each keeps about the same batches."""
    os.mkdir(tmp + "/o")
    g = write_graph(tmp + "/g.json", flow.chain(tmp + "/o", TILES + "/*1.jpg", batch=2))
    flowrun(g, "--run", tmp + "/run", "-q", "--record", "decode,augment,net", "--record-limit", "6MB")
    with open(tmp + "/run/config.json") as f:
        limit = {k[7:]: e["options"]["limit"] for k, e in json.load(f)["stages"].items() if e["stage"] == "record"}
    holds(5999000 < sum(limit.values()) <= 6000010 and limit["decode"] > 20 * limit["net"], "limits: %r" % limit)
    size = sum(os.path.getsize(p) for p in glob.glob(tmp + "/run/recordings/*"))
    holds(3000000 < size <= 6000000, "%d bytes on disk" % size)
    kept = {e: {n for p in glob.glob(tmp + "/run/recordings/" + e + ".*") for n in batches(p)} for e in limit}
    holds(all(len(k) > 3 and 14 in k for k in kept.values()) and 0 not in kept["decode"] and kept["decode"] <= kept["net"], "the last ones: %r" % kept)


def a_ring_is_written_when_a_stage_is_killed(tmp):
    os.mkdir(tmp + "/o")
    g = write_graph(tmp + "/g.json", flow.chain(tmp + "/o", TILES + "/*.jpg", batch=4), record={"edges": ["augment", "decode"], "ring": 2})
    run = Run(g, "--run", tmp + "/run", "-q")
    flow.wait_for(lambda: flow.committed(tmp + "/run") > 64 or run.p.poll() is not None, "progress")
    os.kill(run.stages()["forward"][0], signal.SIGKILL)
    rc, _, err = run.end()
    same(rc, 0, "status: " + err)
    holds(files(tmp + "/run"), "recordings after a kill")
    holds(batches(tmp + "/run/recordings/augment.0000.flr"), "batches of the ring")
    holds("written out: died of signal 9" in slurp(tmp + "/run/log.jsonl").decode(), "the log tells why")


def what_is_on_its_way_to_a_ring_is_waited_for(tmp):
    """The tap stands still while a network dies: each batch that had been given to it, which is therefore issued again, is in the ring as it was given."""
    os.mkdir(tmp + "/o")
    g = write_graph(tmp + "/g.json", flow.chain(tmp + "/o", TILES + "/*.jpg", batch=4), record={"edges": "augment", "ring": 1})
    run = Run(g, "--run", tmp + "/run", "-q")
    flow.wait_for(lambda: flow.committed(tmp + "/run") > 64 or run.p.poll() is not None, "progress")
    tap, net = run.stages()["record"][0], run.stages()["forward"][0]
    os.kill(tap, signal.SIGSTOP)
    for _ in range(4):                                     # for each that is finished, another is issued, and given to network and tap
        before = flow.committed(tmp + "/run")
        flow.wait_for(lambda: flow.committed(tmp + "/run") > before or run.p.poll() is not None, "a batch")
    os.kill(net, signal.SIGKILL)
    time.sleep(0.05)
    os.kill(tap, signal.SIGCONT)
    same(run.end()[0], 0, "status")
    sys.path.insert(0, flow.ROOT + "/python")
    from flowrun.recording import Recording
    with Recording(tmp + "/run/recordings/augment") as r:
        first = {b for b, attempt, _, _ in r.entries if attempt == 0}
    again = {b for b, attempt in flow.attempts(tmp + "/run").items() if attempt > 0}
    holds(again and again <= first, "issued again: %r, in the ring: %r" % (sorted(again), sorted(first)))


def a_ring_is_written_when_a_tile_goes_to_quarantine(tmp):
    """The batch that killed is there, as the stage got it."""
    os.mkdir(tmp + "/o")
    stages = flow.chain(tmp + "/o", TILES + "/*11.jpg", batch=2)
    stages["tripwire"] = {"from": "decode", "options": {"tiles": ["sample_00111"]}}
    stages["augment"]["from"] = "tripwire"
    g = write_graph(tmp + "/g.json", stages, stage_path=[flow.BUILD + "/tests/flow/stages"], record={"edges": ["decode", "tripwire"], "ring": 1})
    flowrun(g, "--run", tmp + "/run", "-q", want=3)
    holds("of decode written out: " in slurp(tmp + "/run/log.jsonl").decode(), "the log tells why")
    with open(tmp + "/run/quarantine/0.json") as f:
        same([t["id"] for t in json.load(f)["tiles"]], ["sample_00111"], "in quarantine")
    got = [n for path in sorted(glob.glob(tmp + "/run/recordings/decode.*")) for n in batches(path)]
    holds(0 in got, "batch 0 is in the ring: %r" % got)


def a_ring_is_written_when_the_run_fails(tmp):
    """The batch that a stage failed over is there, although everybody is killed at once."""
    os.mkdir(tmp + "/o")
    os.mkdir(tmp + "/tiles")
    good = sorted(glob.glob(TILES + "/*.jpg"))[:11]
    for i, path in enumerate(good):
        os.symlink(path, tmp + "/tiles/t%02d.jpg" % i)
    with open(tmp + "/tiles/t11.jpg", "wb") as f:
        f.write(b"\xff\xd8 no picture")
    stages = flow.chain(tmp + "/o", tmp + "/tiles/*.jpg", batch=2)
    stages["decode"]["options"] = {"on_bad_tile": "fail"}
    rc, _, err = flowrun(write_graph(tmp + "/g.json", stages, record={"edges": "tiles", "ring": 1}), "--run", tmp + "/run", "-q", want=1)
    holds("t11" in err, "the message names the tile: " + err)
    got = batches(tmp + "/run/recordings/tiles.0000.flr")
    holds(5 in got, "batch 5 is in the ring: %r" % got)


def rings_are_within_the_memory(tmp):
    """Own memory of the recorders: as many batches as the ring has or are in flight, of 196608 bytes a tile and little more."""
    os.mkdir(tmp + "/o")
    g = write_graph(tmp + "/g.json", flow.chain(tmp + "/o", TILES + "/*.jpg", batch=4), memory="60MB")
    for ring in (2, 4, 20):
        out = flowrun("plan", g, "--record", "decode", "--set", "record.ring=%d" % ring)[1]
        window = int(re.search(r"memory: (\d+) batches in flight", out).group(1))
        own = float(re.search(r"record-decode .* (\d+\.\d) MB\n", out).group(1)) * 1e6
        want = max(ring, window) * 4 * 196608
        holds(want < own < 1.05 * want + 5e4, "ring %d, window %d: %d bytes, want %d: %s" % (ring, window, own, want, out))
        slabs, stages = re.search(r"= (\d+\.\d) MB in slabs and (\d+\.\d) MB of stages' own, the bound is 60.0 MB", out).groups()
        holds(float(slabs) + float(stages) <= 60.1, out)
    _, _, err = flowrun("plan", g, "--record", "decode", "--set", "record.ring=100", want=2)
    holds("memory is 60.0MB, but stages allocate " in err, err)


def a_person_asks(tmp):
    os.mkdir(tmp + "/o")
    g = write_graph(tmp + "/g.json", flow.chain(tmp + "/o", TILES + "/*.jpg", batch=4), record={"edges": "all", "ring": 1})
    run = Run(g, "--run", tmp + "/run", "-q")
    flow.wait_for(lambda: flow.committed(tmp + "/run") > 64 or run.p.poll() is not None, "progress")
    same(subprocess.run([flow.FLOWRUN, "dump", tmp + "/run"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60).returncode, 0, "dump")
    holds(batches(tmp + "/run/recordings/decode_f2.0000.flr"), "batches of the ring")
    same(run.end()[0], 0, "status")
    run = Run(write_graph(tmp + "/g.json", flow.chain(tmp + "/o", TILES + "/*.jpg", batch=4)), "--run", tmp + "/none", "-q")
    flow.wait_for(lambda: flow.committed(tmp + "/none") > 64 or run.p.poll() is not None, "progress")
    p = subprocess.run([flow.FLOWRUN, "dump", tmp + "/none"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60)
    holds(p.returncode == 1 and b"nothing is recorded in this run" in p.stderr, p.stderr)
    same(run.end()[0], 0, "status")
    _, _, err = flowrun("dump", tmp + "/run", want=2)
    holds("no flowrun works in this run directory" in err, err)


def a_resumed_run_goes_on_recording(tmp):
    os.mkdir(tmp + "/o")
    g = write_graph(tmp + "/g.json", flow.chain(tmp + "/o", TILES + "/*.jpg", batch=4))
    run = Run(g, "--run", tmp + "/run", "-q", "--record", "stack", "--record-limit", "1GB")
    flow.wait_for(lambda: flow.committed(tmp + "/run") > 64 or run.p.poll() is not None, "progress")
    run.kill()
    flowrun("--resume", tmp + "/run", "-q")
    same(report(tmp + "/run")["predicted"], 300, "tiles")
    holds(len(files(tmp + "/run")) == 2, "a second segment: %r" % files(tmp + "/run"))


def what_is_refused(tmp):
    os.mkdir(tmp + "/o")
    stages = flow.chain(tmp + "/o", TILES + "/*1.jpg")
    for record, want in [
        ("decod", "no stage is called decod; did you mean decode?"),
        ("alll", "no stage is called alll; did you mean all?"),
        ({"edges": "decode", "limit": 3}, "unknown key limit, want edges, keep, every, ring or zstd"),
        ({"edges": "decode", "kep": 3}, "unknown key kep; did you mean keep?"),
        ({"edges": "decode", "keep": "much"}, "keep is text \"much\", want a size"),
        ({"edges": "decode", "every": 0}, "every is 0, want 1 to 1000000000"),
        ({"ring": 3}, "want the names of the stages"),
        ("sink", "reads sink, which gives nothing"),
    ]:
        _, _, err = flowrun("check", write_graph(tmp + "/g.json", stages, record=record), want=2)
        holds(want in err, "%r: %s" % (record, err))
    flowrun("check", write_graph(tmp + "/g.json", stages), "--set", "record=net")


def too_little_to_keep_is_refused(tmp):
    """The least that is named will do, and is kept to."""
    os.mkdir(tmp + "/o")
    g = write_graph(tmp + "/g.json", flow.chain(tmp + "/o", TILES + "/*1.jpg", batch=4))
    for more, batches_ in ([], "one batch"), (["--set", "record.ring=4"], "a ring of 4 batches"):
        record = ["--record", "decode,net", *more, "--record-limit"]
        _, _, err = flowrun(g, "--run", tmp + "/run", *record, "3", want=2)
        least = re.search(r"keep is 3, but %s of each edge takes more: want at least (\S+)$" % batches_, err, re.M)
        holds(least, err)
        holds(not os.path.exists(tmp + "/run"), "nothing was started")
        flowrun("check", g, *record, least.group(1))
    flowrun(g, "--run", tmp + "/run", "-q", "--record", "decode,net", "--record-limit", "1MB")
    size = sum(os.path.getsize(p) for p in glob.glob(tmp + "/run/recordings/*"))
    holds(300000 < size <= 1000000, "%d bytes on disk" % size)


if __name__ == "__main__":
    sys.exit(flow.run_cases([every_edge_is_recorded_and_results_stay, the_limit_is_shared_by_what_edges_carry, a_ring_is_written_when_a_stage_is_killed, what_is_on_its_way_to_a_ring_is_waited_for,
                             a_ring_is_written_when_a_tile_goes_to_quarantine, a_ring_is_written_when_the_run_fails, rings_are_within_the_memory,
                             a_person_asks, a_resumed_run_goes_on_recording, too_little_to_keep_is_refused, what_is_refused]))
