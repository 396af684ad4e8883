"""A stage in Python: a function on arrays with typed ports becomes a stage process (docs/python.md).

The loop, the links and all that is promised of them are those of every other stage: libflowrun.so runs them in this process, and calls
back for each batch. Here a function's signature becomes the stage's tables, and tensors become arrays.
"""
import ctypes
import dataclasses
import inspect
import json
import math
import os
import pathlib
import re
import sys
import traceback
import typing
from typing import Any, Callable, Mapping, NoReturn, Optional, Sequence, TypeVar

import numpy as np
from numpy.typing import NDArray

from flowrun.errors import FlowrunError
from flowrun.run import program

DTYPES = {"u8": np.uint8, "u16": np.uint16, "i32": np.int32, "u32": np.uint32, "i64": np.int64, "u64": np.uint64,
          "f16": np.float16, "f32": np.float32, "f64": np.float64}
CODES = ("E_INPUT", "E_LABEL", "E_SHAPE", "E_NUM")          # what a tile may be rejected with
OPTIONAL, TAKEN = 1, 2                                      # runtime/stage.h
MAX_DIMS = 6
BAD_TILE = ("skip", "fail")

Arrays = Mapping[str, NDArray[Any]]
F = TypeVar("F", bound=Callable[..., Any])


class Reject(FlowrunError):
    """Raised by a stage's function: this tile can't be used. Any other exception over one tile rejects it, too, as E_INPUT."""

    def __init__(self, text: str, code: str = "E_INPUT") -> None:
        if code not in CODES:
            raise ValueError(f"code {code}: want one of {', '.join(CODES)}")
        super().__init__(text)
        self.code = code


class _Contract(Exception):
    """The function doesn't do what its declaration says: no matter of tiles."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of a port: element types ("u8|u16"), dimensions ("B,H,W,4": numbers, letters, names of int options). taken: it ends here."""
    dtypes: str
    shape: str
    taken: bool = False

    def dims(self) -> list[str]:
        return self.shape.split(",")


@dataclasses.dataclass(frozen=True)
class Option:
    """What the annotation of an option adds to its type: Annotated[float, Option("percentile cut off", min=0, max=50)]."""
    help: str = ""
    min: Optional[float] = None
    max: Optional[float] = None


class Context:
    """What a function may ask for by a keyword-only parameter of this type."""

    def __init__(self, labels: Sequence[str], seed: int, counters: Sequence[str], calls: Any, ctx: int) -> None:
        self.labels, self.seed = tuple(labels), seed
        self._counters, self._calls, self._ctx = list(counters), calls, ctx

    def count(self, counter: str, n: int = 1) -> None:
        self._calls.fl_bridge_count(self._ctx, self._counters.index(counter), n)

    def warn(self, text: str) -> None:
        self._calls.fl_bridge_warn(self._ctx, text.encode())

    def alive(self) -> None:
        """Long work over one batch gets on: the supervisor needn't think that it hangs."""
        self._calls.fl_bridge_alive(self._ctx)


@dataclasses.dataclass
class _Stage:
    """A function's signature, read."""
    function: Callable[..., Any]
    name: str
    help: str
    takes: dict[str, Tensor]
    optional: set[str]
    options: list[dict[str, Any]]
    context: Optional[str]
    gives: dict[str, Tensor]
    counters: list[str]

    def tables(self) -> str:
        def spec(name: str, t: Tensor) -> dict[str, Any]:
            return {"name": name, "dtypes": t.dtypes, "shape": t.shape, "flags": TAKEN * t.taken + OPTIONAL * (name in self.optional)}
        marks = {} if "id" in self.takes else {"id": Tensor("u8", "B,64")}            # rejects name their tile
        return json.dumps({"name": self.name, "help": self.help, "options": self.options, "counters": self.counters,
                           "in": [spec(n, t) for n, t in {**self.takes, **marks}.items()], "out": [spec(n, t) for n, t in self.gives.items()]})


# ---- from a signature to tables ----

def _wrong(name: str, text: str) -> TypeError:
    return TypeError(f"stage {name}: {text}")


def _option(name: str, stage: str, hint: Any, default: Any) -> dict[str, Any]:
    more = Option()
    if typing.get_origin(hint) is typing.Annotated:
        more = next((m for m in hint.__metadata__ if isinstance(m, Option)), more)
        hint = hint.__origin__
    if typing.get_origin(hint) is typing.Union:                                       # Optional[str] = None
        hint = next((a for a in typing.get_args(hint) if a is not type(None)), hint)
    o: dict[str, Any] = {"name": name, "help": more.help, "required": default is inspect.Parameter.empty}
    if typing.get_origin(hint) is typing.Literal:
        o.update(type="choice", choices="|".join(typing.get_args(hint)))
    else:
        kinds = {bool: "bool", int: "int", float: "float", str: "str", pathlib.Path: "path"}
        if hint not in kinds:
            raise _wrong(stage, f"option {name}: its type is {hint!r}, want bool, int, float, str, pathlib.Path or a Literal of texts")
        o["type"] = kinds[hint]
    if (more.min is None) != (more.max is None):
        raise _wrong(stage, f"option {name}: min and max go together")
    if more.min is not None:
        o.update(min=more.min, max=more.max)
    if not o["required"] and default is not None:
        o["default"] = str(default).lower() if isinstance(default, bool) else str(default)
    return o


