#!/usr/bin/env python3
"""Trains one network twice on every fold, once fed by a flowrun graph and once by a plain PyTorch DataLoader, and compares the scores.

    compare_loaders.py --images ucmerced/jpg --table ucmerced/labels.csv --size 64 --epochs 40 --out runs/ucmerced

The table has columns file and tags. Folds are cut by `flowrun folds --method iterative`. Both sides share network, initial weights, optimiser,
schedule (train.py's annealing cycle) and validation; they differ in who reads, augments and batches. Flowrun draws --preset; the DataLoader
what its user would write in torchvision: flips, quarter turns, a scale, contrast, blur. Prints a line a fold, then means and the paired statistic.
A comparison that was stopped goes on at the training it was in.
"""
import argparse
import csv
import json
import math
import os
import statistics
import subprocess
import sys
import time

import train                                             # first: it sets up malloc and may start python anew
import numpy as np
import torch
import torchvision.transforms as T
from PIL import Image

import flowrun
from flowrun import convert
from flowrun.run import program


# ---- the other side ----

class Tiles(torch.utils.data.Dataset):
    def __init__(self, folder, rows, labels, size):
        self.folder, self.rows, self.labels = folder, rows, labels
        quarters = T.RandomChoice([T.Lambda(lambda x, k=k: x.rotate(90 * k)) for k in range(4)])
        self.transform = T.Compose([
            T.Resize((size, size)), T.RandomHorizontalFlip(), quarters,
            T.RandomApply([T.RandomAffine(0, scale=(0.9, 1.1), interpolation=T.InterpolationMode.BILINEAR)], 0.75),
            T.RandomApply([T.ColorJitter(contrast=0.2)], 0.5), T.RandomApply([T.GaussianBlur(3, (0.1, 0.8))], 0.2),
            T.ToTensor(), T.Normalize(convert.MEAN, convert.STD)])

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        file, tags = self.rows[i]
        with Image.open(os.path.join(self.folder, file)) as image:
            x = self.transform(image.convert("RGB"))
        return x, torch.tensor([float(name in tags) for name in self.labels])


class PlainBatch:
    def __init__(self, number, per_epoch, x, y):
        self.number, self.index, self.good = number, number % per_epoch, np.ones(len(x), bool)
        self.tensors = {"input": x.unsqueeze(1), "truth": y}

    def torch(self, name):
        return self.tensors[name]


class PlainFeed:
    """As much of flowrun.Feed as train.Trainer uses, over a DataLoader. Positions are kept at epochs."""

    def __init__(self, a, rows, labels):
        self.labels, self.exclusive, self.rest_off, self.position = labels, [], None, 0
        self.loader = torch.utils.data.DataLoader(Tiles(a.images, rows, labels, a.size), a.batch, shuffle=True, num_workers=a.workers, drop_last=True,
                                                  persistent_workers=a.workers > 0, generator=torch.Generator().manual_seed(a.seed))
        self.per_epoch = len(self.loader)

    @property
    def epoch(self):
        return self.position // self.per_epoch

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]

    def __iter__(self):
        for x, y in self.loader:
            self.position += 1
            yield PlainBatch(self.position - 1, self.per_epoch, x, y)


# ---- folds ----

def prepare(a):
    """labels.csv, names, folds.csv in a.out; rows by fold: (file, tags)."""
    with open(a.table) as f:
        rows = [(r["file"], r["tags"].split()) for r in csv.DictReader(f)]
    names = sorted({t for _, tags in rows for t in tags})
    a.labels, a.folds, a.label_names, a.tiles = (os.path.join(a.out, name) for name in ("labels.csv", "folds.csv", "names", "tiles"))
    with open(a.labels, "w") as f:
        f.write("image_name,tags\n" + "".join(f"{os.path.splitext(file)[0]},{' '.join(tags)}\n" for file, tags in rows))
    with open(a.label_names, "w") as f:
        f.write("\n".join(names) + "\n")
    with open(a.tiles, "w") as f:
        f.write("".join(os.path.join(a.images, file) + "\n" for file, _ in rows))
    a.tiles = "@" + a.tiles
    subprocess.run([program(), "folds", a.labels, "--method", "iterative", "--folds", str(a.nfolds), "--names", ",".join(names), "--out", a.folds],
                   check=True, stdout=subprocess.DEVNULL)
    with open(a.folds) as f:
        fold = {r["image_name"]: int(r["fold"]) for r in csv.DictReader(f)}
    return names, [[r for r in rows if fold[os.path.splitext(r[0])[0]] == k] for k in range(a.nfolds)]


