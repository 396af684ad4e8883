"""Recordings (docs/recording.md) as NumPy arrays.

    with Recording("RUN/recordings/decode") as r:          # or one segment, decode.0000.flr
        for b in r:                                        # every record in the order it was written
            b.batch, b.attempt, b.n, b.time, b.tensors["pixels"]
        r.last(17).tensors["id"]                           # the last attempt of batch 17

Arrays of tensors that were stored as they are point into the mapped file; they are read-only. A record whose checksums don't hold
raises DamagedError when it is read; the others stay readable."""
import glob
import json
import mmap
import os
import re
import struct
import subprocess
import tempfile
from typing import Any, Iterator, Optional, Union

import numpy as np
import numpy.typing as npt

from flowrun import msgpack

Array = npt.NDArray[Any]

DTYPES = {"u8": "u1", "u16": "<u2", "i32": "<i4", "u32": "<u4", "i64": "<i8", "u64": "<u8", "f16": "<f2", "bf16": "<u2", "f32": "<f4", "f64": "<f8"}
TENSOR_MAX = 1 << 32
ZSTD_MOST = 65536                  # a byte of a frame stands for no more than this


class DamagedError(ValueError):
    """A checksum or a length that doesn't hold."""


def _table() -> list[int]:
    rows = []
    for i in range(256):
        c = i
        for _ in range(8):
            c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
        rows.append(c)
    return rows


_CRC = _table()
_ZEROS: dict[int, npt.NDArray[np.uint32]] = {}


def _advance(length: int) -> npt.NDArray[np.uint32]:
    """The linear map of a CRC over `length` zero bytes, as 4 tables of 256."""
    if length not in _ZEROS:
        columns = []
        for bit in range(32):
            c, n = 1 << bit, length
            while n:
                c = c >> 8 ^ _CRC[c & 255]
                n -= 1
            columns.append(c)
        tables = np.zeros((4, 256), np.uint32)
        for k in range(4):
            for v in range(256):
                for bit in range(8):
                    if v >> bit & 1:
                        tables[k, v] ^= columns[8 * k + bit]
        _ZEROS[length] = tables
    return _ZEROS[length]


def crc32c(data: Union[bytes, memoryview], crc: int = 0) -> int:
    """CRC-32C of bytes, going on from `crc`; large ones in strips side by side."""
    data = memoryview(data).cast("B")
    c = ~crc & 0xFFFFFFFF
    strip = 1024
    if len(data) >= 64 * strip:
        lanes = len(data) // strip
        a = np.frombuffer(data[:lanes * strip], np.uint8).reshape(lanes, strip)
        table, each = np.array(_CRC, np.uint32), np.zeros(lanes, np.uint32)
        for i in range(strip):
            each = each >> np.uint32(8) ^ table[(each ^ a[:, i]) & np.uint32(255)]
        t = _advance(strip)
        for v in each.tolist():
            c = int(t[0][c & 255] ^ t[1][c >> 8 & 255] ^ t[2][c >> 16 & 255] ^ t[3][c >> 24]) ^ v
        data = data[lanes * strip:]
    for byte in data:
        c = c >> 8 ^ _CRC[(c ^ byte) & 255]
    return ~c & 0xFFFFFFFF


def _align(n: int) -> int:
    return (n + 63) // 64 * 64


def _zstd_size(data: bytes) -> Optional[int]:
    """What a zstd frame states as its content's size, or None (RFC 8878, 3.1.1.1)."""
    if len(data) < 6 or data[:4] != b"\x28\xb5\x2f\xfd":
        return None
    flags, at = data[4], 5
    at += 0 if flags & 32 else 1                           # a window's size unless it is a single segment
    at += (0, 1, 2, 4)[flags & 3]                          # the number of a dictionary
    bytes_ = (1 if flags & 32 else 0, 2, 4, 8)[flags >> 6]
    if bytes_ == 0 or len(data) < at + bytes_:
        return None
    return int.from_bytes(data[at:at + bytes_], "little") + (256 if bytes_ == 2 else 0)


