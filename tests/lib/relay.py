"""A TCP relay of the tests between flowrun and its agents: holds all bytes back for a time, keeps what was said, notes what went when."""
import json
import os
import socket
import stat
import threading
import time
from collections import deque

from flow import FLOWRUN


class Pump:
    """One direction of one connection: a thread reads, another writes what is due."""

    def __init__(self, relay, number, source, to, way):
        self.relay, self.number, self.source, self.to, self.way = relay, number, source, to, way
        self.kept, self.queue, self.more = bytearray(), deque(), threading.Condition()
        for work in (self.read, self.write):
            threading.Thread(target=work, daemon=True).start()

    def read(self):
        data = b"more"
        while data:
            try:
                data = self.source.recv(1 << 16)
            except OSError:
                data = b""
            if len(self.kept) < self.relay.keep:
                self.kept += data
            self.relay.seen.append((time.monotonic(), self.number, self.way, len(data)))
            with self.more:
                self.queue.append((time.monotonic() + self.relay.delay, data))
                self.more.notify()

    def write(self):
        data = b"more"
        while data:
            with self.more:
                while not self.queue:
                    self.more.wait()
                due, data = self.queue.popleft()
            time.sleep(max(0, due - time.monotonic()))
            try:
                self.to.sendall(data)
            except OSError:
                return
        for s in (self.to, self.source):
            try:
                s.shutdown(socket.SHUT_WR)
            except OSError:
                pass


class Relay:
    """Between the agents of one host and flowrun. `launcher` writes a script that starts agents which come through here; `port` is flowrun's, once
    the script has run."""

    def __init__(self, tmp, host, delay=0.0, keep=0):
        self.tmp, self.host, self.delay, self.keep = tmp, host, delay, keep
        self.links = []                 # (up, down) of each connection: up is what the agent's side says
        self.seen = []                  # (when, number of the connection, "up" or "down", bytes), as they came to the relay
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    def letter(self):
        with open("%s/letter-%s" % (self.tmp, self.host)) as f:
            return json.load(f)

    def target(self):
        host, port = self.letter()["address"][6:].rsplit(":", 1)
        return host, int(port)

    def accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
                far = socket.create_connection(self.target())
            except OSError:
                return
            for s in (near, far):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            n = len(self.links)
            self.links.append((Pump(self, n, near, far, "up"), Pump(self, n, far, near, "down")))

    def close(self):
        self.listener.close()


def launcher(tmp, relays):
    """A launcher for cluster.command: SCRIPT HOST. The letter is kept in TMP/letter-HOST; hosts without a relay are called directly."""
    path = tmp + "/launch"
    ports = "".join("%s) port=%d ;;\n" % (r.host, r.listener.getsockname()[1]) for r in relays)
    with open(path, "w") as f:
        f.write("#!/bin/bash\nread -r line\nprintf '%%s\\n' \"$line\" > %s/letter-$1\ncase $1 in\n%s*) port= ;;\nesac\n"
                "[ -z \"$port\" ] || line=$(printf '%%s' \"$line\" | sed \"s|tcp://127.0.0.1:[0-9]*|tcp://127.0.0.1:$port|\")\n"
                "exec 3<&0\nexec %s agent < <(printf '%%s\\n' \"$line\"; exec cat <&3) 3<&-\n" % (tmp, ports, FLOWRUN))
    os.chmod(path, stat.S_IRWXU)
    return path