def _check_tensor(stage: str, name: str, t: Tensor) -> None:
    unknown = [d for d in t.dtypes.split("|") if d not in DTYPES]
    if unknown:
        raise _wrong(stage, f"tensor {name}: type {unknown[0]}, want some of {', '.join(DTYPES)}")
    if len(t.dims()) > MAX_DIMS or not all(re.fullmatch(r"[0-9]+|[A-Z]|[a-z_][a-z0-9_]*", d) for d in t.dims()):
        raise _wrong(stage, f"tensor {name}: shape \"{t.shape}\", want at most {MAX_DIMS} numbers, letters or names of options, separated by commas")


def _check_gives(s: _Stage) -> None:
    known = {d for t in s.takes.values() for d in t.dims()} | {"B", "L"} | {o["name"] for o in s.options if o["type"] == "int"}
    for name, t in s.gives.items():
        _check_tensor(s.name, name, t)
        if "|" in t.dtypes:
            raise _wrong(s.name, f"output {name}: {t.dtypes}, want one type")
        if t.dims()[0] != "B":
            raise _wrong(s.name, f"output {name}: shape \"{t.shape}\" doesn't begin with B, the tiles")
        for d in t.dims():
            if not d.isdigit() and d not in known:
                raise _wrong(s.name, f"output {name}: dimension {d} is neither one of the inputs' nor an int option")


def _read(function: Callable[..., Any], gives: Mapping[str, Tensor], help: str, counters: Sequence[str]) -> _Stage:
    name = function.__name__
    said = help or (inspect.getdoc(function) or "").split("\n")[0]
    if not said:
        raise _wrong(name, "it needs a docstring whose first line says what it does")
    s = _Stage(function, name, said, {}, set(), [], None, dict(gives), list(counters))
    hints = typing.get_type_hints(function, include_extras=True)
    for p in inspect.signature(function).parameters.values():
        hint = hints.get(p.name)
        if p.kind == p.KEYWORD_ONLY and hint is Context:
            s.context = p.name
        elif p.kind == p.KEYWORD_ONLY:
            s.options.append(_option(p.name, name, hint, p.default))
        elif p.kind == p.POSITIONAL_OR_KEYWORD:
            tensor = next((m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Tensor)), None)
            if tensor is None:
                raise _wrong(name, f"input {p.name}: want Annotated[..., Tensor(types, shape)]; options come after a *")
            _check_tensor(name, p.name, tensor)
            s.takes[p.name] = tensor
            if p.default is None:
                s.optional.add(p.name)
        else:
            raise _wrong(name, f"parameter {p.name}: neither an input nor an option")
    if not s.takes or not s.gives:
        raise _wrong(name, "it needs an input and an output")
    _check_gives(s)
    s.options.append({"name": "on_bad_tile", "type": "choice", "choices": "|".join(BAD_TILE), "default": "skip", "required": False,
                      "help": "A tile that the function can't take: rejected, or the end of the run."})
    return s


def stage(*, gives: Mapping[str, Tensor], help: str = "", counters: Sequence[str] = ()) -> Callable[[F], F]:
    """Declares a function to be a stage; it stays callable as it is.

    Positional parameters are input tensors, keyword-only ones options. It is called with the good rows of a batch, arrays that can't be
    written, and returns a dict of arrays as `gives` says (one array where that is one). A row's result must depend on that row and the
    options alone: when a call fails, it is made again row by row to find whose fault it is.
    """
    def declare(function: F) -> F:
        setattr(function, "__flowrun__", _read(function, gives, help, counters))
        return function
    return declare


# ---- the process ----

class _BridgeTensor(ctypes.Structure):
    _fields_ = [("dtype", ctypes.c_char_p), ("ndim", ctypes.c_uint32), ("shape", ctypes.c_uint32 * MAX_DIMS), ("data", ctypes.c_void_p)]


_OPEN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_BATCH = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class _Calls(ctypes.Structure):
    _fields_ = [("open", _OPEN), ("batch", _BATCH)]


