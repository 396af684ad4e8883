#!/usr/bin/python3
"""The reference side of test_augment_parity: draws, warps and photometric ops from recipe formulas with NumPy, SciPy and OpenCV.

parity.py FOLDER    FOLDER/N.json says what was painted from FOLDER/N.tile into FOLDER/N.out; prints a line a case, status 1 when one is off
"""
import json
import os
import sys

import cv2
import numpy as np
from scipy import ndimage

DEFAULTS = {      # p, ranges in the order of the draws
    "d4": (1, []), "offset": (0.75, [("dx", -0.0625, 0.0625), ("dy", -0.0625, 0.0625)]), "random_crop": (1, []),
    "rotate": (1, [("theta", -45, 45)]), "scale": (0.75, [("s", 0.9, 1.1)]), "shear": (0.5, [("s", -0.1, 0.1)]),
    "random_sized_crop": (1, [("area", 0.25, 1), ("ratio", 0.8, 1.25)]), "scaled": (1, []),
    "distort_radial": (1, [("k", -0.35, 0.35), ("dx", -0.25, 0.25), ("dy", -0.25, 0.25)]), "distort_grid": (1, [("u", -0.2, 0.2)]),
    "distort_elastic": (1, []), "contrast": (0.5, [("al", 0.8, 1.2)]), "contrast_mid": (1, [("al", 0.8, 1.2)]),
    "channel_mul": (0.5, [("m", 0.9, 1.1)]), "channel_add": (1, [("a", -5, 5)]),
    "hsv": (0.3, [("dh", -40, 40), ("ds", -30, 30), ("dv", -20, 20)]), "blur": (0.2, [("b", 0, 0.5)]), "blur_gauss": (0.2, [("s", 0, 1)]),
    "one_of": (1, []), "group": (1, []),
}
BIASED = {"scale", "shear", "random_sized_crop", "distort_radial", "distort_grid", "distort_elastic", "contrast", "contrast_mid", "channel_mul",
          "channel_add", "hsv", "blur", "blur_gauss"}
GEOMETRIC = {"d4", "offset", "random_crop", "rotate", "scale", "shear", "random_sized_crop", "scaled", "distort_radial", "distort_grid", "distort_elastic"}


# ---- draws ----

