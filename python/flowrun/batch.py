"""A batch as a trainer sees it: tensors that lie in flowrun's slabs, without a copy, for as long as anything refers to them."""
import os
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from flowrun.dlpack import Exporter
from flowrun.errors import FeedError, ReleasedError
from flowrun.header import KINDS, Header, Tensor

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[Any]


class Lease:
    """The right to read a batch's memory. Whatever is made of that memory holds the lease; when nothing does, the batch goes back."""

    __slots__ = ("_back", "_pid", "memory")

    def __init__(self, back: Callable[[], None], memory: Any) -> None:
        self._back, self._pid, self.memory = back, os.getpid(), memory

    def __del__(self) -> None:
        if os is not None and os.getpid() == self._pid:      # a forked worker's copy gives nothing back
            self._back()


class _View:
    """What NumPy keeps as the base of an array, and so keeps the lease."""

    __slots__ = ("__array_interface__", "lease", "__weakref__")

    def __init__(self, lease: Lease, address: int, t: Tensor) -> None:
        self.lease = lease
        self.__array_interface__ = {"version": 3, "shape": t.shape, "typestr": KINDS[t.dtype], "data": (address, True)}


class Batch(Mapping[str, Array]):
    """Tensors by name: read-only NumPy arrays on flowrun's memory. It is given back when the batch and all that was taken from it are gone."""

    def __init__(self, header: Header, per_epoch: int, lease: Lease, address: Callable[[Tensor], int]) -> None:
        self._header, self._lease, self._address = header, lease, address
        self._tensors = header.tensors
        self._arrays: dict[str, Array] = {}
        self.number = header.batch                              # from 0 over the whole run
        self.epoch, self.index = divmod(header.batch, per_epoch)

    def _hold(self) -> Lease:
        if self._lease is None:
            raise ReleasedError(f"batch {self.number} was released")
        return self._lease

    def __getitem__(self, name: str) -> Array:
        a = self._arrays.get(name)
        if a is None:
            lease = self._hold()
            t = self._tensors[name]
            a = np.asarray(_View(lease, self._address(t), t))
            self._arrays[name] = a
        return a

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

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
        self._lease = None  # type: ignore[assignment]

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
        lease, t = self._hold(), self._tensors[name]
        return Exporter(self._address(t), t.shape, t.dtype, lease)

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


def address_of(buffer: Any) -> int:
    """Where the bytes of a read-only buffer lie."""
    return int(np.frombuffer(buffer, np.uint8).ctypes.data) if len(buffer) else 0

