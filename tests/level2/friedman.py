"""Friedman-1 by scikit-learn: friedman.py OUT. For ten seeds: f32 x [1000][10] f64 y [1000], 500 rows to fit and 500 to score, and the
R2 that ExtraTreesRegressor reaches on the latter with the same number of columns at a node and the same least node."""
import sys

import numpy as np
from sklearn.datasets import make_friedman1
from sklearn.ensemble import ExtraTreesRegressor

with open(sys.argv[1], "wb") as f:
    for seed in range(10):
        x, y = make_friedman1(1000, 10, noise=1.0, random_state=seed)
        x = x.astype("<f4")
        m = ExtraTreesRegressor(100, max_features=3, min_samples_split=5, random_state=seed).fit(x[:500], y[:500])
        f.write(x.tobytes() + y.astype("<f8").tobytes() + np.float64(m.score(x[500:], y[500:])).tobytes())
