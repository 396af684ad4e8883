"""Weights of torchvision or timm as flowrun reads them: NAME.safetensors with its manifest NAME.json, checked by the forward stage.

    python -m flowrun.convert resnet50.pth --arch resnet50 --labels labels.txt --out models/resnet50.safetensors

Reads .pth/.pt state dicts (nothing in them can run, see pth.py) and .safetensors. Names of timm's VGG, of DataParallel and of training
frameworks' prefixes become torchvision's. Before the files appear, the forward stage proves them: every tensor of the network is there
with its shape, and nothing else.
"""
import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from typing import Any, Callable, Optional, Sequence

import numpy as np

from flowrun import pth, safetensors
from flowrun.safetensors import Array, Path

Tensors = dict[str, Array]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)      # of ImageNet, RGB: torchvision's and most of timm's
MODES = {"rgb": 3, "rgbn": 4, "ngb": 3}
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
COUNTER = "num_batches_tracked"

# The classifying layer and the first convolution of each family; torchvision's names.
FAMILIES = {
    "densenet": ("classifier", "features.conv0.weight"),
    "resnet": ("fc", "conv1.weight"),
    "resnext": ("fc", "conv1.weight"),
    "vgg": ("classifier.6", "features.0.weight"),
    "squeezenet": ("classifier.1", "features.0.weight"),
    "tilenet": ("classifier", "features.conv0.weight"),
}
TIMM_VGG = {"pre_logits.fc1.": "classifier.0.", "pre_logits.fc2.": "classifier.3.", "head.fc.": "classifier.6."}


class ConvertError(ValueError):
    """Weights or arguments that make no model."""


def family(arch: str) -> tuple[str, str]:
    for name, value in FAMILIES.items():
        if arch.startswith(name):
            return value
    raise ConvertError(f"arch {arch}: none of the families {', '.join(FAMILIES)}")


# ---- names and shapes ----


def strip(tensors: Tensors, first: str) -> Tensors:
    """Names without the prefixes that wrappers put before all of them; `first` is the name that the first convolution then has."""
    while first not in tensors:
        common = [p for p in PREFIXES if all(k.startswith(p) for k in tensors)]
        if not tensors or not common:
            break
        tensors = {k[len(common[0]) :]: v for k, v in tensors.items()}
    return tensors


def from_timm(tensors: Tensors) -> Tensors:
    """timm's VGG keeps its linear layers as convolutions: [4096,512,7,7] is [4096,25088], columns in the order channel, row, column."""
    out = {}
    for name, value in tensors.items():
        for old, new in TIMM_VGG.items():
            if name.startswith(old):
                name = new + name[len(old) :]
                value = value.reshape(value.shape[0], -1) if value.ndim == 4 else value
        out[name] = value
    return out


def without_dropout(tensors: Tensors, head: str) -> Tensors:
    """A classifying layer behind a dropout is number 1 of a pair whose first has no weights."""
    pair = [k for k in tensors if k.startswith(head + ".")]
    if sorted(pair) != [f"{head}.1.bias", f"{head}.1.weight"]:
        return tensors
    return {head + k[len(head) + 2 :] if k in pair else k: v for k, v in tensors.items()}


def head_width(tensors: Tensors, head: str, hidden: int) -> int:
    """Rows of the classifying layer, which is a two-layer head's second one where hidden > 0."""
    name = f"{head}.3.weight" if hidden else f"{head}.weight"
    if name in tensors:
        return tensors[name].shape[0]
    layers = [f"{head}.0.weight", f"{head}.3.weight"]
    if not hidden and all(k in tensors for k in layers):
        raise ConvertError(f"a head of two layers: --two-layer {tensors[layers[0]].shape[0]}")
    raise ConvertError(f'no tensor "{name}": not these weights, or not this kind of head')


def no_network(tensors: Tensors, arch: str, first: str) -> ConvertError:
    """What is wrong with names among which the first convolution's isn't."""
    behind = [k for k in tensors if k.endswith("." + first)]
    if not behind:
        return ConvertError(f'no tensor "{first}": not weights of {arch}, or named in another way')
    prefix = behind[0][: -len(first)]
    other = [k for k in tensors if not k.startswith(prefix)]
    return ConvertError(f'no tensor "{first}", but "{behind[0]}"' + (f', and "{other[0]}" beside the network: save its state dict alone' if other else ""))


def new_head(tensors: Tensors, head: str, labels: int, seed: int) -> None:
    """A fresh classifying layer: weight and bias uniform in +-1/sqrt(inputs)."""
    old = tensors[f"{head}.weight"]
    inputs = int(np.prod(old.shape[1:]))
    draw, bound = np.random.default_rng(seed), 1 / np.sqrt(inputs)
    tensors[f"{head}.weight"] = draw.uniform(-bound, bound, (labels, *old.shape[1:])).astype(np.float32)
    tensors[f"{head}.bias"] = draw.uniform(-bound, bound, labels).astype(np.float32)