def one(a, side, fold, names, folds):
    """[log-loss, F2 at 0.2] on the held-out fold after the last epoch."""
    a.fold, a.out = fold, os.path.join(a.root, f"{side}-{fold}")
    done = os.path.join(a.out, "score.json")
    if os.path.exists(done):
        with open(done) as f:
            return json.load(f)
    os.makedirs(a.out, exist_ok=True)
    if side == "loader":
        feed = PlainFeed(a, [r for k, rows in enumerate(folds) if k != fold for r in rows], names)
    else:
        graph = train.graph(a, "train", a.cycle_epochs)
        graph["stages"]["augment"]["options"]["augs"] = {"0": "full"}
        feed = flowrun.Feed(graph)
    start = time.monotonic()
    with flowrun.Feed(train.graph(a, "val", a.cycle_epochs + 1)) as val:
        trainer = train.Trainer(a, feed, val)
        trainer.run()
        score = train.validate(trainer.net, val)
    if side == "flowrun":
        feed.close()
    print(f"fold {fold}, {side}: log-loss {score[0]:.4f}, F2 {score[1]:.4f}, {time.monotonic() - start:.0f} s", flush=True)
    with open(done + ".tmp", "w") as f:
        json.dump(score, f)
    os.replace(done + ".tmp", done)
    return score


def compare(what, ours, other):
    d = [x - y for x, y in zip(ours, other)]
    spread = statistics.stdev(d) / math.sqrt(len(d)) if len(d) > 1 else math.nan
    t = statistics.mean(d) / spread if spread > 0 else math.nan
    print(f"{what}: flowrun {statistics.mean(ours):.4f}, DataLoader {statistics.mean(other):.4f}; difference {statistics.mean(d):+.4f} "
          f"(standard error {spread:.4f}, paired t {t:.2f} with {len(d) - 1} degrees of freedom)")


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("images", None), ("table", None), ("out", "runs/compare"), ("arch", "resnet18"), ("init", ""), ("preset", "n01z3"), ("memory", "256MB")):
        p.add_argument("--" + name, default=default, required=default is None)
    for name, default in (("nfolds", 5), ("size", 64), ("batch", 32), ("epochs", 40), ("seed", 42), ("threads", 2), ("workers", 2), ("limit", 0)):
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--rate", type=float, default=0.02)
    given = p.parse_args()
    a = argparse.Namespace(**{**vars(train.arguments(["--tiles", "", "--labels", "", "--folds", ""])), **vars(given)})
    a.images, a.table, a.out = (os.path.abspath(x) for x in (a.images, a.table, a.out))
    # train.py's schedule with its last part alone: one annealing cycle over all epochs, full augmentation.
    a.cycle_epochs, a.cycle_rate, a.cycles, a.head, a.epochs = a.epochs, a.rate, 1, 0, 0
    a.warmup, a.every = 0, 0
    return a


def main():
    a = arguments()
    os.makedirs(a.out, exist_ok=True)
    a.root = a.out
    torch.set_num_threads(a.threads)
    names, folds = prepare(a)
    scores = [[one(a, side, k, names, folds) for side in ("flowrun", "loader")] for k in range(a.limit or a.nfolds)]
    for i, what in enumerate(("log-loss", "F2 at 0.2")):
        compare(what, [s[0][i] for s in scores], [s[1][i] for s in scores])


if __name__ == "__main__":
    main()
