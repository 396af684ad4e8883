"""Reference solutions from scikit-learn and SciPy: linear.py IN OUT. IN: i32 n, P, T, then f64 x [n][P], y [n][T]; OUT: coefficients."""
import struct
import sys

import numpy as np
from scipy.optimize import nnls
from sklearn.linear_model import LinearRegression, Ridge

raw = open(sys.argv[1], "rb").read()
n, P, T, M = struct.unpack_from("<4i", raw)
x = np.frombuffer(raw, "<f8", n * P, 16).reshape(n, P)
y = np.frombuffer(raw, "<f8", n * T, 16 + 8 * n * P).reshape(n, T)
out = []


def put(coef, intercept):
    out.append(np.ascontiguousarray(np.asarray(coef).reshape(T, P).T).ravel())
    out.append(np.asarray(intercept, "<f8").ravel())


for alpha in (1.0, 30.0):
    m = Ridge(alpha=alpha, solver="cholesky").fit(x, y)
    put(m.coef_, m.intercept_)
m = LinearRegression().fit(x, y)
put(m.coef_, m.intercept_)

xm, ym = x.mean(0), y.mean(0)
coef = np.stack([nnls(x - xm, y[:, t] - ym[t])[0] for t in range(T)])
put(coef, ym - coef @ xm)

L = P // M                     # two steps: each model's labels, then each label over the models; T = L
gave = [Ridge(alpha=1.0, solver="cholesky").fit(x[:, L * j:L * j + L], y) for j in range(M)]
first = np.stack([m.predict(x[:, L * j:L * j + L]) for j, m in enumerate(gave)])
coef, intercept = np.zeros((T, P)), np.zeros(T)
for t in range(T):
    top = Ridge(alpha=1.0, solver="cholesky").fit(first[:, :, t].T, y[:, t])
    intercept[t] = top.intercept_ + sum(top.coef_[j] * gave[j].intercept_[t] for j in range(M))
    for j in range(M):
        coef[t, L * j:L * j + L] = top.coef_[j] * gave[j].coef_[t]
put(coef, intercept)
np.concatenate(out).astype("<f8").tofile(sys.argv[2])
