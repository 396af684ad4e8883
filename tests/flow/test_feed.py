"""Graphs that end in feed: what trainers get, on this host and over TCP, through deaths, and with whom it has nothing to do."""
import glob
import json
import os
import pickle
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import msgpack
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, os.path.join(HERE, "..", "..", "python"))
import flow
from flow import FLOWRUN, LABELS, TILES, Skip, children, flowrun as run_flowrun, holds, same, slurp, wait_for

os.environ["FLOWRUN"] = FLOWRUN
import flowrun
from flowrun.feed import Feed
from flowrun.header import MessageError, Parser

N = 60
FILES = [os.path.join(TILES, "sample_%05d.jpg" % i) for i in range(N)]


def graph(batch=4, files=FILES, instances=1, memory="8MB", tiles=None, feed=None, from_=("decode",)):
    return {"memory": memory, "seed": 7, "stages": {
        "tiles": {"stage": "source", "options": dict({"files": files, "batch": batch, "labels": LABELS}, **(tiles or {}))},
        "decode": {"from": "tiles", "instances": instances},
        "feed": {"from": list(from_), "options": feed or {}}}}


def take(feed, into):
    for b in feed:
        holds(b.number not in into, "batch %d comes once" % b.number)
        into[b.number] = (b.ids, b["pixels"].tobytes(), b.labels.tobytes())
        del b                          # the loop's own name would keep it until the next one is here
    return into


_whole = {}
_lock = threading.Lock()


def whole():
    """What one trainer gets of the graph, the measure for all others."""
    with _lock:
        if not _whole:
            with Feed(graph()) as f:
                take(f, _whole)
    return _whole


# ---- what comes ----

