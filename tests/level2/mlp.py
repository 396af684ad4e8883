"""The network of stages/level2/mlp.h in NumPy, in double: mlp.py IN OUT. IN: i32 n, P, T, hidden, seeds, batch, epochs, seed, f64 dropout, f64 x [n][P] (float32
values), f64 y [n][T]; OUT: f64 predictions [n][T] of the same rows."""
import struct
import sys

import numpy as np

raw = open(sys.argv[1], "rb").read()
n, P, T, H, seeds, B, epochs, seed = struct.unpack_from("<8i", raw)
drop = struct.unpack_from("<d", raw, 32)[0]
x = np.frombuffer(raw, "<f8", n * P, 40).reshape(n, P)
y = np.frombuffer(raw, "<f8", n * T, 40 + 8 * n * P).reshape(n, T)
U = np.uint64
LOW = U(0xFFFFFFFF)


def philox(c0, c1, c2, c3):
    c = [np.broadcast_to(np.asarray(v, U), np.broadcast(c0, c1, c2, c3).shape).copy() for v in (c0, c1, c2, c3)]
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0, p1 = U(0xD2511F53) * c[0], U(0xCD9E8D57) * c[2]
        c = [(p1 >> U(32)) ^ c[1] ^ U(k0), p1 & LOW, (p0 >> U(32)) ^ c[3] ^ U(k1), p0 & LOW]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def name(s, what):
    h = 0xcbf29ce484222325
    for b in ("mlp/%d/%s" % (s, what)).encode():
        h = ((h ^ b) * 0x100000001b3) & 0xFFFFFFFFFFFFFFFF
    return h


def split(h):
    return h & LOW, h >> U(32)


def order(s, what, epoch, rows):
    h = U(name(s, what)) + rows.astype(U)
    c = philox(*split(h), U(epoch), U(63 << 18))
    return rows[np.lexsort((rows, (c[0] << U(32)) | c[1]))]


def init(s, what, fan, shape):
    m = int(np.prod(shape))
    i = np.arange((m + 3) // 4, dtype=U)
    h = name(s, "init/" + what)
    r = np.stack(philox(U(h & 0xFFFFFFFF), U(h >> 32), i, U(0)), 1).ravel()[:m]
    bound = 1 / np.sqrt(fan)
    return (-bound + 2 * bound * ((r >> U(8)).astype("f8") * 2.0 ** -24)).astype("f4").astype("f8").reshape(shape)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def loss(z, t):
    return np.mean(np.maximum(z, 0) - z * t + np.log1p(np.exp(-np.abs(z))))


x = (x - x.mean(0)) / x.std(0)
out = np.zeros((n, T))
for s in range(seeds):
    w = [init(s, "w1", P, (P, H)), init(s, "b1", P, (H,)), init(s, "w2", H, (H, T)), init(s, "b2", H, (T,))]
    m, v, step = [a * 0 for a in w], [a * 0 for a in w], 0
    rows = order(s, "split", 0, np.arange(n))
    held, fit = rows[:n // 10], rows[n // 10:]
    best, kept, since = np.inf, None, 0
    for epoch in range(epochs):
        fit = order(s, "order", epoch, fit)
        for at in range(0, len(fit), B):
            r = fit[at:at + B]
            keep = np.ones((len(r), H))
            if drop > 0:
                h = (U(name(s, "dropout")) + r.astype(U))[:, None]
                block = U(61 << 18) | np.arange((H + 3) // 4, dtype=U)[None]
                u = np.stack(philox(*split(h), U(epoch), block), 2).reshape(len(r), -1)[:, :H]
                keep = ((u >> U(8)).astype("f8") * 2.0 ** -24 >= drop) / (1 - drop)
            a = np.maximum(x[r] @ w[0] + w[1], 0) * keep
            z = a @ w[2] + w[3]
            dz = (sigmoid(z) - y[r]) / (T * len(r))
            da = (dz @ w[2].T) * keep * (a > 0)
            g = [x[r].T @ da, da.sum(0), a.T @ dz, dz.sum(0)]
            step += 1
            for i in range(4):
                m[i] = .9 * m[i] + .1 * g[i]
                v[i] = .999 * v[i] + .001 * g[i] ** 2
                w[i] = w[i] - 1e-3 / (1 - .9 ** step) * m[i] / (np.sqrt(v[i]) / np.sqrt(1 - .999 ** step) + 1e-8)
        now = loss(np.maximum(x[held] @ w[0] + w[1], 0) @ w[2] + w[3], y[held])
        since = 0 if now < best else since + 1
        if now < best:
            best, kept = now, [a.copy() for a in w]
        if since == 3:
            break
    out += sigmoid(np.maximum(x @ kept[0] + kept[1], 0) @ kept[2] + kept[3]) / seeds
out.tofile(sys.argv[2])
