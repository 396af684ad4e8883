"""The header of a batch (docs/protocol.md 5): read, proven, and remembered, since all but a few numbers of it stay the same."""
import struct
from typing import Any, NamedTuple, Optional

import numpy as np

from flowrun.msgpack import MessageError, Reader

DTYPES = {"u8": np.uint8, "u16": np.uint16, "i32": np.int32, "u32": np.uint32, "i64": np.int64, "u64": np.uint64,
          "f16": np.float16, "f32": np.float32, "f64": np.float64}
KINDS: dict[str, "np.dtype[Any]"] = {**{k: np.dtype(v) for k, v in DTYPES.items()}, "bf16": np.dtype("<u2")}        # NumPy has no bf16
SIZES = {**{k: np.dtype(v).itemsize for k, v in DTYPES.items()}, "bf16": 2}
ALIGN, DIMS, TENSORS, NAME = 64, 6, 256, 31
NUMBERS = ("v", "run", "batch", "attempt", "slot", "gen", "n", "crit")
MOST = {k: 2**64 if k in ("run", "batch") else 2**32 for k in NUMBERS}
_UINT = {0xCC: "B", 0xCD: "H", 0xCE: "I", 0xCF: "Q"}      # MessagePack's codes, struct's letters


class Tensor(NamedTuple):
    name: str
    dtype: str
    shape: tuple[int, ...]
    place: int           # pool, or -1: in-line
    off: int             # bytes into the slab, or number of the frame
    bytes: int


class Header(NamedTuple):
    run: int
    batch: int
    attempt: int
    slot: int
    gen: int
    n: int
    tensors: dict[str, Tensor]       # by name; shared by headers alike, not to be changed


def _tensor(t: Any) -> Tensor:
    if not isinstance(t, list) or len(t) != 6 or not isinstance(t[2], list):
        raise MessageError("a tensor is no [name, dtype, [dimensions], place, off, bytes]")
    name, dtype, shape, place, off, size = t
    if not isinstance(name, str) or not 1 <= len(name.encode()) <= NAME or "\0" in name or not isinstance(dtype, str) or dtype not in SIZES:
        raise MessageError(f"a tensor {name!r} of type {dtype!r}")
    numbers = [*shape, off, size]
    if any(type(x) is not int or x < 0 for x in numbers) or any(x >= 2**32 for x in shape) or type(place) is not int or place < -1 or len(shape) > DIMS:
        raise MessageError(f"tensor {name}: numbers that can't be")
    want = SIZES[dtype]
    for x in shape:
        want *= x
    if want != size or (off > TENSORS if place < 0 else off % ALIGN or off + size >= 2**64):
        raise MessageError(f"tensor {name}: {size} bytes at {off}, its shape takes {want}")
    return Tensor(name, dtype, tuple(shape), place, off, size)


def _tensors(v: Any) -> dict[str, Tensor]:
    if not isinstance(v, list) or len(v) > TENSORS:
        raise MessageError(f"no list of at most {TENSORS} tensors")
    out = {t.name: t for t in map(_tensor, v)}
    if len(out) != len(v):
        raise MessageError("a tensor comes twice")
    return out


_new = tuple.__new__


def _form(data: bytes, spans: dict[str, tuple[int, int]]) -> Optional[struct.Struct]:
    """Takes a header apart into the numbers batch, slot and gen and the bytes before, between and behind them; None: one that isn't as flowrun writes it."""
    layout, at = ">", 0
    for key in ("batch", "slot", "gen"):
        first, end = spans[key]
        letter = "b" if end == first + 1 else _UINT.get(data[first])     # a small one is its own code; negative: another code
        first += end > first + 1
        if letter is None or (letter == "Q" and key != "batch") or first < at:      # the others have 32 bits
            return None
        layout, at = f"{layout}{first - at}s{letter}", end
    return struct.Struct(f"{layout}{len(data) - at}s")


class Parser:
    """Reads headers; of those that differ in batch, slot and gen alone, the first."""

    def __init__(self) -> None:
        self._forms: dict[int, tuple[Any, ...]] = {}         # by the bytes of a header: how it comes apart, what of it stays the same

    def parse(self, data: bytes) -> Header:
        known = self._forms.get(len(data))
        if known is not None:
            unpack, still, run, attempt, n, tensors = known
            parts = unpack(data)
            _, batch, _, slot, _, gen, _ = parts
            if parts[::2] == still and batch >= 0 and slot >= 0 and gen >= 0:
                return _new(Header, (run, batch, attempt, slot, gen, n, tensors))
        return self._closely(data)

    def _closely(self, data: bytes) -> Header:
        if len(data) > 4096:
            raise MessageError(f"a header of {len(data)} bytes")
        r = Reader(data)
        got: dict[str, Any] = {}
        spans: dict[str, tuple[int, int]] = {}
        for _ in range(r.map_size()):
            key = r.value(0)
            if not isinstance(key, str) or key in got:
                raise MessageError(f"the key {key!r} is no text or comes twice")
            first = r.at
            got[key] = _tensors(r.value(3)) if key == "t" else r.value()
            spans[key] = first, r.at
        if r.at != len(data):
            raise MessageError("something stands behind the header")
        for key in NUMBERS:
            if type(got.get(key)) is not int or not 0 <= got[key] < MOST[key]:
                raise MessageError(f"{key} is missing or no number of its size")
        if got["v"] != 1 or got["crit"] != 0 or "probe" in got or "t" not in got:      # tests of tiles never come to a trainer
            raise MessageError(f"a header of version {got['v']} with critical bits {got['crit']}")
        h = Header(got["run"], got["batch"], got["attempt"], got["slot"], got["gen"], got["n"], got["t"])
        form = _form(data, spans)
        if form is not None:
            if len(self._forms) > 64:
                self._forms.clear()
            self._forms[len(data)] = form.unpack, form.unpack(data)[::2], h.run, h.attempt, h.n, h.tensors
        return h
