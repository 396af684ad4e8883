"""How a trainer reaches a feed: over the socket in the run directory, or over TCP with the keys of its JSON file (docs/protocol.md 7)."""
import json
import mmap
import os
import select
import socket
import struct
import time
from collections import deque
from typing import Any, Optional, Protocol, Sequence

from flowrun.batch import Batch, Lease
from flowrun.errors import FeedError
from flowrun.header import Header, Parser, Tensor
from flowrun.msgpack import MessageError

VERSION = 1
MOST_FDS = 253
MESSAGE_MOST = 8192


class Gone(FeedError):
    """The connection has ended without a word."""


def join_message(rank: int, world: int, start: int, names: Sequence[str]) -> bytes:
    return struct.pack("<cBHIIQ", b"J", VERSION, len(names), rank, world, start) + b"".join(n.encode() + b"\0" for n in names)


_release = struct.Struct("<cBHIQ").pack


def release_message(gen: int, batch: int) -> bytes:
    return _release(b"R", VERSION, 0, gen, batch)


class Wire(Protocol):
    welcome: dict[str, Any]
    taking: bool                 # a message was taken from the feed, and whoever waits for it does not have it yet

    def send(self, message: bytes) -> None: ...
    def receive(self, seconds: float) -> Optional[tuple[bytes, Any]]: ...       # kind with body, and what came with it; None: nothing in that time
    def batch(self, body: bytes, more: Any, per_epoch: int) -> Optional[Batch]: ...      # None: given up before it was read
    def memory(self, h: Header, more: Any, t: Tensor) -> tuple[Any, int]: ...   # the buffer that a tensor lies in, and where it begins
    def give_back(self, h: Header) -> None: ...                                 # from any thread
    def overwritten(self) -> Optional[int]: ...                                 # a batch whose memory was given up while it was in use; each is told once
    def close(self) -> None: ...


def read_welcome(message: bytes) -> dict[str, Any]:
    if message[:2] != b"W\x01":
        raise FeedError(f"no feed answers there, or one of another version: {message[:40]!r}")
    w = json.loads(message[4:])
    if not isinstance(w, dict) or w.get("flowrun_feed") != 1:
        raise FeedError("a feed of another version")
    return w


def read_address(path: str) -> dict[str, str]:
    """RUN/feed.json: address and keys."""
    try:
        with open(path) as f:
            where = json.load(f)
    except (OSError, ValueError) as why:
        raise FeedError(f"{path}: {why}") from None
    if not isinstance(where, dict) or where.get("flowrun_feed") != 1:
        raise FeedError(f"{path}: no feed's address")
    for key in ("address", "server_key", "public_key", "secret_key"):
        if not isinstance(where.get(key), str):
            raise FeedError(f"{path}: {key} is missing")
    return where


def parsed(parser: Parser, body: bytes) -> Header:
    try:
        return parser.parse(body)
    except MessageError as why:
        raise FeedError(f"the feed sent a header that is none: {why}") from None


def text_of(body: bytes) -> str:
    return body.decode(errors="replace")


# ---- this host ----


class _Pool:
    def __init__(self, fd: int, slab: int, window: int) -> None:
        self.map = mmap.mmap(fd, slab * window, mmap.MAP_SHARED, mmap.PROT_READ)
        self.slab = slab