def widen(w: Array, how: str) -> Array:
    """First convolution [O,3,k,k] to [O,4,k,k]: the near-infrared weights zero, the mean of R, G, B, or R's, and then all times 3/4."""
    if w.ndim != 4 or w.shape[1] != 3:
        raise ConvertError(f"--adapt: the first convolution is {list(w.shape)}, want three channels")
    w = w.astype(np.float64)
    extra: Array = {"zero": np.zeros_like(w[:, :1]), "mean": w.mean(1, keepdims=True), "timm": w[:, :1]}[how]
    wide: Array = np.concatenate([w, extra], 1) * (1.0 if how == "zero" else 0.75)
    return wide.astype(np.float32)


def widen_stats(stats: tuple[float, ...], how: str) -> tuple[float, ...]:
    """The fourth band takes the statistics that its weights come from."""
    return (*stats, sum(stats) / 3 if how == "mean" else stats[0]) if len(stats) == 3 else tuple(stats)


def to_f32(name: str, value: Array) -> Array:
    if name.endswith(COUNTER):
        return np.asarray(value, np.int64)
    if value.dtype.kind != "f":
        raise ConvertError(f'tensor "{name}" is {value.dtype}, want floats')
    with np.errstate(over="ignore"):
        out = value.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(out))
    if bad.size:
        raise ConvertError(f'tensor "{name}": element {bad[0]} is {out.reshape(-1)[bad[0]]}')
    return out


def read(path: Path) -> Tensors:
    if str(path).endswith(".safetensors"):
        return safetensors.load(path)
    return pth.load(path)


def convert(tensors: Tensors, arch: str, nlabels: int, *, hidden: int = 0, adapt: Optional[str] = None, seed: Optional[int] = None) -> Tensors:
    """{name: float32 array} with torchvision's names; ConvertError where it can't be the arch's."""
    head, first = family(arch)
    tensors = strip(tensors, first)
    if arch.startswith("vgg"):
        tensors = from_timm(tensors)
    if first not in tensors:
        raise no_network(tensors, arch, first)
    tensors = without_dropout(tensors, head)
    tensors = {name: to_f32(name, value) for name, value in tensors.items()}
    if seed is not None:
        if hidden:
            raise ConvertError("--new-head makes a head of one layer: not with --two-layer")
        head_width(tensors, head, 0)
        new_head(tensors, head, nlabels, seed)
    width = head_width(tensors, head, hidden)
    if width != nlabels:
        raise ConvertError(f"the weights answer with {width} labels, but --labels names {nlabels}; --new-head SEED makes a fresh classifying layer")
    if adapt:
        tensors[first] = widen(tensors[first], adapt)
    return tensors


# ---- manifest ----


def numbers(text: str, name: str, count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(v) for v in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count or not all(np.isfinite(values)) or (name == "--std" and min(values) <= 0):
        raise ConvertError(f"{name}: want {count} numbers with commas between{', above 0' if name == '--std' else ''}")
    return values


def labels_of(text: str) -> list[str]:
    """Names with commas between, or a file with one a line."""
    if os.path.isfile(text):
        with open(text, encoding="utf-8") as f:
            return [line.strip() for line in f if line.strip()]
    if "/" in text or text.endswith((".txt", ".csv")):
        raise ConvertError(f"no file {text}")
    return [word.strip() for word in text.split(",")]


def manifest(args: argparse.Namespace, labels: list[str], sha256: str) -> dict[str, Any]:
    channels = MODES[args.mode]
    has = 3 if args.adapt else channels
    if args.mean is None and (args.std is not None or args.mode == "ngb" or (channels == 4 and not args.adapt)):
        raise ConvertError(f"--mode {args.mode}: --mean and --std must be given, ImageNet's are for RGB")
    if (args.mean is None) != (args.std is None):
        raise ConvertError("--mean and --std are given together")
    count = channels if args.adapt and args.mean is not None and args.mean.count(",") == 3 else has
    mean = numbers(args.mean, "--mean", count) if args.mean is not None else MEAN
    std = numbers(args.std, "--std", count) if args.std is not None else STD
    if args.adapt:
        mean, std = widen_stats(mean, args.adapt), widen_stats(std, args.adapt)
    out: dict[str, Any] = {"format": 1, "kind": "network", "arch": args.arch, "labels": labels}
    if args.exclusive:
        out["exclusive"] = labels_of(args.exclusive)
    if args.softmax:
        if len(out.get("exclusive", ())) < 2:
            raise ConvertError("--softmax is over the labels of --exclusive, of which there must be two or more")
        out["softmax"] = True
    if args.rest_off:
        out["rest_off"] = args.rest_off
    out["input"] = {"mode": args.mode, "channels": channels, "size": args.size, "M": args.M, "mean": list(mean), "std": list(std)}
    if args.two_layer:
        out["two_layer"] = args.two_layer
    return {**out, "bf16_ok": False, "sha256": sha256, "created_by": "flowrun.convert"}


# ---- proof ----


def find_forward(given: Optional[str]) -> str:
    """The forward stage that proves what was made."""
    here = os.path.dirname(os.path.abspath(__file__))
    places = [given] if given else [
        os.path.join(os.environ.get("FLOWRUN_STAGES", ""), "forward"), os.path.join(here, "../../build/stages/forward"),
        "/usr/local/libexec/flowrun/stages/forward", "/usr/libexec/flowrun/stages/forward",
    ]
    for path in places:
        if path and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise ConvertError(f"no forward stage to prove the model with (looked at {', '.join(places)}): --forward PATH names one")


def prove(forward: str, weights: Path) -> str:
    """What is wrong with the weights and their manifest; empty: nothing."""
    options = json.dumps({"weights": [str(weights)], "device": "ref"})
    ran = subprocess.run([forward, "--describe", "--options", options], capture_output=True, text=True, check=False)
    try:
        error = json.loads(ran.stdout)["error"]
    except (ValueError, KeyError, TypeError):
        raise ConvertError(f"{forward} gave no description: {ran.stderr.strip()[:300]}") from None
    return str(error["text"]) if error else ""


def sha256(path: Path) -> str:
    h = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            h.update(block)
    return h.hexdigest()


def write(out: str, tensors: Tensors, make_manifest: Callable[[str], dict[str, Any]], forward: str, source: Optional[str] = None) -> None:
    """Both files beside the place where they go, proven, then renamed; the manifest last, since nothing reads weights without it.
    source: the file that is told when the weights don't fit."""
    folder, name = os.path.split(os.path.abspath(out))
    old = out[: -len(".safetensors")] + ".json"
    if not os.path.isdir(folder):
        raise ConvertError(f"--out: no folder {folder}")
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=folder) as tmp:
        weights = os.path.join(tmp, name)
        described = weights[: -len(".safetensors")] + ".json"
        safetensors.save(weights, tensors)
        text = json.dumps(make_manifest(sha256(weights)), indent=1) + "\n"
        safetensors.write_new(described, [text.encode()])
        wrong = prove(forward, weights)
        if wrong:       # told of the files that the user knows
            raise ConvertError(wrong.replace(weights, source or out).replace(described, old))
        if os.path.exists(old):         # never new weights under an old manifest
            os.unlink(old)
        os.replace(weights, out)
        os.replace(described, old)


