"""1,000 times decode is killed and started again: descriptors, slabs and memory of all processes stay flat, and nothing is lost."""
import os
import signal
import statistics
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import TILES, Run, holds, open_files, pss, report, same, wait_for, write_graph    # noqa: E402

CYCLES = int(os.environ.get("CYCLES", "1000"))
N = 100 * CYCLES

with tempfile.TemporaryDirectory(dir=".") as tmp:
    tmp = os.path.abspath(tmp)
    os.mkdir(tmp + "/tiles")
    samples = sorted(os.listdir(TILES))
    for i in range(N):
        os.link(os.path.join(TILES, samples[i % len(samples)]), "%s/tiles/t%06d.jpg" % (tmp, i))
    graph = {"tiles": {"stage": "source", "options": {"files": tmp + "/tiles/*.jpg", "batch": 4}}, "decode": {"from": "tiles"}, "sink": {"from": "decode"}}
    run, seen, last = Run(write_graph(tmp + "/graph.json", graph, memory="60MB"), "--run", tmp + "/run", "-q"), [], 0
    for cycle in range(CYCLES):
        # something more is committed: the new one has worked, so every restart is a whole one
        done = flow.committed(tmp + "/run")
        wait_for(lambda: run.p.poll() is not None or (flow.committed(tmp + "/run") > max(done, 64) and run.stages().get("decode", [last]) != [last]), "a new decode at work")
        holds(run.p.poll() is None, "it ended after %d cycles: %s" % (cycle, run.said()[1]))
        if cycle % 20 == 0:
            pids = [run.p.pid] + [p for of in run.stages().values() for p in of]
            seen.append((open_files(pids), pss(pids, "Pss_Anon"), pss(pids, "Pss_Shmem")))
        last = run.stages()["decode"][0]
        os.kill(last, signal.SIGKILL)
    rc, _, err = run.end(600)
    same(rc, 0, "status: %s" % err[-500:])
    r = report(tmp + "/run")
    same([r["tiles"], r["predicted"] + r["rejected"], r["restarts"]], [N, N, CYCLES], "tiles, deaths")
    early, late = seen[1:1 + len(seen) // 3], seen[-(len(seen) // 3):]
    holds(max(f for f, _, _ in late) <= max(f for f, _, _ in early) + 2, "open files: %r" % [f for f, _, _ in seen])
    middle = statistics.median                       # a look may fall into the birth of a decode; the sink's index takes 8 bytes a batch
    holds(middle(m for _, m, _ in late) <= 1.05 * middle(m for _, m, _ in early) + 8 * N / 4, "memory: %r" % [m for _, m, _ in seen])
    holds(max(s for _, _, s in late) <= 66e6, "slabs: %r" % [s for _, _, s in seen])
    print("%d cycles; open files %d, then %d; memory %.1f MB, then %.1f MB; slabs %.1f MB" % (
        CYCLES, early[-1][0], late[-1][0], middle(m for _, m, _ in early) / 1e6, middle(m for _, m, _ in late) / 1e6, late[-1][2] / 1e6))
