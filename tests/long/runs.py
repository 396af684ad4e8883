"""50 whole runs: each complete, each the same to the byte."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from flow import TILES, chain, flowrun, same, slurp, write_graph   # noqa: E402

RUNS = 50
want = None
with tempfile.TemporaryDirectory() as tmp:
    for i in range(RUNS):
        out = "%s/%d" % (tmp, i)
        os.mkdir(out)
        flowrun(write_graph(out + "/graph.json", chain(out, TILES + "/*.jpg", instances=1 + i % 3)), "--run", out + "/run", "-q")
        got = slurp(out + "/predictions.csv") + slurp(out + "/probs.csv")
        want = want or got
        same(got == want, True, "run %d gives what the first gave" % i)
print("%d runs complete and equal" % RUNS)