def seed_of(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text}: want a whole number from 0 on")
    return int(text)


def arguments() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m flowrun.convert", description=(__doc__ or "").split("\n")[0])
    p.add_argument("weights", help=".pth or .pt state dict, or .safetensors")
    p.add_argument("--arch", required=True, help="network, by torchvision's name: resnet50, densenet121, ...")
    p.add_argument("--labels", required=True, help="names with commas between, or a file with one a line; in the order of the logits")
    p.add_argument("--out", required=True, help="NAME.safetensors; NAME.json is written beside it")
    p.add_argument("--size", type=int, default=224, help="side of the network's input (224)")
    p.add_argument("--mode", choices=MODES, default="rgb", help="bands of the tiles (rgb)")
    p.add_argument("--M", type=int, choices=(255, 65535), default=255, help="largest value of a band: 255 for 8 bits, 65535 for 16")
    p.add_argument("--mean", help="of value/M, one number a band (ImageNet's for rgb)")
    p.add_argument("--std", help="likewise")
    p.add_argument("--exclusive", help="labels of which exactly one holds (weather)")
    p.add_argument("--softmax", action="store_true", help="trained with softmax over the exclusive labels, not with a sigmoid for each")
    p.add_argument("--rest-off", help="label that allows no other (cloudy)")
    p.add_argument("--two-layer", type=int, default=0, help="hidden width of a head of two layers")
    p.add_argument("--adapt", choices=("zero", "mean", "timm"), help="RGB weights for rgbn tiles: where the fourth channel's come from")
    p.add_argument("--new-head", type=seed_of, metavar="SEED", help="replace the classifying layer by a fresh one, to be trained")
    p.add_argument("--forward", help="the forward stage that proves the result")
    return p


def run(argv: Sequence[str]) -> None:
    args = arguments().parse_args(argv)
    if not args.out.endswith(".safetensors"):
        raise ConvertError("--out: want NAME.safetensors")
    if args.adapt and args.mode != "rgbn":
        raise ConvertError("--adapt is for --mode rgbn")
    labels = labels_of(args.labels)
    forward = find_forward(args.forward)
    tensors = convert(read(args.weights), args.arch, len(labels), hidden=args.two_layer, adapt=args.adapt, seed=args.new_head)
    write(args.out, tensors, lambda digest: manifest(args, labels, digest), forward, args.weights)
    print(f"{args.out}: {args.arch}, {len(tensors)} tensors, {len(labels)} labels, {args.mode} {args.size}x{args.size}")


def main(argv: Optional[Sequence[str]] = None) -> int:
    try:
        run(sys.argv[1:] if argv is None else argv)
    except (ConvertError, pth.PthError, safetensors.SafetensorsError, OSError) as e:
        print(f"flowrun.convert: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
