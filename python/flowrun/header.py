"""The header of a batch (docs/protocol.md 5): read, proven, and remembered, since all but a few numbers of it stay the same."""
import re
from typing import Any, NamedTuple, Optional

import numpy as np

from flowrun.msgpack import MessageError, Reader

DTYPES = {"u8": np.uint8, "u16": np.uint16, "i32": np.int32, "u32": np.uint32, "i64": np.int64, "u64": np.uint64,
          "f16": np.float16, "f32": np.float32, "f64": np.float64}
KINDS = {**{k: np.dtype(v).str for k, v in DTYPES.items()}, "bf16": "<u2"}           # as NumPy writes them; it has no bf16
SIZES = {**{k: np.dtype(v).itemsize for k, v in DTYPES.items()}, "bf16": 2}
ALIGN, DIMS, TENSORS, NAME = 64, 6, 64, 31
NUMBERS = ("v", "run", "batch", "attempt", "slot", "gen", "n", "crit")
# A header as flowrun writes it: the eight numbers in order, of which two are what they are, then the list of tensors.
_NUMBER = rb"([\x00-\x7f]|\xcc.|\xcd.{2}|\xce.{4}|\xcf.{8})"
_QUICK = re.compile(rb"\x89" + b"".join(re.escape(bytes([0xA0 | len(k)]) + k.encode()) + {"v": rb"\x01", "crit": rb"\x00"}.get(k, _NUMBER) for k in NUMBERS) + rb"\xa1t", re.DOTALL)


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
    if not isinstance(name, str) or not 1 <= len(name.encode()) <= NAME or "\0" in name or dtype not in SIZES:
        raise MessageError(f"a tensor {name!r} of type {dtype!r}")
    numbers = [*shape, off, size]
    if any(type(x) is not int or x < 0 for x in numbers) or type(place) is not int or place < -1 or len(shape) > DIMS:
        raise MessageError(f"tensor {name}: numbers that can't be")
    want = SIZES[dtype]
    for x in shape:
        want *= x
    if want != size or (place >= 0 and off % ALIGN):
        raise MessageError(f"tensor {name}: {size} bytes at {off}, its shape takes {want}")
    return Tensor(name, dtype, tuple(shape), place, off, size)


def _tensors(v: Any) -> dict[str, Tensor]:
    if not isinstance(v, list) or len(v) > TENSORS:
        raise MessageError(f"no list of at most {TENSORS} tensors")
    out = {t.name: t for t in map(_tensor, v)}
    if len(out) != len(v):
        raise MessageError("a tensor comes twice")
    return out


class Parser:
    """Reads headers; keeps the last lists of tensors by their bytes."""

    def __init__(self) -> None:
        self._known: dict[bytes, dict[str, Tensor]] = {}

    def _quick(self, data: bytes) -> Optional[Header]:
        """A header as flowrun writes it, with a list of tensors that is known; None: look closer."""
        m = _QUICK.match(data)
        tensors = self._known.get(data[m.end():]) if m is not None else None
        if m is None or tensors is None:
            return None
        run, batch, attempt, slot, gen, n = [g[0] if len(g) == 1 else int.from_bytes(g[1:], "big") for g in m.groups()]
        return Header(run, batch, attempt, slot, gen, n, tensors)

    def parse(self, data: bytes) -> Header:
        if len(data) > 4096:
            raise MessageError(f"a header of {len(data)} bytes")
        quick = self._quick(data)
        if quick is not None:
            return quick
        r = Reader(data)
        got: dict[str, Any] = {}
        for _ in range(r.map_size()):
            key = r.value(0)
            if key in got:
                raise MessageError(f"{key} comes twice")
            got[key] = self._list(r) if key == "t" else r.value()
        if r.at != len(data):
            raise MessageError("something stands behind the header")
        for key in NUMBERS:
            if type(got.get(key)) is not int or got[key] < 0:
                raise MessageError(f"{key} is missing or no number")
        if got["v"] != 1 or got["crit"] != 0 or "t" not in got:
            raise MessageError(f"a header of version {got['v']} with critical bits {got['crit']}")
        return Header(got["run"], got["batch"], got["attempt"], got["slot"], got["gen"], got["n"], got["t"])

    def _list(self, r: Reader) -> dict[str, Tensor]:
        tail = r.data[r.at:]                 # `t` is the last key as flowrun writes it
        known = self._known.get(tail)
        if known is not None:
            r.at = len(r.data)
            return known
        tensors = _tensors(r.value(3))
        if r.at == len(r.data):
            if len(self._known) > 256:
                self._known.clear()
            self._known[tail] = tensors
        return tensors

