"""Safetensors read and written with NumPy alone, to the same limits as the C side (runtime/model.h).

u64 little-endian header length (<= 100 MB), a JSON object {name: {dtype, shape, data_offsets}, "__metadata__": {text: text}}, then the
data; offsets count from the end of the header. Everything is proven before anything is handed out; faults raise SafetensorsError,
naming file and tensor.
"""
import json
import math
import mmap
import os
import struct
import tempfile
from typing import Any, Iterable, Mapping, Optional, Union

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Path = Union[str, "os.PathLike[str]"]

HEADER_MAX = 100 * 1000 * 1000
DIMS_MAX = 6
NAME_MAX = 127

# BF16 has no NumPy type: its bits travel as uint16, see Tensor.array and bf16().
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U16": "<u2", "U8": "|u1"}


class SafetensorsError(ValueError):
    """A file that is not what the format or its limits allow."""


class BF16:
    """bits: uint16 array of bfloat16 values; what save() writes as BF16."""

    def __init__(self, bits: npt.ArrayLike) -> None:
        self.bits = np.ascontiguousarray(bits, "<u2")

    @classmethod
    def rounded(cls, values: npt.ArrayLike) -> "BF16":
        """To nearest, ties to even; NaN stays NaN."""
        u = np.ascontiguousarray(values, "<f4").view("<u4")
        up = ((u >> 16) & 1) + np.uint32(0x7FFF)
        bits = ((u + up) >> 16).astype("<u2")
        nan = np.isnan(u.view("<f4"))
        bits[nan] = ((u[nan] >> 16) | 0x40).astype("<u2")
        return cls(bits)

    def float32(self) -> npt.NDArray[np.float32]:
        return (self.bits.astype("<u4") << 16).view("<f4")


class Tensor:
    """One entry: dtype ("F32", ...), shape, and the data as a read-only view."""

    def __init__(self, dtype: str, shape: tuple[int, ...], data: memoryview) -> None:
        self.dtype, self.shape, self.data = dtype, shape, data

    def array(self) -> Array:
        """A read-only array in the mapping; BF16 comes converted to float32, in memory of its own."""
        a = np.frombuffer(self.data, TYPES[self.dtype]).reshape(self.shape)
        return BF16(a).float32() if self.dtype == "BF16" else a


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise ValueError(f'"{key}" is there twice')
        out[key] = value
    return out


def _count(value: Any, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= limit


def _entry(where: str, name: str, v: Any, size: int) -> tuple[str, tuple[int, ...], int, int]:
    at = f'{where}: tensor "{name[:100]}"'
    if not 1 <= len(name.encode()) <= NAME_MAX:
        raise SafetensorsError(f"{at}: a name has 1 to {NAME_MAX} bytes")
    if not isinstance(v, dict) or set(v) != {"dtype", "shape", "data_offsets"}:
        raise SafetensorsError(f"{at}: want an object with dtype, shape and data_offsets")
    dtype, shape, offsets = v["dtype"], v["shape"], v["data_offsets"]
    if not isinstance(dtype, str) or dtype not in TYPES:
        raise SafetensorsError(f"{at}: dtype {dtype!r:.20}, want one of {' '.join(TYPES)}")
    if not isinstance(shape, list) or len(shape) > DIMS_MAX or not all(_count(d, 0xFFFFFFFF) for d in shape):
        raise SafetensorsError(f"{at}: shape is not a list of up to {DIMS_MAX} integers from 0 to 4294967295")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_count(o, size) for o in offsets) or offsets[0] > offsets[1]:
        raise SafetensorsError(f"{at}: data_offsets are not two rising integers within the {size} bytes of data")
    want = math.prod(shape) * np.dtype(TYPES[dtype]).itemsize
    if offsets[1] - offsets[0] != want:
        raise SafetensorsError(f"{at}: {offsets[1] - offsets[0]} bytes, its shape and type want {want}")
    return dtype, tuple(shape), offsets[0], offsets[1]


def _metadata(where: str, meta: Any) -> dict[str, str]:
    if not isinstance(meta, dict) or not all(isinstance(v, str) for v in meta.values()):
        raise SafetensorsError(f"{where}: __metadata__ is not an object of texts")
    return meta