def _zstd(data: bytes, size: int) -> Optional[bytes]:
    """None: not a zstd frame that states this size, or one that holds another."""
    if _zstd_size(data) != size or size // ZSTD_MOST > len(data):
        return None
    try:
        import zstandard
    except ImportError:
        return _zstd_program(data, size)
    try:
        out: bytes = zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
    except zstandard.ZstdError:
        return None
    return out


def _zstd_program(data: bytes, size: int) -> Optional[bytes]:
    with tempfile.TemporaryFile() as f:
        f.write(data)
        f.seek(0)
        try:
            p = subprocess.Popen(["zstd", "-dcq"], stdin=f, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        except FileNotFoundError:
            raise RuntimeError("a compressed recording: reading it needs the package zstandard or the program zstd") from None
        with p:
            assert p.stdout is not None
            out = p.stdout.read(size + 1)                  # and no more, whatever it holds
            p.kill() if len(out) > size else p.wait()
        return out if p.returncode == 0 else None



class Batch:
    """One record. tensors: name -> array (bf16 as its 16 bits)."""

    def __init__(self, batch: int, attempt: int, n: int, time: int, header: dict[str, Any], tensors: dict[str, Array]) -> None:
        self.batch, self.attempt, self.n, self.time, self.header, self.tensors = batch, attempt, n, time, header, tensors

    @property
    def ids(self) -> list[str]:
        return [bytes(row).split(b"\0")[0].decode() for row in self.tensors["id"]]


class _Segment:
    def __init__(self, path: str) -> None:
        self.path = path
        size = os.path.getsize(path)
        if size < 128:
            raise DamagedError("%s: shorter than the head of a recording" % path)
        with open(path, "rb") as f:
            self.map = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        m = self.map
        if m[:8] != b"FLRECORD":
            raise ValueError("%s: not a recording" % path)
        version, first, self.run, self.number, self.B = struct.unpack_from("<IIQII", m, 8)
        if version != 1:
            raise ValueError("%s: recording of version %d, this is version 1" % (path, version))
        text, = struct.unpack_from("<I", m, 64)
        if text > 65536 or first != _align(128 + text) or first > size or struct.unpack_from("<I", m, 124)[0] != crc32c(m[128:128 + text], crc32c(m[:124])):
            raise DamagedError("%s: damaged head" % path)
        try:
            self.edge, self.text = m[32:64].split(b"\0")[0].decode(), json.loads(m[128:128 + text].decode())
        except ValueError as why:
            raise DamagedError("%s: its head is no text: %s" % (path, why)) from None
        self.entries = self._index(first) or self._walk(first)

    def _index(self, first: int) -> Optional[list[tuple[int, int, int]]]:
        m = self.map
        if len(m) < first + 96 or m[-32:-24] != b"FLRCTAIL" or struct.unpack_from("<I", m, len(m) - 4)[0] != crc32c(m[-32:-4]):
            return None
        off, n, crc = struct.unpack_from("<QII", m, len(m) - 24)
        if off < first or off + 64 + 32 * n + 32 != len(m) or crc32c(m[off:-32]) != crc:
            return None
        rows = [struct.unpack_from("<QQQII", m, off + 64 + 32 * i) for i in range(n)]
        return [(b, a, at) for b, at, _, a, _ in rows]

    def _head(self, at: int) -> Optional[tuple[int, int, int, int]]:
        """hlen, bytes, time, ntensors of the record that begins here, or None."""
        m = self.map
        if at + 40 > len(m) or m[at:at + 4] != b"FLRC":
            return None
        hlen, size, time, n, _, _, crc = struct.unpack_from("<IQQIIII", m, at + 4)
        whole = 40 + hlen + 16 * n
        if hlen > 4096 or n > 256 or size % 64 or size < whole or size > len(m) - at:
            return None
        return (hlen, size, time, n) if crc32c(m[at + 40:at + whole], crc32c(m[at:at + 36])) == crc else None

    def _wire(self, at: int, hlen: int, ntensors: int) -> Optional[dict[str, Any]]:
        """The wire header of a record as a dict, proven: what a reader needs is there and tensors are what their shapes say. None: it isn't so."""
        try:
            h: dict[str, Any] = msgpack.unpack(self.map[at + 40:at + 40 + hlen])
            for key in ("run", "batch", "attempt", "n"):
                if type(h[key]) is not int or h[key] < 0:
                    return None
            for name, dtype, shape, _, _, size in h["t"]:
                want = np.dtype(DTYPES[dtype]).itemsize
                for x in shape:
                    if type(x) is not int or not 0 <= x < 1 << 32:
                        return None
                    want *= x
                if type(name) is not str or size != want:
                    return None
            return h if len(h["t"]) == ntensors else None
        except (ValueError, KeyError, TypeError):
            return None

    def _walk(self, first: int) -> list[tuple[int, int, int]]:
        at, found = first, []
        while at < len(self.map) and self.map[at:at + 4] != b"FLIX":
            head = self._head(at)
            h = self._wire(at, head[0], head[3]) if head else None
            if h:
                found.append((h["batch"], h["attempt"], at))
            at += head[1] if head and h else 64
        return found

    def read(self, at: int) -> Batch:
        m, head = self.map, self._head(at)
        if head is None:
            raise DamagedError("%s: offset %d: damaged head of a record" % (self.path, at))
        hlen, _, time, n = head
        h = self._wire(at, hlen, n)
        if h is None:
            raise DamagedError("%s: offset %d: a wire header that can't be" % (self.path, at))
        tensors: dict[str, Array] = {}
        off = at + _align(40 + hlen + 16 * n)
        for i, (name, dtype, shape, _, _, size) in enumerate(h["t"]):
            stored, codec, crc = struct.unpack_from("<QII", m, at + 40 + hlen + 16 * i)
            if stored > len(m) - off or codec > 1 or size > TENSOR_MAX or crc32c(memoryview(m)[off:off + stored]) != crc:
                raise DamagedError("%s: batch %d: damaged tensor %s" % (self.path, h["batch"], name))
            data = memoryview(m)[off:off + stored] if codec == 0 else _zstd(m[off:off + stored], size)
            if data is None or len(data) != size:
                raise DamagedError("%s: batch %d: tensor %s doesn't have the %d bytes of its shape" % (self.path, h["batch"], name, size))
            tensors.setdefault(name, np.frombuffer(data, DTYPES[dtype]).reshape(shape))
            off += _align(stored)
        return Batch(h["batch"], h["attempt"], h["n"], time, h, tensors)


class Recording:
    """All segments of an edge (DIR/EDGE), or one file."""

    def __init__(self, path: str) -> None:
        paths = [path] if os.path.isfile(path) else sorted((p for p in glob.glob(glob.escape(path) + ".*.flr") if re.fullmatch(r"\.\d+\.flr", p[len(path):])),
                                                           key=lambda p: int(p[len(path) + 1:-4]))
        if not paths:
            raise FileNotFoundError(path + ": no recording")
        if len(paths) > 1 and os.path.getsize(paths[-1]) < 128:
            paths.pop()                                    # only just begun
        self.segments = [_Segment(p) for p in paths]
        first = self.segments[0]
        for s in self.segments:
            if (s.run, s.edge) != (first.run, first.edge):
                raise ValueError("%s: of another run or edge than %s" % (s.path, first.path))
        self.edge, self.run, self.B, self.text = first.edge, first.run, first.B, first.text
        self.entries = [(b, a, s, at) for s in self.segments for b, a, at in s.entries]
        self._last = {e[0]: e for e in self.entries}

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Batch]:
        for i in range(len(self)):
            yield self.read(i)

    def read(self, i: int) -> Batch:
        _, _, segment, at = self.entries[i]
        return segment.read(at)

    def batches(self) -> list[int]:
        """Numbers of the batches, ascending, each once."""
        return sorted(self._last)

    def last(self, batch: int) -> Batch:
        """The last attempt of a batch; KeyError when it isn't there."""
        _, _, segment, at = self._last[batch]
        return segment.read(at)
