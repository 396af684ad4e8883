"""DLPack over memory of flowrun's: what NumPy refuses to export because it is read-only."""
import ctypes
from typing import Any, Optional

# enum DLDataTypeCode and the structs of dlpack.h, version 0.
_CODES = {"u": 1, "i": 0, "f": 2, "b": 4}


class _Device(ctypes.Structure):
    _fields_ = [("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32)]


class _DataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device", _Device), ("ndim", ctypes.c_int32), ("dtype", _DataType), ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


class _Managed(ctypes.Structure):
    pass


_DELETER = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = [("dl_tensor", _Tensor), ("manager_ctx", ctypes.c_void_p), ("deleter", _DELETER)]
_DESTRUCTOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

_new = ctypes.pythonapi.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, _DESTRUCTOR]
_valid = ctypes.pythonapi.PyCapsule_IsValid
_valid.restype, _valid.argtypes = ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]

_alive: dict[int, tuple[Any, ...]] = {}          # what an exported tensor needs, by the address of its struct, until it is deleted


def _delete(managed: Any) -> None:
    _alive.pop(ctypes.addressof(managed.contents), None)


def _destroy(capsule: int) -> None:
    if _valid(capsule, b"dltensor"):             # nobody took it
        _alive.pop(_pointer(capsule, b"dltensor") or 0, None)


_deleter, _destructor = _DELETER(_delete), _DESTRUCTOR(_destroy)


class Exporter:
    """An array that speaks DLPack; `owner` is kept until the last tensor made of it is gone."""

    def __init__(self, address: int, shape: tuple[int, ...], dtype: str, owner: object) -> None:
        self._what = address, shape, dtype, owner

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0                              # the CPU

    def __dlpack__(self, stream: Optional[int] = None) -> Any:
        address, shape, dtype, owner = self._what
        dims = (ctypes.c_int64 * max(len(shape), 1))(*shape)
        code = _CODES[dtype.rstrip("0123456789")[0]]
        m = _Managed()
        m.dl_tensor = _Tensor(address, _Device(1, 0), len(shape), _DataType(code, int(dtype.lstrip("uifb")), 1), dims, None, 0)
        m.deleter = _deleter
        _alive[ctypes.addressof(m)] = (m, dims, owner)
        return _new(ctypes.addressof(m), b"dltensor", _destructor)