def parse(where: str, buffer: Union[bytes, bytearray, memoryview, mmap.mmap]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """{name: Tensor} in the order of the header, and the metadata; the tensors are views of buffer (bytes, mmap, memoryview)."""
    view = memoryview(buffer).cast("B").toreadonly()
    if len(view) < 8:
        raise SafetensorsError(f"{where}: {len(view)} bytes, too short for a safetensors file")
    (length,) = struct.unpack("<Q", view[:8])
    if length > HEADER_MAX or length > len(view) - 8:
        raise SafetensorsError(f"{where}: a header of {length} bytes in a file of {len(view)}: not safetensors, or cut off")
    try:
        header = json.loads(bytes(view[8 : 8 + length]).decode(), object_pairs_hook=_pairs)
    except (ValueError, RecursionError) as e:
        raise SafetensorsError(f"{where}: header: {e}") from None
    if not isinstance(header, dict):
        raise SafetensorsError(f"{where}: the header is not a JSON object")
    data = view[8 + length :]
    meta = _metadata(where, header.pop("__metadata__", {}))
    found = {name: _entry(where, name, v, len(data)) for name, v in header.items()}
    end, before = 0, ""
    for name, (_, _, begin, stop) in sorted(found.items(), key=lambda item: item[1][2:]):
        if begin < end:
            raise SafetensorsError(f'{where}: tensors "{before}" and "{name}" overlap')
        end, before = stop, name
    return {name: Tensor(dtype, shape, data[begin:stop]) for name, (dtype, shape, begin, stop) in found.items()}, meta


def open_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """As parse, of a mapped file; the mapping lives as long as a tensor does."""
    with open(path, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        if size < 8:
            raise SafetensorsError(f"{path}: {size} bytes, too short for a safetensors file")
        return parse(str(path), mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ))


def load(path: Path) -> dict[str, Array]:
    """{name: array}; read-only, BF16 as float32."""
    return {name: t.array() for name, t in open_file(path)[0].items()}


def _kind(name: str, a: Array) -> str:
    for dtype, kind in TYPES.items():
        if dtype != "BF16" and a.dtype == np.dtype(kind):
            return dtype
    raise SafetensorsError(f'tensor "{name}": {a.dtype} elements can\'t be written')


def _plan(tensors: Mapping[str, Union[npt.ArrayLike, BF16]], metadata: Optional[Mapping[str, str]]) -> tuple[bytes, list[Array]]:
    header: dict[str, Any] = {}
    parts: list[Array] = []
    at = 0
    if metadata:
        header["__metadata__"] = _metadata("metadata", dict(metadata))
    for name, value in tensors.items():
        if name == "__metadata__" or not 1 <= len(name.encode()) <= NAME_MAX:
            raise SafetensorsError(f'tensor "{name[:100]}": the name is reserved, or not of 1 to {NAME_MAX} bytes')
        a: Array = value.bits if isinstance(value, BF16) else np.asarray(value)
        shape = a.shape                              # ascontiguousarray makes [1] of []
        if len(shape) > DIMS_MAX:
            raise SafetensorsError(f'tensor "{name}": {len(shape)} dimensions, at most {DIMS_MAX}')
        a = np.ascontiguousarray(a, a.dtype.newbyteorder("<"))
        header[name] = {"dtype": "BF16" if isinstance(value, BF16) else _kind(name, a), "shape": list(shape), "data_offsets": [at, at + a.nbytes]}
        parts.append(a)
        at += a.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)                  # so that the data lies at a multiple of 8
    if len(text) > HEADER_MAX:
        raise SafetensorsError(f"a header of {len(text)} bytes, at most {HEADER_MAX}")
    return text, parts


def write_new(path: Path, chunks: Iterable[Union[bytes, memoryview]]) -> None:
    """Bytes to a temporary name in the same folder, fsync, rename: path holds the old or the new file, never a part."""
    folder = os.path.dirname(os.path.abspath(path))
    fd, name = tempfile.mkstemp(prefix=os.path.basename(path) + ".", dir=folder)
    try:
        with os.fdopen(fd, "wb") as f:
            for c in chunks:
                f.write(c)
            f.flush()
            os.fchmod(f.fileno(), 0o644)
            os.fsync(f.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    folder_fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)


def save(path: Path, tensors: Mapping[str, Union[npt.ArrayLike, BF16]], metadata: Optional[Mapping[str, str]] = None) -> None:
    """tensors: {name: array or BF16}, written in their order."""
    text, parts = _plan(tensors, metadata)
    write_new(path, [struct.pack("<Q", len(text)), text, *(a.reshape(-1).data.cast("B") if a.size else b"" for a in parts)])