def _library() -> Any:
    """libflowrun.so beside the flowrun that is used, its calls typed."""
    from flowrun import __version__
    home = os.path.dirname(os.path.dirname(os.path.realpath(program())))
    path = next((p for p in (f"{home}/libflowrun.so", f"{home}/libexec/flowrun/libflowrun.so") if os.path.exists(p)), None)
    if path is None:
        raise FlowrunError(f"no libflowrun.so in {home}")
    lib = ctypes.CDLL(path)
    p, u32, text = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_char_p
    for name, result, args in (
            ("version", text, ()), ("main", ctypes.c_int, (text, ctypes.POINTER(_Calls), ctypes.c_int, ctypes.POINTER(text))),
            ("option", p, (p, u32)), ("labels", ctypes.POINTER(text), (p, ctypes.POINTER(u32))), ("seed", ctypes.c_uint64, (p,)), ("rows", u32, (p,)),
            ("tensor", ctypes.c_bool, (p, text, ctypes.POINTER(_BridgeTensor))), ("id", text, (p, u32)), ("rejected", ctypes.c_bool, (p, u32)),
            ("out", p, (p, p, text, text, u32, ctypes.POINTER(u32))), ("reject", ctypes.c_int, (p, p, u32, text, text)),
            ("fail", ctypes.c_int, (p, text, text)), ("warn", None, (p, text)), ("count", None, (p, ctypes.c_int, ctypes.c_uint64)), ("alive", None, (p,))):
        call = getattr(lib, "fl_bridge_" + name)
        call.restype, call.argtypes = result, args
    if lib.fl_bridge_version().decode() != __version__:
        raise FlowrunError(f"{path} is of version {lib.fl_bridge_version().decode()}, this package of {__version__}")
    return lib


def _array(address: int, dtype: str, shape: Sequence[int]) -> NDArray[Any]:
    kind: np.dtype[Any] = np.dtype(DTYPES[dtype])
    memory: Any = (ctypes.c_ubyte * (math.prod(shape) * kind.itemsize)).from_address(address)
    return np.ndarray(tuple(shape), kind, memory)


