#!/usr/bin/env python3
"""Trains a network of torchvision's on what a flowrun graph feeds, and leaves snapshots that flowrun's `forward` runs.

    train.py --tiles thumbs32.tar --labels train.csv --folds folds.csv --fold-column fold10 --fold 0 --size 64 --out models/thumbs
    flowrun models/thumbs/pipeline.yaml         # D4 x snapshots over the held-out fold, scored

Stages, as the recipe has them: the head alone (--head epochs), then all of it with a plateau schedule (--epochs; the rate falls tenfold after
--patience validations without a better loss), then --cycles annealing cycles of --cycle-epochs, each from the best weights so far down a cosine,
with a snapshot at its end. Augmentations are full, and unbiased in the last cycle.
A run that was stopped goes on with the same command: checkpoints hold weights, optimiser and the feed's position, every --every steps.
"""
import argparse
import json
import math
import os
import sys
import time

if "MALLOC_TRIM_THRESHOLD_" not in os.environ:           # torch asks for the same large blocks again and again: keep them
    os.environ.update(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_=str(1 << 40))
    os.execv(sys.executable, [sys.executable, *sys.argv])

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import torch
import torchvision
from torch.nn.functional import binary_cross_entropy_with_logits as bce

import flowrun
from flowrun import convert

BANDS = {"rgb": 3, "rgbn": 4, "ngb": 3}


def statistics(a):
    """Mean and std of the bands, of pixels divided by 255 or 65535: `flowrun stats` writes them; ImageNet's for three bands without it."""
    if not a.stats and BANDS[a.mode] == 3:
        return {"mean": list(convert.MEAN), "std": list(convert.STD)}
    if not a.stats:
        raise SystemExit(f"--mode {a.mode} needs --stats (flowrun stats TILES --mode {a.mode} --folds TABLE --fold N --out FILE)")
    with open(a.stats) as f:
        return {k: v for k, v in json.load(f).items() if k in ("mean", "std")}


# ---- graphs ----


def graph(a, split, epochs):
    """The same stages for training, validation and inference up to augment, which is where they part."""
    tiles = {"files": a.tiles, "labels": a.labels, "batch": a.batch, "folds": a.folds, "fold_column": a.fold_column, "fold": a.fold,
             "split": split, "epochs": epochs}
    views = {"views": "identity", "out": "f32"}
    if split == "train":
        tiles.update(shuffle=True, last="drop")
        views = {**({"ops": a.ops} if a.ops else {"preset": a.preset}), "augs": {"0": "full", str(a.head + a.epochs + (a.cycles - 1) * a.cycle_epochs): "unbiased"}}
    return {"name": f"train-{split}", "seed": a.seed, "memory": a.memory, **({"labels": read_labels(a)} if a.label_names else {}), "stages": {
        "tiles": {"stage": "source", "options": tiles},
        "decode": {"from": "tiles", "options": {"mode": a.mode, "size": a.size, "allow_size": "resize", **({"tifs": a.tifs} if a.tifs else {})}},
        "augment": {"from": "decode", "options": {"tile": a.size, "normalise": statistics(a), **views}},
        "feed": {"from": ["augment"]}}}


def read_labels(a):
    with open(a.label_names) as f:
        return f.read().split()


def inference(a, feed, snapshots):
    """A pipeline over the held-out fold with all snapshots and eight views."""
    g = graph(a, "val", 1)
    g["name"] = "snapshots"
    g["stages"]["augment"]["options"] = {"tile": a.size, "views": "d4", "size": a.size, "normalise": statistics(a)}
    del g["stages"]["feed"]
    g["stages"].update({
        "net": {"stage": "forward", "from": "augment", "options": {"weights": snapshots}},
        "tta_merge": {"from": "net"}, "stack": {"from": "tta_merge"}, "decode_f2": {"from": "stack"},
        "sink": {"from": "decode_f2", "options": {"probabilities": os.path.join(a.out, "probs.csv"), "submission": os.path.join(a.out, "predictions.csv"),
                                                  "truth": a.labels}}})
    return g


