"""A graph that ends in the stage `feed`, as an iterable of batches."""
import json
import operator
import os
import time
from types import TracebackType
from typing import Any, Iterator, Optional, Sequence, Type

from flowrun.batch import Batch
from flowrun.errors import EndOfRun, FeedError, StaleBatch
from flowrun.process import THIS
from flowrun.run import Graph, Run
from flowrun.wire import Gone, LocalWire, RemoteWire, Wire, join_message, text_of


class Feed:
    """Iterating gives the batches of one epoch, for this rank; the next `for` loop gives those of the next.

    graph: a pipeline (path of a .yaml, or a dict) starts flowrun; a run directory joins the graph that works there; RUN/feed.json joins it
        from another host.
    rank, world: this trainer among how many. Rank r gets the batches r, r + world, ... of the epoch; the global order is the same whatever
        the world is. All ranks of an epoch must say the same world; it may change from epoch to epoch.
    name: which feed, where a graph has several.
    sets: what `flowrun --set` takes, for example "tiles.fold=0".
    tensors: over TCP, the tensors to be sent (all); "file" asks for the tiles as they lie on disk.
    run: run directory of a graph that is started here; else a temporary one.
    timeout: seconds until a feed that can't be reached, or stays away, is an error. Waiting for a batch has no limit while flowrun lives.

    It belongs to the process that opened it, and to one thread at a time; what it gave may be dropped in any thread.
    """

    def __init__(self, graph: Graph, *, rank: int = 0, world: int = 1, name: Optional[str] = None, sets: Sequence[str] = (),
                 tensors: Sequence[str] = (), run: Optional[str] = None, timeout: float = 60.0, flowrun: Optional[str] = None) -> None:
        try:
            rank, world = operator.index(rank), operator.index(world)
        except TypeError:
            raise FeedError(f"rank {rank!r} of a world of {world!r}: want whole numbers") from None
        if not 0 <= rank < world:
            raise FeedError(f"rank {rank} of a world of {world}")
        if isinstance(sets, str) or isinstance(tensors, str):
            raise FeedError(f"sets and tensors are lists of texts, not {sets if isinstance(sets, str) else tensors!r}")
        self._pid = THIS.pid
        self.rank, self.world = rank, world
        self._graph, self._name, self._sets, self._tensors = graph, name, list(sets), list(tensors)
        self._run_dir, self._timeout, self._flowrun = run, timeout, flowrun
        self._run: Optional[Run] = None
        self._wire: Optional[Wire] = None
        self._position: Optional[int] = None         # first batch that not all ranks have had; None: the run's first
        self._next = 0                               # batch this rank was told to expect next, or a later one
        self._joined = False
        self._serving = 0                            # epoch that the loop at hand gives
        self._closed = False

    # ---- what there is ----

    @property
    def _welcome(self) -> dict[str, Any]:
        return self._open().welcome

    @property
    def epochs(self) -> int:
        return int(self._welcome["epochs"])

    @property
    def per_epoch(self) -> int:
        """Batches of an epoch, over all ranks."""
        return int(self._welcome["batches"]) // self.epochs

    @property
    def labels(self) -> list[str]:
        return list(self._welcome["labels"])

    @property
    def exclusive(self) -> list[str]:
        """Labels of which a tile has exactly one; may be empty."""
        return list(self._welcome["exclusive"])

    @property
    def rest_off(self) -> Optional[str]:
        """The label that allows no other, or None."""
        name = self._welcome["rest_off"]
        return str(name) if name is not None else None

    @property
    def batch_size(self) -> int:
        """Most tiles in a batch."""
        return int(self._welcome["B"])

    @property
    def position(self) -> int:
        """Number of the next batch, from 0 over the whole run: what is before it, all ranks have had."""
        return int(self._welcome["start"]) if self._position is None else self._position

    @property
    def epoch(self) -> int:
        """The epoch that the next `for` loop gives, or is giving."""
        return self.position // self.per_epoch

    def __len__(self) -> int:
        """Batches of a whole epoch for this rank."""
        return (self.per_epoch - self.rank + self.world - 1) // self.world

    @property
    def run_dir(self) -> Optional[str]:
        """Where others on this host join; None over TCP."""
        if self._run is not None:
            return self._run.dir
        return os.fspath(self._graph) if self._kind() == "run" else None      # type: ignore[arg-type]

    # ---- positions ----

    def state_dict(self) -> dict[str, int]:
        """Where this feed is; batches handed out count as used. StaleBatch when one of them can't be relied on."""
        if self._wire is not None:
            self._fresh(self._wire)
        return {"version": 1, "position": self.position, "per_epoch": self.per_epoch, "epochs": self.epochs}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on from there: at once when nothing was had yet, else by starting the graph anew, if it is ours to start."""
        position = state.get("position") if isinstance(state, dict) else None
        if type(position) is not int or position < 0 or state.get("version") != 1:
            raise FeedError(f"no position: {state!r}")
        if self._wire is not None and self._joined or self._run is not None:
            if self._run is None:
                raise FeedError("batches were had already, and the graph was started by another program: it must start it anew at this position")
            self._shut()
        self._position, self._expect = position, (state.get("per_epoch"), state.get("epochs"))
        if self._wire is not None:
            self._prove()

    _expect: tuple[Optional[int], Optional[int]] = (None, None)

    def _prove(self) -> None:
        per_epoch, epochs = self._expect
        if per_epoch is not None and (per_epoch != self.per_epoch or (epochs is not None and epochs > self.epochs)):
            raise FeedError(f"the position is one of {epochs} epochs of {per_epoch} batches; this graph has {self.epochs} of {self.per_epoch}")

    def skip_epoch(self) -> None:
        """Leaves out the rest of the epoch at hand."""
        self._position = (self.epoch + 1) * self.per_epoch
        self._joined = False

    # ---- the connection ----

    def _kind(self) -> str:
        if not isinstance(self._graph, (str, os.PathLike)):
            return "graph"
        path = os.fspath(self._graph)
        if os.path.isdir(path):
            return "run"
        return "remote" if path.endswith(".json") and not path.endswith("config.json") else "graph"

    def _find(self, folder: str) -> str:
        if self._name is not None:
            return os.path.join(folder, f"{self._name}.feed")
        try:
            with open(os.path.join(os.path.dirname(folder), "config.json")) as f:
                stages = json.load(f)["stages"]
        except OSError:
            return ""                                        # not yet
        found = sorted(name for name, s in stages.items() if s["stage"] == "feed")
        if len(found) != 1:
            raise FeedError(f"several feeds, want a name: {', '.join(found)}" if found else "no stage of this graph is a feed")
        return os.path.join(folder, f"{found[0]}.feed")

    def _connect_local(self, folder: str) -> Wire:
        end = time.monotonic() + self._timeout
        while True:
            path = self._find(folder)
            try:
                if path and os.path.exists(path):
                    return LocalWire(path, self._timeout)
            except Gone:
                pass                                     # a feed that just died leaves its socket until the next one comes
            if self._run is not None:
                self._run.check()
                if self._run.process.poll() is not None:
                    raise FeedError(f"flowrun ended before a feed was there: {self._run.said()}")
            elif not os.path.isdir(folder):
                raise FeedError(f"{os.path.dirname(folder)}: no graph is at work there")
            if time.monotonic() > end:
                raise FeedError(f"{folder}: no feed within {self._timeout:g} s; does the graph end in one?")
            time.sleep(0.005)

    def _open(self) -> Wire:
        if self._closed:
            raise FeedError("this feed was closed")
        self._ours()
        if self._wire is not None:
            return self._wire
        kind = self._kind()
        if kind == "remote":
            self._wire = RemoteWire(os.fspath(self._graph), self._timeout)       # type: ignore[arg-type]
        else:
            if kind == "graph" and self._run is None:
                self._run = Run(self._graph, self._run_dir, self._sets, self._start(), self._flowrun)
            folder = self._run.dir if self._run is not None else os.fspath(self._graph)     # type: ignore[arg-type]
            self._wire = self._connect_local(os.path.join(folder, "s"))
        self._prove()
        return self._wire

    def _ours(self) -> None:
        if self._pid != THIS.pid:
            raise FeedError(f"this feed is process {self._pid}'s: a forked one opens its own, flowrun.Feed(feed.run_dir, rank=..., world=...)")

    def _start(self) -> int:
        """Where a graph begins. Nothing is left to begin with behind its last batch, but there is who asks for labels and epochs."""
        per_epoch, epochs = self._expect
        last = per_epoch * epochs - 1 if per_epoch and epochs else None
        return min(self._position or 0, last) if last is not None else self._position or 0

    def _join(self) -> None:
        wire = self._open()
        try:
            wire.send(join_message(self.rank, self.world, self._next, self._tensors))
        except Gone as why:
            self._lost(why)                                      # joins the next one, or tells why there is none
            return
        self._joined = True

    def _lost(self, why: Gone) -> None:
        """The connection is gone. A feed that died is started again by its graph; a graph that ended isn't."""
        wire = self._open()
        wire.close()
        self._wire = None
        if isinstance(wire, RemoteWire):
            raise why
        if self._run is not None:
            end = time.monotonic() + 0.2                         # flowrun may be about to say why
            while self._run.process.poll() is None and time.monotonic() < end:
                time.sleep(0.01)
            self._run.check()
        self._open()
        self._fresh(wire)                                        # asked now: the graph has settled what the dead feed had
        self._join()

    @staticmethod
    def _fresh(wire: Wire) -> None:
        stale = wire.overwritten()
        if stale is not None:
            raise StaleBatch(f"the feed died while batch {stale} was in use, and its memory may have been written to since")

    def _receive(self, per_epoch: int) -> Optional[Batch]:
        """This rank's next batch; None at the end of its share."""
        if self._pid != THIS.pid:
            self._ours()
        while True:
            wire = self._wire or self._open()
            try:
                got = wire.receive(1.0)
            except Gone as why:
                self._lost(why)
                continue
            if got is None:
                continue
            message, more = got
            kind, body = message[0], message[4:]
            if kind == 66:                                       # B
                batch = wire.batch(body, more, per_epoch)
                if batch is not None and batch.epoch == self._serving and batch.number >= self._next:      # else it is of an epoch that was left
                    return batch
            elif kind == 70:                                     # F
                if int.from_bytes(body, "little") == self._serving:
                    wire.taking = False
                    return None
            elif kind == 88:                                     # X
                wire.close()
                self._wire, self._joined = None, False
                raise FeedError(text_of(body))
            elif kind == 69:                                     # E
                wire.taking = False
                raise EndOfRun("the graph was stopped")

    def __iter__(self) -> Iterator[Batch]:
        epoch, per_epoch = self.epoch, self.per_epoch
        end = (epoch + 1) * per_epoch
        if epoch >= self.epochs:
            raise EndOfRun(f"all {self.epochs} epochs have been had")
        if self._wire is not None and self._wire.taking:
            raise FeedError("the loop was interrupted while a batch was handed to it, which is lost: go on from feed.state_dict()")
        self._serving = epoch
        if not self._joined:
            self._next = self.position + self.rank
            if self._next < end:
                self._join()
        while self._joined:
            box = [self._receive(per_epoch)]                      # not a variable: this frame must not keep the batch while it waits at yield
            if box[0] is None:
                break
            number = box[0].number
            self._next = number + self.world
            self._position = min(self._next - self.rank, end)
            if self._wire is not None:
                self._wire.taking = False
            yield box.pop()  # type: ignore[misc]
        if self._wire is not None:
            self._fresh(self._wire)                      # the end of the share may have been told before the feed died
        self._position, self._joined = end, False

    # ---- the end ----

    def _shut(self) -> None:
        if self._wire is not None and self._pid == THIS.pid:     # a forked copy leaves its parent's alone
            self._wire.close()
        if self._run is not None:
            self._run.stop()
        self._wire = self._run = None
        self._joined = False

    def close(self) -> None:
        """Leaves; a graph that was started here ends. Arrays that are still held stay good."""
        self._shut()
        self._closed = True

    def __getstate__(self) -> dict[str, Any]:
        if self._wire is not None or self._run is not None:
            raise TypeError("a feed that is open can't be pickled: another process opens its own, flowrun.Feed(feed.run_dir, rank=..., world=...)")
        return {**self.__dict__, "_pid": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _pid=THIS.pid)

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], where: Optional[TracebackType]) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()
