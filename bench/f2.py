"""The exact decoder in NumPy: bench/f2.py FILE ROWS all|row. Prints rows a second (processor time) and labels a row.

all: all rows at once, the most that NumPy gives; row: the same code called with one row at a time
(every eighth), where the planning of einsum takes most of the time; a loop written for single rows is some 15 to 25 times faster (docs/performance.md)."""
import sys
import time

import numpy as np


def join(d, p):
    """One more label joins the distributions of a count [N, k]."""
    out = np.zeros((d.shape[0], d.shape[1] + 1))
    out[:, :-1] += d * (1 - p)[:, None]
    out[:, 1:] += d * p[:, None]
    return out


def decode(p):
    n, labels = p.shape
    order = np.argsort(-p, axis=1, kind="stable")
    q = np.take_along_axis(p, order, 1)
    rest = [np.ones((n, 1))]
    for k in range(labels - 1, -1, -1):
        rest.append(join(rest[-1], q[:, k]))
    rest = rest[::-1]
    best, value, head = np.zeros(n, int), np.zeros(n), np.ones((n, 1))
    for k in range(labels + 1):
        a, b = np.arange(k + 1), np.arange(labels - k + 1)
        w = 5.0 * a[:, None] / np.maximum(k + 4 * (a[:, None] + b), 1)
        e = np.einsum("na,ab,nb->n", head, w, rest[k], optimize=True)
        better = e > value + 1e-12
        best[better], value[better] = k, e[better]
        if k < labels:
            head = join(head, q[:, k])
    return order, best, value


p = np.fromfile(sys.argv[1]).reshape(int(sys.argv[2]), 17)
p = p[::8] if sys.argv[3] == "row" else p
start = time.process_time()
size = np.concatenate([decode(r[None])[1] for r in p]) if sys.argv[3] == "row" else decode(p)[1]
spent = time.process_time() - start
print("%.6g %.6f" % (len(p) / spent, size.mean()))