def fnv(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def philox(seed, h, epoch, view, op, blocks):
    low, s32 = np.uint64(0xFFFFFFFF), np.uint64(32)
    n = len(blocks)
    a, b, c = (np.full(n, v, np.uint64) for v in (h & 0xFFFFFFFF, h >> 32, epoch))
    d = (np.uint64(view << 24 | op << 18) | np.asarray(blocks, np.uint64))
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p, q = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, b, c, d = (q >> s32) ^ b ^ np.uint64(k0), q & low, (p >> s32) ^ d ^ np.uint64(k1), p & low
        k0, k1 = k0 + 0x9E3779B9 & 0xFFFFFFFF, k1 + 0xBB67AE85 & 0xFFFFFFFF
    return np.stack([a, b, c, d], 1).reshape(-1)


class Draws:
    def __init__(self, case, op):
        self.case, self.op = case, op
        self.r = philox(case["seed"], fnv(case["id"]), case["epoch"], case["view"], op, range(64))
        self.at = 0

    def raw(self):
        self.at += 1
        return int(self.r[self.at - 1])

    def unit(self):
        return (self.raw() >> 8) * 2.0**-24

    def uniform(self, lo, hi):
        return lo + (hi - lo) * self.unit()

    def below(self, n):
        return self.raw() * n >> 32

    def noise(self, n, first):
        blocks = np.arange(first, first + (n + 3) // 4)
        r = philox(self.case["seed"], fnv(self.case["id"]), self.case["epoch"], self.case["view"], self.op, blocks)
        return -1 + 2 * ((r[:n] >> np.uint64(8)).astype(np.float64) * 2.0**-24)


# ---- the list in pre-order ----

def number(spec, at=0):
    """[(number, name, parameters, members)], next number"""
    out = []
    for entry in spec:
        name, given = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
        mine = at
        at += 1
        members = []
        if name in ("one_of", "group"):
            inner = given if isinstance(given, list) else given["ops"]
            given = {} if isinstance(given, list) else given
            members, at = number(inner, at)
        out.append((mine, name, given, members))
    return out, at


def halved(name, given):
    given = dict(given)
    for key, lo, hi in DEFAULTS[name][1]:
        lo, hi = given.get(key, [lo, hi])
        m = 1 if name in ("scale", "contrast", "contrast_mid", "channel_mul") else 0
        if key == "area":
            m = (lo + hi) / 2
        if key == "ratio":
            c, w = (np.log(lo) + np.log(hi)) / 2, (np.log(hi) - np.log(lo)) / 4
            given[key] = [np.exp(c - w), np.exp(c + w)]
            continue
        if name == "rotate" and (lo, hi) == (0, 360):
            lo, hi = -180, 180
        given[key] = [m + (lo - m) / 2, m + (hi - m) / 2]
    if name == "distort_elastic":
        given["alpha"] = given.get("alpha", 200) / 2
    return given


def resolve(case):
    """What is applied, in order: [(name, parameters, draws)]."""
    done = []

    def dropped(name):
        return case["phase"] == "none" or (case["phase"] == "unbiased" and name in BIASED)

    def one(op, chosen):
        num, name, given, members = op
        if dropped(name):
            return
        d = Draws(case, num)
        p = given.get("p", DEFAULTS[name][0])
        if not d.unit() < p and not chosen:
            return
        if name == "group":
            for m in members:
                one(m, False)
        elif name == "one_of":
            weights = [0 if dropped(m[1]) else m[2].get("p", DEFAULTS[m[1]][0]) for m in members]
            u = d.unit() * sum(weights)
            for m, edge in zip(members, np.cumsum(weights)):
                if u < edge:
                    one(m, True)
                    break
        else:
            done.append((name, halved(name, given) if case["halved"] else given, d))

    for op in number(case["ops"])[0]:
        one(op, False)
    return done


# ---- geometry: each op gives the side after it and a function from its output to its input ----

def piecewise(u, n, side):
    knots = np.concatenate([[0], np.cumsum(1 + u)]) * (side - 1) / np.sum(1 + u)
    regular = np.arange(n + 1) * (side - 1) / n

    def f(x):
        cell = np.clip(np.floor(x * n / (side - 1)).astype(int), 0, n - 1)
        return knots[cell] + (x - regular[cell]) * (knots[cell + 1] - knots[cell]) * n / (side - 1)
    return f


def geometric(name, given, d, side, size):
    c = (side - 1) / 2
    ranges = {key: given.get(key, [lo, hi]) for key, lo, hi in DEFAULTS[name][1]}
    if name == "d4":
        g = d.below(8)

        def f(x, y):
            x, y = (side - 1 - x if g & 1 else x), (side - 1 - y if g & 2 else y)
            return (y, x) if g & 4 else (x, y)
        return side, f
    if name == "offset":
        dx, dy = d.uniform(*ranges["dx"]), d.uniform(*ranges["dy"])
        return side, lambda x, y: (x - dx * side, y - dy * side)
    if name == "random_crop":
        x0, y0 = d.below(side - size + 1), d.below(side - size + 1)
        return size, lambda x, y: (x + x0, y + y0)
    if name == "rotate":
        lo, hi = ranges["theta"]
        t = np.deg2rad(np.ceil(lo) + d.below(int(np.floor(hi) - np.ceil(lo)) + 1) if given.get("integer") else d.uniform(lo, hi))
        return side, lambda x, y: (c + np.cos(t) * (x - c) - np.sin(t) * (y - c), c + np.sin(t) * (x - c) + np.cos(t) * (y - c))
    if name == "scale":
        s = d.uniform(*ranges["s"])
        return side, lambda x, y: (c + (x - c) / s, c + (y - c) / s)
    if name == "shear":
        s, axis = d.uniform(*ranges["s"]), None
        axis = d.below(2)
        return side, (lambda x, y: (x, y - s * (x - c))) if axis else (lambda x, y: (x - s * (y - c), y))
    if name == "random_sized_crop":
        for _ in range(10):
            area, r = d.uniform(*ranges["area"]) * side * side, d.uniform(*ranges["ratio"])
            w, h = round(np.sqrt(area * r)), round(np.sqrt(area / r))
            if d.unit() < 0.5:
                w, h = h, w
            rx, ry = d.raw(), d.raw()
            if w <= side and h <= side:
                x0, y0 = rx * (side - w + 1) >> 32, ry * (side - h + 1) >> 32
                break
        else:
            x0 = y0 = 0
            w = h = side
        return size, lambda x, y: (x0 + (x + 0.5) * w / size - 0.5, y0 + (y + 0.5) * h / size - 0.5)
    if name == "scaled":
        return size, lambda x, y: ((x + 0.5) * side / size - 0.5, (y + 0.5) * side / size - 0.5)
    if name == "distort_radial":
        k, dx, dy = (d.uniform(*ranges[key]) for key in ("k", "dx", "dy"))
        cx, cy = c + dx * side, c + dy * side

        def f(x, y):
            u, v = x - cx, y - cy
            m = 1 + k * 1e-5 * (256 / side) ** 2 * (u * u + v * v)
            return cx + m * u, cy + m * v
        return side, f
    if name == "distort_grid":
        n = given.get("n", 10)
        fx = piecewise(np.array([d.uniform(*ranges["u"]) for _ in range(n)]), n, side)
        fy = piecewise(np.array([d.uniform(*ranges["u"]) for _ in range(n)]), n, side)
        return side, lambda x, y: (fx(x), fy(y))
    if name == "distort_elastic":
        n = side * side
        noise = [d.noise(n, 1).reshape(side, side), d.noise(n, 1 + (n + 3) // 4).reshape(side, side)]
        field = [given.get("alpha", 200) * ndimage.gaussian_filter(v, given.get("sigma", 10), mode="mirror", truncate=4) for v in noise]

        def f(x, y):
            at = [np.clip(y, 0, side - 1), np.clip(x, 0, side - 1)]
            return tuple(p + ndimage.map_coordinates(v, at, order=1, mode="nearest") for p, v in zip((x, y), field))
        return side, f
    raise KeyError(name)


# ---- photometry on [C,H,W] in [0,1] ----

def photometric(name, given, d, x):
    C = len(x)
    ranges = {key: given.get(key, [lo, hi]) for key, lo, hi in DEFAULTS[name][1]}
    band = lambda v: np.array(v)[:, None, None]
    if name == "contrast":
        al = d.uniform(*ranges["al"])
        m = np.full(C, 0.299 * x[0].mean() + 0.587 * x[1].mean() + 0.114 * x[2].mean())
        m[3:] = [v.mean() for v in x[3:]]
        x = al * x + (1 - al) * band(m)
    elif name == "contrast_mid":
        al = band([d.uniform(*ranges["al"]) for _ in range(C)])
        x = al * (x - 0.5) + 0.5
    elif name == "channel_mul":
        x = x * band([d.uniform(*ranges["m"]) for _ in range(C)])
    elif name == "channel_add":
        lo, hi = np.ceil(ranges["a"][0]), np.floor(ranges["a"][1])
        x = x + band([lo + d.below(int(hi - lo) + 1) for _ in range(C)]) / 255
    elif name == "hsv":
        dh, ds, dv = (d.uniform(*ranges[key]) for key in ("dh", "ds", "dv"))
        hsv = cv2.cvtColor(np.ascontiguousarray(x[:3].transpose(1, 2, 0).astype(np.float32)), cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + dh) % 360
        hsv[..., 1] = np.clip(hsv[..., 1] + ds / 255, 0, 1)
        hsv[..., 2] = np.clip(hsv[..., 2] + dv / 255, 0, 1)
        x = np.concatenate([cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).transpose(2, 0, 1).astype(np.float64), x[3:]])
    elif name == "blur":
        b = d.uniform(*ranges["b"])
        x = (1 - b) * x + b * np.stack([ndimage.uniform_filter(v, 3, mode="mirror") for v in x])
    elif name == "blur_gauss":
        s = d.uniform(*ranges["s"])
        x = np.stack([ndimage.gaussian_filter(v, s, mode="mirror", truncate=4) for v in x])
    return np.clip(x, 0, 1)


def paint(case, tile):
    """f64 [C,S,S] in [0,1]; tile [H,W,C] in [0,1]."""
    side, size, steps = len(tile), case["size"], []
    acts = resolve(case)
    for name, given, d in acts:
        if name in GEOMETRIC:
            side, f = geometric(name, given, d, side, size)
            steps.append(f)
    cut = (side - size) // 2
    y, x = np.meshgrid(np.arange(size) + cut, np.arange(size) + cut, indexing="ij")
    x, y = x.astype(np.float64), y.astype(np.float64)
    for f in reversed(steps):
        x, y = f(x, y)
    out = np.stack([ndimage.map_coordinates(tile[..., c], [y, x], order=1, mode="mirror") for c in range(tile.shape[2])])
    for name, given, d in acts:
        if name not in GEOMETRIC:
            out = photometric(name, given, d, out)
    return out


def main(folder):
    bad = 0
    for n in range(sum(name.endswith(".json") for name in os.listdir(folder))):
        with open("%s/%d.json" % (folder, n)) as f:
            case = json.load(f)
        dtype, M = (np.uint8, 255) if case["dtype"] == "u8" else (np.uint16, 65535)
        tile = np.fromfile("%s/%d.tile" % (folder, n), dtype).reshape(case["tile"], case["tile"], -1) / M
        got = np.fromfile("%s/%d.out" % (folder, n), np.float32).astype(np.float64).reshape(-1, case["size"], case["size"])
        off = np.abs(got - paint(case, tile))
        ok = off.max() <= case["most"] and np.sqrt((off**2).mean()) <= case["rms"]
        bad += not ok
        print("%s %-8s %-5s epoch %u view %u %s: off by %.2e, rms %.2e, allowed %.0e, %.0e" % ("ok  " if ok else "FAIL", case["id"], case["how"],
              case["epoch"], case["view"], json.dumps(case["ops"]), off.max(), np.sqrt((off**2).mean()), case["most"], case["rms"]))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