# ---- network ----


def network(a, nlabels):
    torch.manual_seed(a.seed)
    net = getattr(torchvision.models, a.arch)(weights=None)
    head, first = convert.family(a.arch)[0], convert.family(a.arch)[1].rpartition(".")[0]
    if a.init and not a.init.endswith(".safetensors"):
        net.load_state_dict(torch.load(a.init))
    if BANDS[a.mode] == 4:
        old = net.get_submodule(first)
        new = torch.nn.Conv2d(4, old.out_channels, old.kernel_size, old.stride, old.padding, bias=old.bias is not None)
        new.weight.data = torch.from_numpy(convert.widen(old.weight.detach().numpy(), "timm"))
        setattr(net.get_submodule(first.rpartition(".")[0]), first.rpartition(".")[2], new)
    parent = net.get_submodule(head.rpartition(".")[0])
    setattr(parent, head.rpartition(".")[2], torch.nn.Linear(net.get_submodule(head).in_features, nlabels))
    if a.init.endswith(".safetensors"):                  # a snapshot: of all layers, and maybe of another size
        lacks = net.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in convert.read(a.init).items()}, strict=False)
        if lacks.unexpected_keys or any(not k.endswith("num_batches_tracked") for k in lacks.missing_keys):
            raise SystemExit(f"{a.init}: no snapshot of this network: {lacks}")
    return net, head


def snapshot(a, net, feed, number, said):
    """Weights with their manifest, and beside them what `flowrun select-snapshots` chooses by; the path."""
    tensors = {k: v.numpy().copy() for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    path = os.path.join(a.out, f"{a.arch}-{number}.safetensors")
    rest = {"rest_off": feed.rest_off} if feed.rest_off else {}
    described = {"format": 1, "kind": "network", "arch": a.arch, "labels": feed.labels, "exclusive": feed.exclusive, **rest,
                 "input": {"mode": a.mode, "channels": BANDS[a.mode], "size": a.size, "M": 65535 if a.mode == "rgbn" else 255, **statistics(a)}, "bf16_ok": False}
    convert.write(path, tensors, lambda digest: {**described, "sha256": digest, "created_by": "python/examples/train.py"}, convert.find_forward(None))
    with open(path.replace(".safetensors", ".checkpoint.json"), "w") as f:
        json.dump(said, f, indent=1)
    return path


def validate(net, feed):
    """Mean log-loss over tiles and labels, and F2 at 0.2."""
    net.eval()
    loss, score, n = 0.0, 0.0, 0
    with torch.no_grad():
        for b in feed:
            good = torch.from_numpy(b.good)
            z, y = net(b.torch("input")[:, 0])[good], b.torch("truth")[good].float()
            loss += bce(z, y, reduction="sum").item() / y.shape[1]
            h = (torch.sigmoid(z).double() > 0.2).float()
            score += (5 * (h * y).sum(1) / (4 * y.sum(1) + h.sum(1)).clamp(min=1)).sum().item()
            n += len(y)
            del b
    return loss / n, score / n


# ---- schedule ----


class Schedule:
    """Which epochs train what, and the rate at each step."""

    def __init__(self, a, steps):
        self.a, self.steps, self.base = a, steps, a.rate
        self.best, self.waits, self.drops = math.inf, 0, 0
        self.plateau_end = a.head + a.epochs
        self.total = self.plateau_end + a.cycles * a.cycle_epochs

    def state(self):
        return [self.base, self.best, self.waits, self.drops]

    def load(self, s):
        self.base, self.best, self.waits, self.drops = s

    def cycle(self, epoch):
        return (epoch - self.plateau_end) // self.a.cycle_epochs if epoch >= self.plateau_end else -1

    def begins(self, epoch):
        """Where the optimiser starts afresh: the head, all, each cycle."""
        return epoch in (0, self.a.head) or (epoch >= self.plateau_end and (epoch - self.plateau_end) % self.a.cycle_epochs == 0)

    def rate(self, epoch, step):
        if self.cycle(epoch) >= 0:
            t = ((epoch - self.plateau_end) % self.a.cycle_epochs + step / self.steps) / self.a.cycle_epochs
            high = self.a.cycle_rate
            return high / 100 + (high - high / 100) * (1 + math.cos(math.pi * t)) / 2
        begin = 0 if epoch < self.a.head else self.a.head
        warm = min(1.0, ((epoch - begin) * self.steps + step + 1) / self.a.warmup) if self.a.warmup else 1.0
        return self.base * warm

    def check(self, epoch, loss):
        """After a validation in the plateau stage: True when it is over, because the rate has fallen often enough."""
        better = loss < self.best - 1e-5
        self.best, self.waits = (loss, 0) if better else (self.best, self.waits + 1)
        if self.cycle(epoch) < 0 and epoch >= self.a.head and self.waits >= self.a.patience:
            self.base, self.waits, self.drops = self.base / 10, 0, self.drops + 1
        return self.drops > self.a.drops


def train_only(net, head, everything):
    for name, p in net.named_parameters():
        p.requires_grad = everything or name.startswith(head + ".")
    net.train()
    if not everything:                                   # running statistics of what is frozen stay as they are
        for m in net.modules():
            if isinstance(m, torch.nn.modules.batchnorm._BatchNorm):
                m.eval()


def optimiser_of(a, net):
    return torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=a.rate, momentum=0.9, nesterov=True, weight_decay=a.decay)


