"""State dicts of PyTorch's .pth files read with NumPy alone; nothing in a file can run.

A .pth is a pickle beside its tensors' data: a zip archive, or (until PyTorch 1.6) one pickle after the other. Pickles name functions
to call. Here the names lead to a few functions of this module, which only record what is asked for, and any other name is refused:
PyTorch's own weights_only=True does the same, but could be got round before its version 2.6.
"""
import collections
import io
import math
import pickle
import pickletools
import struct
import zipfile
from typing import IO, Any, Callable, Iterable, Sequence

import numpy as np

from flowrun.safetensors import BF16, Array, Path

PICKLE_MAX = 64 << 20
DIMS_MAX = 6
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001

STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "bf16", "LongStorage": "<i8",
    "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "|i1", "ByteStorage": "|u1", "BoolStorage": "|b1",
}


# What torch.save writes. Others build what no state dict holds, and some can be made to ask for much memory.
OPCODES = frozenset(
    "PROTO STOP MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS SETITEM SETITEMS GLOBAL REDUCE BUILD BINPERSID "
    "BINPUT LONG_BINPUT BINGET LONG_BINGET NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINSTRING BINSTRING".split()
)


class PthError(ValueError):
    """A file that can't be read as a state dict, or that asks for more than tensors."""


class _Plain:
    """Made by a pickle: takes no attributes from it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise PthError("its pickle sets the state of a tensor")


class _Kind(_Plain):
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class _Storage(_Plain):
    __slots__ = ("kind", "key", "count", "data")

    def __init__(self, kind: str, key: str, count: int) -> None:
        self.kind, self.key, self.count, self.data = kind, key, count, b""

    def item(self) -> int:
        return 2 if STORAGES[self.kind] == "bf16" else np.dtype(STORAGES[self.kind]).itemsize

    def flat(self) -> Array:
        if STORAGES[self.kind] == "bf16":
            return BF16(np.frombuffer(self.data, "<u2")).float32()
        return np.frombuffer(self.data, STORAGES[self.kind])


def _whole(values: Any) -> bool:
    return isinstance(values, (tuple, list)) and all(type(v) is int and 0 <= v <= 1 << 40 for v in values)


class _Tensor(_Plain):
    """A strided view of a storage, proven to lie in it."""

    __slots__ = ("storage", "offset", "shape", "strides")

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any) -> None:
        if not isinstance(storage, _Storage) or not _whole((offset,)) or not _whole(shape) or not _whole(strides):
            raise PthError("a tensor without storage, shape or strides")
        if len(shape) != len(strides) or len(shape) > DIMS_MAX:
            raise PthError(f"a tensor of {len(shape)} dimensions with {len(strides)} strides")
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides))
        if math.prod(shape) > storage.count or (0 not in shape and last >= storage.count):
            raise PthError(f"a tensor of shape {tuple(shape)} reaches beyond its {storage.count} elements")
        self.storage, self.offset, self.shape, self.strides = storage, offset, tuple(shape), tuple(strides)

    def array(self) -> Array:
        flat = self.storage.flat()
        if 0 in self.shape:
            return np.empty(self.shape, flat.dtype)
        strides = [s * flat.itemsize for s in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides, writeable=False).copy()


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor: Any, *_: Any) -> _Tensor:
    if not isinstance(tensor, _Tensor):
        raise PthError("a parameter without a tensor")
    return tensor


def _size(values: Iterable[Any] = ()) -> tuple[Any, ...]:
    return tuple(values)


NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): _size,
}


Finder = Callable[[str, str, int], _Storage]      # kind, key, number of elements


class _Reader(pickle.Unpickler):
    def __init__(self, file: IO[bytes], storage: Finder) -> None:
        super().__init__(file, encoding="utf-8")
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in NAMES:
            return NAMES[module, name]
        if module == "torch" and name in STORAGES:
            return _Kind(name)
        raise PthError(f"its pickle asks for {module}.{name}: only tensors are read (save model.state_dict() alone)")

    def persistent_load(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage" or not isinstance(pid[1], _Kind):
            raise PthError("its pickle refers to something that is no storage")
        _, kind, key, _, count = pid[:5]
        if len(pid) == 6 and pid[5] is not None:
            raise PthError("views of storages, as PyTorch 0.x wrote them, are not read")
        if not isinstance(key, str) or not _whole((count,)):
            raise PthError("a storage without key or size")
        return self.storage(kind.name, key, count)


def _unpickle(file: IO[bytes], storage: Finder) -> Any:
    try:
        start = file.tell()
        for i, (op, arg, _) in enumerate(pickletools.genops(file)):
            if op.name not in OPCODES:
                raise PthError(f"its pickle holds {op.name}, which no state dict has: only tensors are read (save model.state_dict() alone)")
            if op.name == "LONG_BINPUT" and (arg or 0) > i:      # the table of things to refer to is as long as its largest number
                raise PthError("its pickle numbers things that aren't there")
        file.seek(start)
        return _Reader(file, storage).load()
    except PthError:
        raise
    except Exception as e:      # a broken pickle raises nearly anything
        raise PthError(f"its pickle can't be read: {type(e).__name__}: {e}") from None


def _zip(file: IO[bytes]) -> Any:
    with zipfile.ZipFile(file) as z:
        infos = {i.filename: i for i in z.infolist()}
        roots = [n[: -len("data.pkl")] for n in infos if n.endswith("/data.pkl")]
        if len(roots) != 1:
            raise PthError("a zip archive without one data.pkl: not written by torch.save")
        root = roots[0]
        stores: dict[str, _Storage] = {}
        if infos[root + "data.pkl"].file_size > PICKLE_MAX:
            raise PthError(f"a pickle of {infos[root + 'data.pkl'].file_size} bytes, at most {PICKLE_MAX}")
        if root + "byteorder" in infos and z.read(root + "byteorder")[:8] != b"little":
            raise PthError("written on a big-endian machine")

        def storage(kind: str, key: str, count: int) -> _Storage:
            if key in stores:
                if (stores[key].kind, stores[key].count) != (kind, count):
                    raise PthError(f"storage {key[:40]} is there twice")
                return stores[key]
            s = _Storage(kind, key, count)
            info = infos.get(f"{root}data/{key}")
            if info is None or info.compress_type != zipfile.ZIP_STORED or info.file_size != count * s.item():
                raise PthError(f"storage {key[:40]} is missing, compressed, or not of {count * s.item()} bytes")
            s.data = z.read(info)
            stores[key] = s
            return s

        return _unpickle(io.BytesIO(z.read(root + "data.pkl")), storage)


def _legacy(file: IO[bytes], size: int) -> Any:
    stores: dict[str, _Storage] = {}

    def storage(kind: str, key: str, count: int) -> _Storage:
        if stores.setdefault(key, s := _Storage(kind, key, count)) is not s and (stores[key].kind, stores[key].count) != (kind, count):
            raise PthError(f"storage {key[:40]} is there twice")
        return stores[key]

    def none(*_: Any) -> _Storage:
        raise PthError("a storage where none may be")

    if _unpickle(file, none) != MAGIC or _unpickle(file, none) != PROTOCOL:
        raise PthError("neither a zip archive nor a pickle of torch.save")
    info = _unpickle(file, none)
    if not isinstance(info, dict) or info.get("little_endian") is not True:
        raise PthError("written on a big-endian machine")
    root, keys = _unpickle(file, storage), _unpickle(file, none)
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(stores):
        raise PthError("its list of storages is not that of its tensors")
    for key in keys:
        s = stores[key]
        head = file.read(8)
        if len(head) != 8 or struct.unpack("<q", head)[0] != s.count or s.count * s.item() > size - file.tell():
            raise PthError(f"storage {key[:40]} is cut off, or not of {s.count} elements")
        s.data = file.read(s.count * s.item())
    return root


def _tensors(root: Any) -> dict[str, _Tensor]:
    """The state dict in what was saved: itself, or under the key that training programs use."""
    for _ in range(3):
        if not isinstance(root, dict):
            break
        if root and all(isinstance(k, str) and isinstance(v, _Tensor) for k, v in root.items()):
            return root
        inner = [k for k in ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net") if isinstance(root.get(k), dict)]
        if not inner:
            break
        root = root[inner[0]]
    raise PthError("no dict of tensors in it, nor under state_dict, model_state_dict, model or net")


def load(path: Path) -> dict[str, Array]:
    """{name: array} in the file's order; bfloat16 as float32. PthError names the fault and the file."""
    with open(path, "rb") as f:
        try:
            size = f.seek(0, 2)
            f.seek(0)
            head = f.read(4)
            f.seek(0)
            root = _zip(f) if head[:2] == b"PK" else _legacy(f, size)
            return {name: t.array() for name, t in _tensors(root).items()}
        except PthError as e:
            raise PthError(f"{path}: {e}") from None
        except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError, MemoryError, ValueError, OverflowError, struct.error) as e:
            raise PthError(f"{path}: {type(e).__name__}: {e}") from None
