"""100,000 tiles through the graph: resident memory of all processes stays flat, and what is shared within the printed bound + 10 %."""
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import MODELS, TILES, Run, chain, flowrun, holds, open_files, pss, report, same, write_graph    # noqa: E402

N = int(os.environ.get("SOAK_TILES", "100000"))
BOUND = 300e6

with tempfile.TemporaryDirectory(dir=".") as tmp:
    tmp = os.path.abspath(tmp)
    os.mkdir(tmp + "/tiles")
    samples = sorted(os.listdir(TILES))
    for i in range(N):
        os.link(os.path.join(TILES, samples[i % len(samples)]), "%s/tiles/t%06d.jpg" % (tmp, i))
    stages = chain(tmp, tmp + "/tiles/*.jpg", batch=64, models=MODELS[:1], instances=2)
    path = write_graph(tmp + "/graph.json", stages, memory=int(BOUND))
    run, seen = Run(path, "--run", tmp + "/run"), []
    while run.p.poll() is None:
        time.sleep(2)
        pids = [run.p.pid] + [p for of in run.stages().values() for p in of]
        done = flow.committed(tmp + "/run")
        if done > 64:
            seen.append((pss(pids), open_files(pids), pss(pids, "Pss_Shmem")))
    rc, _, err = run.end()
    same(rc, 0, "status: " + err[-500:])
    r = report(tmp + "/run")
    same([r["tiles"], r["predicted"], r["rejected"]], [N, N, 0], "tiles")
    seen = seen[:-1]                                  # the last look may fall into the end
    fifth = max(1, len(seen) // 5)
    early, late = (max(m for m, _, _ in part) for part in (seen[fifth:2 * fifth], seen[-fifth:]))
    most = max(m for _, _, m in seen)
    same(len({f for _, f, _ in seen[fifth:]}) <= 3, True, "open files stay the same: %r" % sorted({f for _, f, _ in seen}))
    holds(late <= early * 1.05, "memory is flat: %.1f MB in the second fifth, %.1f MB in the last" % (early / 1e6, late / 1e6))
    holds(most <= BOUND * 1.1, "the slabs are within the bound of %.0f MB + 10 %%: %.1f MB" % (BOUND / 1e6, most / 1e6))
    print("%d tiles in %.0f s; %.1f MB early, %.1f MB late, slabs %.1f MB at most (bound %.0f MB)" % (N, r["seconds"], early / 1e6, late / 1e6, most / 1e6, BOUND / 1e6))