def save(path, state):
    torch.save(state, path + ".tmp")
    os.replace(path + ".tmp", path)


class Trainer:
    def __init__(self, a, feed, val):
        self.a, self.feed, self.val = a, feed, val
        self.net, self.head = network(a, len(feed.labels))
        self.schedule = Schedule(a, feed.per_epoch)
        self.last, self.snapshots, self.optimiser, self.best = os.path.join(a.out, "last.pt"), [], None, None
        if os.path.exists(self.last):
            self.resume()

    def resume(self):
        s = torch.load(self.last)
        self.feed.load_state_dict(s["feed"])
        self.net.load_state_dict(s["net"])
        train_only(self.net, self.head, self.feed.epoch >= self.a.head)
        self.optimiser = optimiser_of(self.a, self.net)
        self.optimiser.load_state_dict(s["optimiser"])
        self.schedule.load(s["schedule"])
        self.snapshots, self.best = s["snapshots"], s["best"]
        if self.val.position != s["val"]["position"]:
            self.val.load_state_dict(s["val"])
        print(f"goes on at epoch {self.feed.epoch}, batch {self.feed.position}", flush=True)

    def checkpoint(self):
        save(self.last, {"feed": self.feed.state_dict(), "val": self.val.state_dict(), "net": self.net.state_dict(), "optimiser": self.optimiser.state_dict(),
                         "schedule": self.schedule.state(), "snapshots": self.snapshots, "best": self.best})

    def begin(self, epoch):
        """A stage or a cycle begins: from the best weights so far, with a fresh optimiser."""
        if self.schedule.cycle(epoch) >= 0 and self.best is not None:
            self.net.load_state_dict(self.best)
        train_only(self.net, self.head, epoch >= self.a.head)
        self.optimiser = optimiser_of(self.a, self.net)

    def epoch(self, epoch):
        total, n = 0.0, 0
        for b in self.feed:
            if b.index == 0 and self.schedule.begins(epoch):
                self.begin(epoch)
            train_only(self.net, self.head, epoch >= self.a.head)
            for group in self.optimiser.param_groups:
                group["lr"] = self.schedule.rate(epoch, b.index)
            good = torch.from_numpy(b.good)
            x, y = b.torch("input").flatten(0, 1), b.torch("truth").float()
            loss = bce(self.net(x)[good], y[good])
            if not math.isfinite(loss.item()):
                raise SystemExit(f"E_NUM: the loss of batch {b.number} is {loss.item()}")
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
            total, n = total + loss.item(), n + 1
            del b, x, y
            if self.a.every and n % self.a.every == 0:
                self.checkpoint()
        return total / max(n, 1)

    def run(self):
        while self.feed.epoch < self.schedule.total and self.feed.position < self.schedule.total * self.feed.per_epoch:
            start, epoch = time.monotonic(), self.feed.epoch
            loss = self.epoch(epoch)
            before = self.schedule.best
            vloss, f2 = validate(self.net, self.val)
            print(f"epoch {epoch}: loss {loss:.4f}, validation {vloss:.4f}, F2 {f2:.4f}, {time.monotonic() - start:.0f} s", flush=True)
            over = self.schedule.check(epoch, vloss)
            if vloss < before:
                self.best = {k: v.clone() for k, v in self.net.state_dict().items()}
            c = self.schedule.cycle(epoch)
            if c >= 0 and (epoch + 1 - self.schedule.plateau_end) % self.a.cycle_epochs == 0:
                self.snapshots.append(snapshot(self.a, self.net, self.feed, c + 1, {"validation_loss": vloss, "f2": f2, "epoch": epoch, "cycle_end": True}))
            if over and epoch + 1 < self.schedule.plateau_end:     # on to the cycles: the graph starts anew there
                self.feed.load_state_dict({**self.feed.state_dict(), "position": self.schedule.plateau_end * self.feed.per_epoch})
            self.checkpoint()
        return self.snapshots


