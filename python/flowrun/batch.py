"""A batch as a trainer sees it: tensors that lie in flowrun's slabs, without a copy, for as long as anything refers to them."""
from typing import TYPE_CHECKING, Any, Iterator, Mapping, NoReturn, Optional

import numpy as np
import numpy.typing as npt

from flowrun.dlpack import Exporter
from flowrun.errors import FeedError, ReleasedError
from flowrun.header import KINDS, Header
from flowrun.process import THIS

if TYPE_CHECKING:
    import torch
    from flowrun.wire import Wire

Array = npt.NDArray[Any]


class Lease:
    """The right to read a batch's memory. Whatever is made of that memory holds the lease; when nothing does, the batch goes back."""

    __slots__ = ("wire", "header", "more", "_pid")

    def __init__(self, wire: "Wire", header: Header, more: Any) -> None:
        self.wire, self.header, self.more, self._pid = wire, header, more, THIS.pid

    def __del__(self) -> None:
        if self._pid == THIS.pid:                            # a forked worker's copy gives nothing back
            self.wire.give_back(self.header)


class _Memory(np.ndarray[Any, Any]):
    """A tensor's memory with its lease. Who takes a batch's array gets a plain one, whose base this is."""

    __slots__ = ("lease",)


class Batch(Mapping[str, Array]):
    """Tensors by name: read-only NumPy arrays on flowrun's memory. It is given back when the batch and all that was taken from it are gone."""

    __slots__ = ("_lease", "_header", "_tensors", "_arrays", "number", "epoch", "index")

    def __init__(self, header: Header, per_epoch: int, lease: Lease) -> None:
        self._lease: Optional[Lease] = lease
        self._header, self._tensors = header, header.tensors
        self._arrays: dict[str, Array] = {}
        self.number = number = header.batch                     # from 0 over the whole run
        self.epoch, self.index = number // per_epoch, number % per_epoch

    def __getitem__(self, name: str) -> Array:
        got = self._arrays.get(name)
        if got is None:
            lease = self._lease
            if lease is None:
                raise ReleasedError(f"batch {self.number} was released")
            t = self._tensors[name]
            buffer, begin = lease.wire.memory(lease.header, lease.more, t)
            memory = _Memory(t.shape, KINDS[t.dtype], buffer, begin)
            memory.lease = lease                                # type: ignore[attr-defined]
            got = self._arrays[name] = memory.view(np.ndarray)
        return got

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a batch is memory of this host's: pickle its arrays, which copies them")

    def __enter__(self) -> "Batch":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        inside = ", ".join(f"{t.name} {t.dtype}{list(t.shape)}" for t in self._tensors.values())
        return f"<Batch {self.number} (epoch {self.epoch}, {self.n} tiles): {inside}>"

    def release(self) -> None:
        """Lets go of the memory. Arrays and tensors that were taken stay good and keep it until they are gone, too."""
        self._arrays = {}
        self._lease = None

    @property
    def n(self) -> int:
        """How many tiles."""
        return self._header.n

    @property
    def ids(self) -> list[str]:
        raw = np.ascontiguousarray(self["id"]).view(f"S{self['id'].shape[1]}").reshape(-1)
        return [x.decode() for x in raw]

    @property
    def labels(self) -> Array:
        """Truth, u8 [n, L]; the feed's `labels` names the columns."""
        if "truth" not in self._tensors:
            raise FeedError("the batch has no labels: give the source its option `labels`")
        return self["truth"]

    @property
    def good(self) -> npt.NDArray[np.bool_]:
        """False for rows that a stage has rejected: their values mean nothing."""
        if "status" not in self._tensors:
            return np.ones(self.n, bool)
        good: npt.NDArray[np.bool_] = self["status"] == 0
        return good

    @property
    def reasons(self) -> dict[int, str]:
        """Why, of each rejected row."""
        if "reason" not in self._tensors:
            return {}
        return {int(i): bytes(self["reason"][i]).split(b"\0")[0].decode(errors="replace") for i in np.flatnonzero(~self.good)}

    def dlpack(self, name: str) -> Exporter:
        """For `torch.from_dlpack`, `jax.dlpack.from_dlpack` and the like; memory that must not be written to."""
        array, t = self[name], self._tensors[name]
        return Exporter(array.ctypes.data, t.shape, t.dtype, array)

    def torch(self, name: str) -> "torch.Tensor":
        """A torch tensor on the same memory. It must not be written to: clone it before an operation in place."""
        import torch
        from torch.utils.dlpack import from_dlpack
        t = self._tensors[name]
        if t.dtype in ("u16", "u32", "u64"):                    # torch has none of these
            wide = {"u16": np.int32, "u32": np.int64, "u64": np.int64}[t.dtype]
            return torch.from_numpy(self[name].astype(wide))
        if t.bytes == 0:
            return torch.from_numpy(self[name].copy())
        got: "torch.Tensor" = from_dlpack(self.dlpack(name))
        return got
