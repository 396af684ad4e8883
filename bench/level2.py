"""scikit-learn's side of the second level's comparisons: level2.py MODE DIR TREES; see bench/level2.c."""
import resource
import sys
import time

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_info

N, HELD, P, L, FOLDS = 40479, 8000, 816, 17, 10
mode, where, trees = sys.argv[1], sys.argv[2], int(sys.argv[3])


def load(rows, skip):
    x = np.fromfile(where + "/x.f32", "<f4", rows * P, offset=4 * skip * P).reshape(rows, P)
    return x, np.fromfile(where + "/y.u8", "u1", rows * L, offset=skip * L).reshape(rows, L)


def memory_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


x, y = load(N, 0)
if mode == "ridge10":
    if not any(t["user_api"] == "blas" for t in threadpool_info()):
        raise SystemExit("NumPy computes with the reference BLAS, which nobody would time: apt-get install libopenblas0-pthread")
    x = x.astype("f8")             # our sums are in double
    yd, out, fold = y.astype("f8"), np.empty((N, L)), np.arange(N) % FOLDS
    start = time.process_time()
    for k in range(FOLDS):
        out[fold == k] = Ridge(alpha=1.0, solver="cholesky").fit(x[fold != k], yd[fold != k]).predict(x[fold == k])
    print("%.6f %.9f %.1f" % (time.process_time() - start, np.mean((out - y) ** 2), memory_mb()))
else:
    m = ExtraTreesRegressor(trees, max_features=1.0, min_samples_split=2, random_state=1, n_jobs=2)
    start = time.process_time()
    m.fit(x, y)
    took, mb = time.process_time() - start, memory_mb()
    if mode == "trees-fit":
        x, y = load(HELD, N)
    start = time.process_time()
    out = m.predict(x)
    if mode == "trees-predict":
        took = time.process_time() - start
    nodes = sum(e.tree_.node_count for e in m.estimators_)
    print("%.6f %.6f %.1f %d nodes" % (took, np.mean((out - y) ** 2), mb, nodes))