# ---- arguments ----


def arguments(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, text in (("tiles", None, "files, a folder or a tar archive"), ("labels", None, "table image_name,tags"), ("folds", None, "table of folds"),
                                ("fold-column", "fold", "its column"), ("label-names", "", "file of label names (the 17 of Planet's set)"), ("arch", "resnet18", "torchvision's name"),
                                ("init", "", "weights to begin with: a state dict of torchvision's, or a snapshot that this program left, of any --size"), ("preset", "n01z3", "augmentations"),
                                ("ops", "", "augmentations of one's own instead, as JSON: [\"d4\", {\"offset\": {\"dx\": [-0.03, 0.03]}}]"),
                                ("mode", "rgb", "bands: rgb, rgbn (16-bit TIFFs) or ngb"), ("tifs", "", "with ngb: folder of the tiles' TIFFs"),
                                ("stats", "", "what flowrun stats wrote: mean and std of the bands (ImageNet's for three)"), ("memory", "256MB", "of the graph"), ("out", "models", "folder")):
        p.add_argument("--" + name, default=default, required=default is None, help=text)
    for name, default in (("fold", 0), ("size", 64), ("batch", 128), ("head", 0), ("epochs", 4), ("cycles", 2), ("cycle-epochs", 3), ("patience", 3), ("drops", 2),
                          ("warmup", 100), ("every", 0), ("seed", 42), ("threads", 2)):
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--rate", type=float, default=0.05)
    p.add_argument("--cycle-rate", type=float, default=0.03)
    p.add_argument("--decay", type=float, default=1e-4, help="of the weights")
    a = p.parse_args(argv)
    if a.mode not in BANDS:
        p.error(f"--mode {a.mode}: want {', '.join(BANDS)}")
    try:
        a.ops = json.loads(a.ops) if a.ops else []
    except ValueError as why:
        p.error(f"--ops: {why}")
    return a


def main():
    a = arguments()
    for name in ("tiles", "labels", "folds", "out"):     # "@" before a list of files stays
        path = getattr(a, name)
        setattr(a, name, path[:path.startswith("@")] + os.path.abspath(path[path.startswith("@"):]))
    a.tifs = os.path.abspath(a.tifs) if a.tifs else ""
    os.makedirs(a.out, exist_ok=True)
    torch.set_num_threads(a.threads)
    total = a.head + a.epochs + a.cycles * a.cycle_epochs
    start = time.monotonic()
    with flowrun.Feed(graph(a, "train", total)) as feed, flowrun.Feed(graph(a, "val", total)) as val:
        snapshots = Trainer(a, feed, val).run()
        with open(os.path.join(a.out, "pipeline.yaml"), "w") as f:
            json.dump(inference(a, feed, snapshots), f, indent=1)
    print(f"{len(snapshots)} snapshots and pipeline.yaml in {a.out}, {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
