#!/usr/bin/python3
"""Logits and parameter lists of torchvision's networks for the forward tests: the reference side of test_parity.

parity.py logits ARCH:SIZE:CHANNELS:LABELS:COUNT:TWO...   one line of logits a tile, tiles 0 .. COUNT-1; TWO: hidden width of the head or 0
parity.py keys ARCH...                                    one line "ARCH NUMBER HASH" an arch (17 labels, 3 channels)
parity.py golden                                          what tests/data/forward_logits.txt holds
"""
import sys

import numpy as np

SEED = 2017


def fnv(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def philox(c0, c1, c2, k0, k1):
    """Blocks of Philox4x32-10 for counters (c0, c1, c2[i], 0): uint32 [n, 4]."""
    low = np.uint64(0xFFFFFFFF)
    a, b = np.full(len(c2), c0, np.uint64), np.full(len(c2), c1, np.uint64)
    c, d = c2.astype(np.uint64), np.zeros(len(c2), np.uint64)
    for _ in range(10):
        p, q = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, b = (q >> np.uint64(32)) ^ b ^ np.uint64(k0), q & low
        c, d = (p >> np.uint64(32)) ^ d ^ np.uint64(k1), p & low
        k0, k1 = k0 + 0x9E3779B9 & 0xFFFFFFFF, k1 + 0xBB67AE85 & 0xFFFFFFFF
    return np.stack([a, b, c, d], 1).astype(np.uint32)


def fill(name, n, base, span):
    """f32 [n]: base + span u, in double, rounded once."""
    h = fnv("init/" + name)
    out = np.empty(n, np.float32)
    step = 1 << 20
    for at in range(0, n, step):
        m = min(step, n - at)
        blocks = np.arange(at // 4, (at + m + 3) // 4)
        u = (philox(h & 0xFFFFFFFF, h >> 32, blocks, SEED, 0).reshape(-1)[:m] >> 8) * 2.0**-24
        out[at : at + m] = base + span * u
    return out


def rule(name, shape):
    n = int(np.prod(shape))
    if len(shape) >= 2:
        bound = np.sqrt(6.0 / (n / shape[0]))
        x = fill(name, n, -bound, 2 * bound)
    elif name.endswith(".weight"):
        scale = 0.25 if ".bn3." in name else 1.0
        x = fill(name, n, 0.5 * scale, scale)
    elif name.endswith(".running_var"):
        x = fill(name, n, 0.5, 1.0)
    else:
        x = fill(name, n, -0.1, 0.2)
    return x.reshape(shape)


def first_conv(model):
    import torch

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            return name, module
    raise SystemExit("no convolution")


def tilenet(channels, labels):
    from collections import OrderedDict

    from torch import nn

    parts, before = OrderedDict(), channels
    for i, width in enumerate((16, 32, 64, 96)):
        parts[f"conv{i}"] = nn.Conv2d(before, width, 3, 2 if i == 0 else 1, 1, bias=False)
        parts[f"norm{i}"] = nn.BatchNorm2d(width)
        parts[f"relu{i}"] = nn.ReLU()
        if i in (1, 2):
            parts[f"pool{i}"] = nn.MaxPool2d(2, 2)
        before = width
    head = nn.Linear(96, labels)
    return nn.Sequential(OrderedDict(features=nn.Sequential(parts), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), classifier=head))


def two_layer_head(model, hidden, labels):
    """Puts Linear, ReLU, Dropout, Linear where the last Linear was."""
    from torch import nn

    name, old = [(k, m) for k, m in model.named_modules() if isinstance(m, nn.Linear)][-1]
    parent = model.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], nn.Sequential(nn.Linear(old.in_features, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, labels)))


def build(arch, channels, labels, hidden=0):
    import torch
    import torchvision

    # The rule replaces every value, so drawing them first would only take time.
    for kind in ("kaiming_normal_", "kaiming_uniform_", "normal_", "uniform_", "trunc_normal_"):
        setattr(torch.nn.init, kind, lambda t, *a, **k: t)
    model = tilenet(channels, labels) if arch == "tilenet" else getattr(torchvision.models, arch)(num_classes=labels)
    name, old = first_conv(model)
    if old.in_channels != channels:
        new = torch.nn.Conv2d(channels, old.out_channels, old.kernel_size, old.stride, old.padding, bias=old.bias is not None)
        parent = model.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], new)
    if hidden:
        two_layer_head(model, hidden, labels)
    return model


def parameters(model):
    return [(k, tuple(v.shape)) for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")]


def logits(arch, size, channels, labels, count, hidden=0, model=None):
    import torch

    if model is None:
        model = build(arch, channels, labels, hidden)
        model.load_state_dict({k: torch.from_numpy(rule(k, s)) for k, s in parameters(model)}, strict=False)
        model.eval()
    tiles = [fill(f"tile{i}", size * size * channels, -2.0, 4.0).reshape(size, size, channels) for i in range(count)]
    x = torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).contiguous()
    with torch.no_grad():
        return model, np.concatenate([model(x[i : i + 1]).numpy() for i in range(count)])


def show(rows, head=""):
    for i, row in enumerate(rows):
        print((head + " " + str(i) + " " if head else "") + " ".join("%.9g" % v for v in row))


def keys(arch):
    text = "".join(f"{k} {' '.join(map(str, s))}\n" for k, s in parameters(build(arch, 3, 17)))
    print(arch, text.count("\n"), "%016x" % fnv(text), flush=True)


FIVE = ("densenet121", "densenet169", "resnet50", "resnext50_32x4d", "vgg16")
GOLDEN = (*FIVE, "tilenet", "resnet18", "squeezenet1_1")


def golden():
    print("# logits of torchvision's networks with rule weights: arch, size, tile, 17 values; written by tests/forward/parity.py golden")
    for arch in GOLDEN:
        model = None
        for size in (64, 224, 256):
            model, rows = logits(arch, size, 3, 17, 8 if arch in FIVE and size > 64 else 2, model=model)
            show(rows, f"{arch} {size}")
            sys.stdout.flush()


def main(argv):
    if argv[:1] == ["logits"]:
        for spec in argv[1:]:
            arch, *numbers = spec.split(":")
            show(logits(arch, *(int(v) for v in numbers))[1])
            sys.stdout.flush()
    elif argv[:1] == ["keys"]:
        for arch in argv[1:]:
            keys(arch)
    elif argv == ["golden"]:
        golden()
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