class LocalWire:
    def __init__(self, path: str, seconds: float) -> None:
        folder, name = os.path.split(path)
        fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)        # a short name, however long the path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self.socket.settimeout(seconds)
            self.socket.connect(f"/proc/self/fd/{fd}/{name}")
            self._greet()
        except OSError as why:
            self.socket.close()
            raise Gone(f"{path}: {why}") from None
        finally:
            os.close(fd)
        self.parser, self.stale, self.closed, self.taking = Parser(), -1, False, False
        self.out: dict[int, Header] = {}                         # batches in use
        self._proven: Optional[dict[str, Tensor]] = None         # tensors that were found to lie within their pools
        self._poll = select.poll()
        self._poll.register(self.socket, 0)
        self._waits = select.poll()
        self._waits.register(self.socket, select.POLLIN)
        self.socket.setblocking(False)

    def _greet(self) -> None:
        message, ancillary, _, _ = self.socket.recvmsg(1 << 18, socket.CMSG_SPACE(4 * MOST_FDS))
        fds: list[int] = []
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds += struct.unpack(f"{len(data) // 4}i", data[:len(data) // 4 * 4])
        try:
            self.welcome = read_welcome(message)
            pools = self.welcome["pools"]
            if len(fds) != len(pools) + 1:
                raise FeedError(f"{len(fds)} descriptors for {len(pools)} pools")
            self.window = window = self.welcome["window"]
            self.pools = {p["place"]: _Pool(fd, p["slab"], window) for p, fd in zip(pools, fds)}
            self.gens = memoryview(mmap.mmap(fds[-1], 4 * window, mmap.MAP_SHARED, mmap.PROT_READ)).cast("I")
        finally:
            for f in fds:
                os.close(f)

    def send(self, message: bytes) -> None:
        try:
            self._send(message)
        except OSError as why:
            raise Gone(f"the feed is gone: {why}") from None

    def _send(self, message: bytes) -> None:
        while True:
            try:
                self.socket.send(message)
                return
            except BlockingIOError:
                room = select.poll()                             # not select.select: the program may have more than 1024 files open
                room.register(self.socket, select.POLLOUT)
                room.poll(1000)

    def receive(self, seconds: float) -> Optional[tuple[bytes, Any]]:
        self.taking = True
        try:
            message = self.socket.recv(MESSAGE_MOST)
        except BlockingIOError:
            self.taking = False
            if not self._waits.poll(seconds * 1000):
                return None
            return self.receive(0)
        except OSError as why:
            raise Gone(f"the feed is gone: {why}") from None
        if not message or (message[0] == 66 and self._poll.poll(0)):         # B: what a dead feed had sent is about to be given up
            raise Gone("the feed has closed the connection")
        return message, None

    def batch(self, body: bytes, more: Any, per_epoch: int) -> Optional[Batch]:
        h = parsed(self.parser, body)
        slot = h.slot
        if slot >= self.window:
            raise FeedError(f"slot {slot} of {self.window}")
        if h.tensors is not self._proven:                        # batches alike share it
            for t in h.tensors.values():
                if t.place not in self.pools or t.off + t.bytes > self.pools[t.place].slab:
                    raise FeedError(f"tensor {t.name} lies outside of pool {t.place}")
            self._proven = h.tensors
        if self.gens[slot] != h.gen:
            return None
        self.out[h.batch] = h
        return Batch(h, per_epoch, Lease(self, h, None))

    def memory(self, h: Header, more: Any, t: Tensor) -> tuple[Any, int]:
        p = self.pools[t.place]
        return p.map, h.slot * p.slab + t.off

    def give_back(self, h: Header) -> None:
        if self.gens[h.slot] != h.gen:
            self.stale = h.batch
        self.out.pop(h.batch, None)
        if not self.closed:
            try:
                self._send(_release(b"R", VERSION, 0, h.gen, h.batch))
            except OSError:
                pass                                             # the feed is gone, and knows

    def overwritten(self) -> Optional[int]:
        stale, self.stale = self.stale, -1
        for h in list(self.out.values()):                        # who still uses one of them may read another batch
            if self.gens[h.slot] != h.gen:
                stale = h.batch
        return stale if stale >= 0 else None

    def close(self) -> None:
        self.closed = True
        self.socket.close()


# ---- other hosts ----


class RemoteWire:
    """Needs pyzmq. Its socket belongs to the thread that made it, so what other threads give back waits for the next call."""

    def __init__(self, path: str, seconds: float) -> None:
        try:
            import zmq
            import zmq.utils.monitor
        except ImportError:
            raise FeedError("a feed on another host needs pyzmq (pip install flowrun[remote], apt install python3-zmq)") from None
        where = read_address(path)
        self.zmq, self.parser = zmq, Parser()
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.rcvhwm = self.socket.sndhwm = 0
        self.socket.heartbeat_ivl, self.socket.heartbeat_timeout = 5000, 20000
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
        try:
            self.socket.curve_serverkey = where["server_key"].encode()
            self.socket.curve_publickey, self.socket.curve_secretkey = where["public_key"].encode(), where["secret_key"].encode()
            self.socket.connect(where["address"])
        except zmq.ZMQError as why:
            self.socket.disable_monitor()
            self.context.destroy(0)
            raise FeedError(f"{path}: its keys or its address are none: {why}") from None
        self.poller = zmq.Poller()
        self.poller.register(self.socket, zmq.POLLIN)
        self.poller.register(self.monitor, zmq.POLLIN)
        self.owed: "deque[bytes]" = deque()
        self.closed = self.taking = False
        self.send(struct.pack("<cBH", b"H", VERSION, 0))
        try:
            got = self.receive(seconds)
            if got is None:
                raise Gone(f"{path}: {where['address']} does not answer in {seconds:g} s")
            self.welcome = read_welcome(got[0])
            self.taking = False
        except FeedError:
            self.close()
            raise

    def send(self, message: bytes) -> None:
        self._pay()
        self.socket.send(message)

    def _pay(self) -> None:
        while self.owed:
            self.socket.send(self.owed.popleft())

    def receive(self, seconds: float) -> Optional[tuple[bytes, Any]]:
        end = time.monotonic() + seconds
        while True:
            self._pay()
            left = end - time.monotonic()
            ready = dict(self.poller.poll(int(max(0.0, min(100.0, left * 1000)))))
            if self.socket in ready:
                self.taking = True
                frames = self.socket.recv_multipart(copy=False)
                return bytes(frames[0].buffer), frames
            if self.monitor in ready:
                event = self.zmq.utils.monitor.recv_monitor_message(self.monitor)["event"]
                raise Gone("the connection has ended" if event == self.zmq.EVENT_DISCONNECTED else "the feed does not take this key: the run is another one")
            if left <= 0:
                return None

    def batch(self, body: bytes, more: Any, per_epoch: int) -> Batch:
        h = parsed(self.parser, body)
        for t in h.tensors.values():
            if t.place != -1 or not 1 <= t.off < len(more) or len(more[t.off].buffer) != t.bytes:
                raise FeedError(f"tensor {t.name} did not come along")
        return Batch(h, per_epoch, Lease(self, h, more))

    def memory(self, h: Header, more: Any, t: Tensor) -> tuple[Any, int]:
        return more[t.off].buffer, 0

    def give_back(self, h: Header) -> None:
        self.owed.append(release_message(h.gen, h.batch))

    def overwritten(self) -> Optional[int]:
        return None                                              # what came is this process's own

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._pay()
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(500)                                   # a moment for the last releases
        self.context.term()
