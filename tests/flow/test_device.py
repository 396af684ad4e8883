"""forward on a device that paints views itself and keeps two executions in flight: the numbers of the reference. The device is plain loops."""
import csv
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from flow import BUILD, MODELS, TILES, chain, flowrun, holds, run_cases, same, write_graph

FILES = [os.path.join(TILES, "sample_%05d.jpg" % i) for i in range(3)]


def answers(tmp, name, device, rows, files, **env):
    out = os.path.join(tmp, name)
    os.mkdir(out)
    views = ["flips", "scaled"]
    graph = write_graph(out + "/graph.json", chain(out, files, batch=3, models=MODELS[:2], views=views, net={"device": device, "rows": rows, "precision": "f32"}))
    want = 0 if files == FILES else None
    flowrun(graph, "-q", "--run", out + "/run", want=want, env=dict(os.environ, **env))
    with open(out + "/probs.csv", newline="") as f:
        return {r.pop("image_name"): [float(v) for v in r.values()] for r in csv.DictReader(f)}


def numbers_are_the_references(tmp):
    want = answers(tmp, "ref", "ref", 8, FILES)
    bad = os.path.join(tmp, "bad.jpg")
    with open(bad, "wb") as f:
        f.write(b"no picture")
    for name, rows, files in (("one", 5, FILES), ("bad", 4, [FILES[0], bad, FILES[2]])):
        got = answers(tmp, name, "cuda", rows, files, FLOWRUN_PLUGINS=os.path.join(BUILD, "tests/plugins"))
        same(len(got), len([f for f in files if f != bad]), name)
        for tile, row in got.items():
            off = max(abs(a - b) for a, b in zip(row, want[tile]))
            holds(off <= 2e-5, "%s, %s: off by %g" % (name, tile, off))


if __name__ == "__main__":
    sys.exit(run_cases((numbers_are_the_references,)))