def a_trainer_gets_every_tile_once(tmp):
    got = whole()
    same(sorted(got), list(range(N // 4)), "batches")
    same([i for b in sorted(got) for i in got[b][0]], [os.path.basename(f)[:-4] for f in FILES], "ids in the order of the source")


def the_pixels_are_those_of_djpeg_and_the_labels_those_of_the_table(tmp):
    import cv2
    table = {line.split(",")[0]: line.strip().split(",")[1].split() for line in open(LABELS)}
    with Feed(graph()) as f:
        for b in f:
            for row, tile in enumerate(b.ids):
                want = cv2.imread(os.path.join(TILES, tile + ".jpg"))[:, :, ::-1]
                holds(np.abs(b["pixels"][row].astype(int) - want).max() <= 3, "%s looks as another program decodes it" % tile)
                same({f.labels[i] for i in np.flatnonzero(b.labels[row])}, set(table[tile]), tile)
            break


def instances_change_nothing(tmp):
    with Feed(graph(instances=3)) as f:
        same(take(f, {}), whole(), "three instances")


def ranks_share_the_same_order_in_any_world(tmp):
    for world in (2, 3):
        shares = share_out(world)
        same(sorted(sum(shares.values(), [])), sorted(whole()), "the batches of all ranks of %d" % world)
        for r in range(world):
            same(shares[r], list(range(r, N // 4, world)), "rank %d of %d" % (r, world))


def share_out(world, **options):
    shares = {}
    with Feed(graph(**options), rank=0, world=world) as first:
        where = (first.epochs, first.run_dir)[1]
        def rank(r):
            with Feed(where, rank=r, world=world) as f:
                shares[r] = share_of(f)
        threads = [threading.Thread(target=rank, args=(r,)) for r in range(1, world)]
        for t in threads:
            t.start()
        shares[0] = share_of(first)
        for t in threads:
            t.join()
    return shares


def share_of(feed):
    got = []
    for b in feed:
        same((b.ids, b["pixels"].tobytes(), b.labels.tobytes()), whole()[b.number], "batch %d" % b.number)
        got.append(b.number)
        del b
    return got


def a_rank_over_tcp_gets_the_same_bytes(tmp):
    try:
        import zmq                                       # noqa: F401
    except ImportError:
        raise Skip("no pyzmq")
    with Feed(graph(feed={"listen": "tcp://127.0.0.1:*"}), rank=0, world=2) as first:
        where = (first.epochs, os.path.join(first.run_dir, "feed.json"))[1]
        same(os.stat(where).st_mode & 0o777, 0o600, "who may read feed.json")
        got, remote = {}, {}
        def rank():
            with Feed(where, rank=1, world=2) as f:
                take(f, remote)
        t = threading.Thread(target=rank)
        t.start()
        take(first, got)
        t.join()
        same({**got, **remote}, whole(), "both together")
        same(sorted(remote), list(range(1, N // 4, 2)), "the remote share")


def encoded_tiles_come_as_they_lie_on_disk(tmp):
    try:
        import zmq                                       # noqa: F401
    except ImportError:
        raise Skip("no pyzmq")
    g = graph(feed={"listen": "tcp://127.0.0.1:*"}, from_=("decode", "tiles"))
    with Feed(g) as first:
        where = (first.epochs, os.path.join(first.run_dir, "feed.json"))[1]
        with Feed(where, tensors=["id", "file", "file_end"]) as f:
            for b in f:
                same(set(b), {"id", "file", "file_end"}, "tensors")
                ends = [0, *map(int, b["file_end"])]
                for row, tile in enumerate(b.ids):
                    same(bytes(b["file"][ends[row]:ends[row + 1]]), slurp(os.path.join(TILES, tile + ".jpg")), tile)
                del b
        first._run.process.wait(30)


def another_key_is_not_let_in(tmp):
    try:
        import zmq
    except ImportError:
        raise Skip("no pyzmq")
    with Feed(graph(feed={"listen": "tcp://127.0.0.1:*"})) as first:
        where = (first.epochs, os.path.join(first.run_dir, "feed.json"))[1]
        with open(where) as f:
            j = json.load(f)
        public, secret = zmq.curve_keypair()
        with open(tmp + "/feed.json", "w") as f:
            json.dump(dict(j, public_key=public.decode(), secret_key=secret.decode()), f)
        try:
            Feed(tmp + "/feed.json", timeout=20).epochs
            raise AssertionError("let in")
        except flowrun.FeedError as why:
            holds("does not take this key" in str(why), "%s: it says why" % why)
        same(take(first, {}), whole(), "the graph")


def headers_alike_are_read_as_each_alone(tmp):
    """A parser that has seen many headers and one that has seen none find the same in a header, whole or damaged."""
    rng, warm = random.Random(3), Parser()
    tensors = [["id", "u8", [4, 64], 0, 0, 256], ["input", "f32", [4, 1, 3, 8, 8], 0, 256, 3072]]

    def read(parser, data):
        try:
            return parser.parse(data)
        except MessageError as why:
            return str(why)
    numbers = (0, 5, 127, 128, 255, 256, 65535, 65536, 1 << 32)
    found = 0
    for batch in numbers:
        for slot in numbers[:6]:
            header = {"v": 1, "run": 1 << 40, "batch": batch, "attempt": 1, "slot": slot, "gen": batch // 3, "n": 4, "crit": 0, "t": tensors}
            data = msgpack.packb(header)
            for _ in range(40):
                same(read(warm, data), read(Parser(), data), data)
                found += not isinstance(read(warm, data), str)
                data = bytearray(msgpack.packb(header))
                data[rng.randrange(len(data))] = rng.randrange(256)
                data = bytes(data)
    holds(found > 54, "whole ones are among them: %d" % found)
    same(Parser().parse(msgpack.packb(header))[:6], (1 << 40, 1 << 32, 1, 256, (1 << 32) // 3, 4), "numbers")


# ---- memory ----

def arrays_keep_the_batch_and_can_not_be_written(tmp):
    import torch
    with Feed(graph(memory="40MB")) as f:
        kept = []
        for b in f:
            x, t = b["pixels"], b.torch("pixels")
            same(t.data_ptr(), x.ctypes.data, "torch and NumPy see the same memory")
            holds(not x.flags.writeable, "read-only")
            kept.append((b.number, x[1:3], t) if b.number < 3 else None)
            holds(b == b and b in {b}, "a batch is itself")
            try:
                pickle.dumps(b)
                raise AssertionError("a batch is pickled")
            except TypeError as why:
                holds("pickle its arrays" in str(why), why)
            same(pickle.loads(pickle.dumps(x)).tobytes(), x.tobytes(), "a pickled array")
            b.release()
            try:
                b["id"]
                raise AssertionError("a released batch gives arrays")
            except flowrun.ReleasedError:
                pass
            del b, x, t
        for number, part, t in kept[:3]:
            n = part.nbytes // 2
            same(part.tobytes(), whole()[number][1][n:3 * n], "a part that was kept of batch %d" % number)
            same(t.numpy().tobytes(), whole()[number][1], "a tensor that was kept")
        holds(f._run.process.poll() is None, "the graph waits for what is kept")
        del kept, part, t
        same(f._run.process.wait(30), 0, "and ends when it is gone")


# ---- positions ----

def a_trainer_goes_on_where_it_was_in_another_world(tmp):
    with Feed(graph()) as f:
        for b in f:
            if b.number == 4:
                state = json.loads(json.dumps(f.state_dict()))
                break
    del b
    same(state["position"], 5, "position")
    got = {}
    with Feed(graph()) as f:
        f.load_state_dict(state)
        take(f, got)
        same(f._run.report()["batches"], N // 4, "batches of the run, with those that were had")
    same(sorted(got), list(range(5, N // 4)), "the rest")
    same(got, {k: v for k, v in whole().items() if k >= 5}, "the same bytes")
    try:
        with Feed(graph(batch=5)) as f:
            f.load_state_dict(state)
            take(f, {})
        raise AssertionError("a position of another graph is taken")
    except flowrun.FeedError as why:
        holds("this graph has" in str(why), why)


def a_run_that_began_later_says_so(tmp):
    with Feed(graph(), sets=[]) as f:
        f.load_state_dict({"version": 1, "position": 6, "per_epoch": N // 4, "epochs": 1})
        where = (f.epochs, f.run_dir)[1]
        with Feed(where) as late:
            late.load_state_dict({"version": 1, "position": 3})
            try:
                take(late, {})
                raise AssertionError("no word")
            except flowrun.FeedError as why:
                holds("E_STALE: batch 3 will not come: this run began at batch 6" in str(why), why)


# ---- deaths ----

def a_rank_that_dies_gets_its_batches_again(tmp):
    """A process that holds three batches is killed; the next with its rank gets those first."""
    with Feed(graph(), rank=0, world=2) as first:
        where = (first.epochs, first.run_dir)[1]
        script = ("import sys; sys.path.insert(0, %r)\nimport flowrun\nheld = []\n"
                  "for b in flowrun.Feed(%r, rank=1, world=2):\n    held.append(b)\n    if len(held) == 3: print('held', flush=True); input()\n"
                  % (os.path.join(flow.ROOT, "python"), where))
        p = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
        same(p.stdout.readline(), b"held\n", "the other trainer")
        p.kill()
        p.wait()
        p.stdout.close()
        p.stdin.close()
        shares = {}
        def back():
            with Feed(where, rank=1, world=2) as f:
                shares[1] = share_of(f)
        t = threading.Thread(target=back)
        t.start()
        shares[0] = share_of(first)
        t.join()
        same(shares, {0: list(range(0, N // 4, 2)), 1: list(range(1, N // 4, 2))}, "shares")
        same(first._run.report()["status"], "complete", "status")


def the_share_of_a_rank_that_stays_away_is_reported(tmp):
    with Feed(graph(feed={"rejoin": 0.2}), rank=0, world=2) as first:
        where = (first.epochs, first.run_dir)[1]
        other = Feed(where, rank=1, world=2)
        for b in other:
            break
        del b
        other.close()
        same(share_of(first), list(range(0, N // 4, 2)), "the living rank's share")
        report = first._run.report()
        same(report["status"], "complete", "status")
        same(report["stages"]["feed"]["counters"]["undelivered"], N // 8 - 1, "batches given up")
        holds("were not delivered" in slurp(first.run_dir + "/log.jsonl").decode(), "the log tells")


def killed_stages_change_nothing(tmp):
    for victim in ("source", "decode"):
        got = {}
        with Feed(graph()) as f:
            for b in f:
                if b.number in (2, 7):
                    for pid in children(f._run.process.pid, victim):
                        os.kill(pid, signal.SIGKILL)
                got[b.number] = (b.ids, b["pixels"].tobytes(), b.labels.tobytes())
                del b
            holds(f._run.report()["restarts"] >= 1, "%s was started again" % victim)
        same(got, whole(), "after the death of " + victim)


def a_feed_that_is_killed_comes_back(tmp):
    got = {}
    with Feed(graph()) as f:
        for b in f:
            got[b.number] = (b.ids, b["pixels"].tobytes(), b.labels.tobytes())
            n = b.number
            del b
            if n in (3, 8):
                dying = children(f._run.process.pid, "feed")
                for pid in dying:
                    os.kill(pid, signal.SIGKILL)
                wait_for(lambda: not any(os.path.exists("/proc/%d" % pid) for pid in dying), "its death")
        same(f._run.report()["status"], "complete", "status")
    same(got, whole(), "after two deaths")


def a_batch_in_use_when_the_feed_died_is_called_stale(tmp):
    with Feed(graph()) as f:
        stale = False
        try:
            for b in f:
                if b.number == 3:
                    os.kill(children(f._run.process.pid, "feed")[0], signal.SIGKILL)
                    wait_for(lambda: f._wire.gens[b._header.slot] != b._header.gen, "the slot to be given up")
        except flowrun.StaleBatch as why:
            stale = True
            holds("batch 3" in str(why), why)
        holds(stale, "it is told")


def no_position_counts_a_batch_that_went_stale(tmp):
    with Feed(graph()) as f:
        for b in f:
            before = f.state_dict()
            if b.number == 3:
                os.kill(children(f._run.process.pid, "feed")[0], signal.SIGKILL)
                wait_for(lambda: f._wire.gens[b._header.slot] != b._header.gen, "the slot to be given up")
                break
        try:
            raise AssertionError("a position: %r" % f.state_dict())
        except flowrun.StaleBatch as why:
            holds("batch 3" in str(why), why)
        del b
        f.load_state_dict(before)                    # back to the last good one: what was had since comes again
        got = {}
        same(sorted(take(f, got)), list(range(4, N // 4)), "batches from there on")


def a_graph_that_fails_says_why(tmp):
    try:
        with Feed(graph(files=["/nowhere/*.jpg"])) as f:
            take(f, {})
        raise AssertionError("no word")
    except flowrun.FeedError as why:
        holds("status 2" in str(why) and "nowhere" in str(why), why)
    with Feed(graph()) as f:
        try:
            for b in f:
                f._run.process.kill()
        except flowrun.FeedError as why:
            holds("status -9" in str(why), why)
    del b


# ---- epochs ----

def painted(batch=4, instances=1, epochs=3, memory="150MB", **augment):
    g = graph(batch=batch, memory=memory, tiles={"shuffle": True, "epochs": epochs})
    g["stages"]["augment"] = {"from": "decode", "instances": instances, "options": augment or {"preset": "n01z3", "size": 256}}
    g["stages"]["feed"]["from"] = ["augment"]
    return g


def by_tile(feed, into):
    """Bytes of the input by tile and epoch."""
    for b in feed:
        for row, tile in enumerate(b.ids):
            key = (tile, int(b["epoch"][row]))
            holds(key not in into, "%r comes once" % (key,))
            holds(key[1] == b.epoch, "the batch and its rows tell the same epoch")
            into[key] = hash(b["input"][row].tobytes())
        del b


def a_tile_of_an_epoch_has_the_same_bytes_whoever_made_it(tmp):
    first = {}
    with Feed(painted()) as f:
        for _ in range(f.epochs):
            by_tile(f, first)
    same(len(first), 3 * N, "every tile once an epoch")
    holds(len(set(first.values())) > 2.9 * N, "each epoch draws anew")
    for change in ({"instances": 2}, {"instances": 5, "batch": 5}, {"batch": 12}):
        got = {}
        with Feed(painted(**change)) as f:
            for _ in range(f.epochs):
                by_tile(f, got)
        same(got, first, str(change))
    got = {}
    with Feed(painted()) as f:                       # stopped in the second epoch, gone on with elsewhere
        by_tile(f, got)
        for b in f:
            for row, tile in enumerate(b.ids):
                got[tile, 1] = hash(b["input"][row].tobytes())
            state = f.state_dict()
            if b.index == 6:
                break
        del b
    with Feed(painted(instances=2)) as f:
        f.load_state_dict(state)
        by_tile(f, got)
        by_tile(f, got)
    same(got, first, "after a stop in the middle")


def epochs_under_kills(tmp):
    """Stages but the feed are killed at random while a trainer takes three epochs."""
    want = {}
    with Feed(painted(instances=2)) as f:
        for _ in range(f.epochs):
            by_tile(f, want)
    for seed in range(3 if os.environ.get("FLOWRUN_LONG") else 1):
        rng, got, kills = random.Random(seed), {}, 0
        with Feed(painted(instances=2)) as f:
            for _ in range(f.epochs):
                for b in f:
                    for row, tile in enumerate(b.ids):
                        key = (tile, int(b["epoch"][row]))
                        holds(key not in got, "%r comes once" % (key,))
                        got[key] = hash(b["input"][row].tobytes())
                    if rng.random() < 0.5:
                        victims = children(f._run.process.pid, rng.choice(("source", "decode", "augment")))
                        if victims:
                            os.kill(rng.choice(victims), signal.SIGKILL)
                            kills += 1
                    del b
        same([got == want, kills > 3], [True, True], "seed %d, %d kills" % (seed, kills))


def ranks_come_and_go_between_epochs(tmp):
    seen = {e: [] for e in range(3)}
    with Feed(painted(), world=1) as f:
        where = (f.epochs, f.run_dir)[1]
        seen[0] = [b.number for b in f]
        f.world = 2
        def other():
            with Feed(where, rank=1, world=2) as g:
                g.load_state_dict({"version": 1, "position": N // 4})
                seen[1] += [b.number for b in g]
        t = threading.Thread(target=other)
        t.start()
        seen[1] += [b.number for b in f]
        t.join()
        f.world = 1
        seen[2] = [b.number for b in f]
    for e in range(3):
        same(sorted(seen[e]), list(range(e * N // 4, (e + 1) * N // 4)), "epoch %d" % e)


def the_input_is_that_of_inference(tmp):
    """Planes that a trainer gets of the view `identity` are the tile's pixels, normalised as forward does it."""
    with Feed(graph()) as f:
        pixels = {tile: b["pixels"][row].copy() for b in f for row, tile in enumerate(b.ids)}
    mean, std = np.array([.485, .456, .406]), np.array([.229, .224, .225])
    with Feed(painted(epochs=1, views="identity", out="f32")) as f:
        for b in f:
            for row, tile in enumerate(b.ids):
                want = ((pixels[tile] / 255.0 - mean) / std).transpose(2, 0, 1)
                holds(np.abs(b["input"][row, 0] - want).max() < 1e-5, tile)
            del b


def memory_stays_within_the_plan_over_epochs(tmp):
    def rss(f):
        return sum(int(line.split()[1]) for p in slurp("/proc/{0}/task/{0}/children".format(f._run.process.pid)).split()
                   for line in open("/proc/%d/status" % int(p)) if line.startswith("RssAnon"))
    with Feed(painted(epochs=10)) as f:
        sizes = []
        for _ in range(10):
            for b in f:
                last = b.index
                del b
                if last == N // 4 - 2:
                    sizes.append(rss(f))
        holds(max(sizes[2:]) < sizes[1] * 1.05 + 2000, "memory of the stages by epoch, kB: %r" % sizes)


# ---- those who mean no good ----

def hostile_clients_hurt_nobody(tmp):
    rng = random.Random(5)
    with Feed(graph()) as f:
        path = glob.glob(os.path.join((f.epochs, f.run_dir)[1], "s", "*.feed"))[0]
        def client():
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.settimeout(20)
            s.connect(path)
            s.recv(1 << 18)
            return s
        silent = [client() for _ in range(20)]
        messages = [b"", b"\0", b"X" * 5000, b"J", struct.pack("<cBHIIQ", b"J", 1, 0, 0, 5, 0), struct.pack("<cBHIIQ", b"J", 1, 9, 0, 1, 0) + b"a" * 40,
                    struct.pack("<cBHIQ", b"R", 1, 0, 1, 0), struct.pack("<cBHIQ", b"R", 1, 0, 1, 1 << 63), struct.pack("<cBHIIQ", b"J", 1, 0, 3, 2, 0)]
        messages += [bytes(rng.randrange(256) for _ in range(rng.randrange(1, 60))) for _ in range(100)]
        got = {}
        for b in f:
            got[b.number] = (b.ids, b["pixels"].tobytes(), b.labels.tobytes())
            for m in messages[len(got)::15]:
                s = client()
                try:
                    s.send(m)
                    if m != b"" and m[:1] != b"H":
                        holds(s.recv(4096)[:1] == b"X", "%r is refused" % m)
                except OSError:
                    pass                                 # refused before all was said
                s.close()
            del b
        for s in silent:
            s.close()
        same(got, whole(), "what the honest one gets")
        same(f._run.report()["status"], "complete", "status")


def too_many_clients_are_turned_away(tmp):
    with Feed(graph()) as f:
        path = glob.glob(os.path.join((f.epochs, f.run_dir)[1], "s", "*.feed"))[0]
        many = []
        for _ in range(300):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.connect(path)
            many.append(s)
        same(take(f, {}), whole(), "who was there first")
        for s in many:
            s.close()


def no_run_goes_back_behind_its_sinks(tmp):
    g = graph()
    g["stages"]["sink"] = {"from": "decode"}
    with open(tmp + "/graph.yaml", "w") as f:
        json.dump(g, f)
    _, _, err = run_flowrun(tmp + "/graph.yaml", "--start", "3", "--run", tmp + "/run", want=2)
    holds("sink takes every batch of a run" in err, err)


if __name__ == "__main__":
    sys.exit(flow.run_cases([
        a_trainer_gets_every_tile_once, the_pixels_are_those_of_djpeg_and_the_labels_those_of_the_table, instances_change_nothing,
        ranks_share_the_same_order_in_any_world, a_rank_over_tcp_gets_the_same_bytes, encoded_tiles_come_as_they_lie_on_disk, another_key_is_not_let_in,
        headers_alike_are_read_as_each_alone, arrays_keep_the_batch_and_can_not_be_written, a_trainer_goes_on_where_it_was_in_another_world, a_run_that_began_later_says_so,
        a_rank_that_dies_gets_its_batches_again, the_share_of_a_rank_that_stays_away_is_reported, killed_stages_change_nothing,
        a_tile_of_an_epoch_has_the_same_bytes_whoever_made_it, epochs_under_kills, ranks_come_and_go_between_epochs, the_input_is_that_of_inference,
        memory_stays_within_the_plan_over_epochs, a_feed_that_is_killed_comes_back, a_batch_in_use_when_the_feed_died_is_called_stale, no_position_counts_a_batch_that_went_stale, a_graph_that_fails_says_why, hostile_clients_hurt_nobody,
        too_many_clients_are_turned_away, no_run_goes_back_behind_its_sinks]))