def _where(error: BaseException) -> str:
    """The line of the stage's file that an exception came through last."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if file is not None and f.filename == file]
    return f" (line {lines[-1]})" if lines else ""


class _Process:
    """The callbacks of one stage process."""

    def __init__(self, s: _Stage, calls: Any) -> None:
        self.s, self.calls = s, calls
        self.values: dict[str, Any] = {}
        self.labels: list[str] = []

    def value(self, ctx: int, i: int, o: Mapping[str, Any]) -> Any:
        at = self.calls.fl_bridge_option(ctx, i)
        kind: Any = {"bool": ctypes.c_bool, "int": ctypes.c_int64, "float": ctypes.c_double, "choice": ctypes.c_int}.get(o["type"], ctypes.c_char_p)
        got = ctypes.cast(at, ctypes.POINTER(kind))[0]
        if o["type"] == "choice":
            return o["choices"].split("|")[int(got)]
        if isinstance(got, bytes):
            return pathlib.Path(got.decode()) if o["type"] == "path" else got.decode()
        return got

    def open(self, ctx: int) -> int:
        self.values = {o["name"]: self.value(ctx, i, o) for i, o in enumerate(self.s.options)}
        self.on_bad_tile = self.values.pop("on_bad_tile")
        n = ctypes.c_uint32()
        labels = self.calls.fl_bridge_labels(ctx, ctypes.byref(n))
        self.labels = [labels[i].decode() for i in range(n.value)]
        if self.s.context is not None:
            self.values[self.s.context] = Context(self.labels, self.calls.fl_bridge_seed(ctx), self.s.counters, self.calls, ctx)
        return 0

    def inputs(self, b: int) -> tuple[dict[str, Optional[NDArray[Any]]], dict[str, int]]:
        """Arrays by name (None: absent) and the values of letters."""
        arrays: dict[str, Optional[NDArray[Any]]] = {}
        sizes = {"B": int(self.calls.fl_bridge_rows(b)), "L": len(self.labels)}
        for name, t in self.s.takes.items():
            got = _BridgeTensor()
            if not self.calls.fl_bridge_tensor(b, name.encode(), ctypes.byref(got)):
                arrays[name] = None
                continue
            shape = [int(got.shape[i]) for i in range(got.ndim)]
            sizes.update(zip(t.dims(), shape))
            array = arrays[name] = _array(got.data, got.dtype.decode(), shape)
            array.flags.writeable = False
        return arrays, sizes

    def call(self, arrays: Mapping[str, Optional[NDArray[Any]]], rows: NDArray[np.intp], want: Mapping[str, Sequence[int]]) -> Arrays:
        """The function over some rows, its results proven."""
        def some(name: str, a: Optional[NDArray[Any]]) -> Optional[NDArray[Any]]:
            if a is None or self.s.takes[name].dims()[0] != "B" or len(rows) == len(a):
                return a
            part: NDArray[Any] = a[rows]
            part.flags.writeable = False
            return part
        got = self.s.function(*(some(n, a) for n, a in arrays.items()), **self.values)
        if isinstance(got, np.ndarray) and len(want) == 1:
            got = {next(iter(want)): got}
        if not isinstance(got, Mapping) or set(got) != set(want):
            raise _Contract(f"returned {sorted(got) if isinstance(got, Mapping) else type(got).__name__}, want {' and '.join(want)}")
        for name, shape in want.items():
            a, kind, whole = got[name], self.s.gives[name].dtypes, [len(rows), *shape]
            if not isinstance(a, np.ndarray) or a.dtype != DTYPES[kind] or list(a.shape) != whole:
                said = f"{a.dtype} {list(a.shape)}" if isinstance(a, np.ndarray) else type(a).__name__
                raise _Contract(f"output {name} is {said}, want {np.dtype(DTYPES[kind])} {whole}")
        return got

    def bad_tile(self, ctx: int, b: int, row: int, error: Exception) -> int:
        """Rejects a row, or ends the run."""
        code = error.code if isinstance(error, Reject) else "E_INPUT"
        said = str(error) if isinstance(error, Reject) else f"{type(error).__name__}: {error}{_where(error)}"
        text = f"{self.calls.fl_bridge_id(b, row).decode()}: {said}".replace("\n", " ").encode()
        if self.on_bad_tile == "fail":
            return int(self.calls.fl_bridge_fail(ctx, code.encode(), text))
        return int(self.calls.fl_bridge_reject(ctx, b, row, code.encode(), text))

    def batch(self, ctx: int, b: int) -> int:
        arrays, sizes = self.inputs(b)
        shapes = {n: [int(d) if d.isdigit() else sizes[d] if d in sizes else self.values[d] for d in t.dims()[1:]] for n, t in self.s.gives.items()}
        good = np.array([r for r in range(sizes["B"]) if not self.calls.fl_bridge_rejected(b, r)], np.intp)
        results: list[tuple[NDArray[np.intp], Arrays]] = []
        rejected: list[tuple[int, Exception]] = []
        work = [good] if len(good) else []
        while work:
            rows = work.pop(0)
            try:
                results.append((rows, self.call(arrays, rows, shapes)))
            except (MemoryError, _Contract):
                raise
            except Exception as why:
                if len(rows) == 1:
                    rejected.append((int(rows[0]), why))
                else:
                    work = [rows[i:i + 1] for i in range(len(rows))]
        for name, shape in shapes.items():
            whole = [sizes["B"], *shape]
            at = self.calls.fl_bridge_out(ctx, b, name.encode(), self.s.gives[name].dtypes.encode(), len(whole), (ctypes.c_uint32 * len(whole))(*whole))
            if not at:
                return -12                                              # FL_E_BUG; fl_out has said why
            out = _array(at, self.s.gives[name].dtypes, whole)
            if len(results) != 1 or len(results[0][0]) < len(out):
                out[...] = 0                                            # rejected rows
            for rows, got in results:
                out[rows if len(rows) < len(out) else slice(None)] = got[name]
        for row, error in rejected:
            rc = self.bad_tile(ctx, b, row, error)
            if rc != 0:
                return rc
        return 0

    def guarded(self, callback: Callable[..., int], ctx: int, *more: int) -> int:
        """No exception can pass through the C loop: each is a named failure, or the death of this process."""
        try:
            return callback(ctx, *more)
        except MemoryError as error:
            return int(self.calls.fl_bridge_fail(ctx, b"E_NOMEM", f"{error or 'out of memory'}{_where(error)}".encode()))
        except _Contract as error:
            return int(self.calls.fl_bridge_fail(ctx, b"E_BUG", str(error).encode()))
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)                                                 # counts against the batch (docs/delivery.md, Poison)


def main(function: Callable[..., Any], argv: Optional[Sequence[str]] = None) -> NoReturn:
    """Runs a declared function as the stage process that flowrun started, or answers --describe and --help."""
    s = getattr(function, "__flowrun__", None)
    if not isinstance(s, _Stage):
        raise TypeError(f"{function!r} was not declared by @flowrun.stage")
    try:
        calls = _library()
    except (FlowrunError, OSError, AttributeError) as error:
        sys.exit(f"{s.name}: {error}")
    p = _Process(s, calls)
    callbacks = _Calls(_OPEN(lambda ctx: p.guarded(p.open, ctx)), _BATCH(lambda ctx, b: p.guarded(p.batch, ctx, b)))
    args = [a.encode() for a in (sys.argv if argv is None else argv)]
    status = calls.fl_bridge_main(s.tables().encode(), ctypes.byref(callbacks), len(args), (ctypes.c_char_p * (len(args) + 1))(*args, None))
    sys.stdout.flush()
    sys.exit(status)
