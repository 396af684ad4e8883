"""Trainers on a feed: other worlds after a stop, ranks on other hosts that die, what was drawn, phases, memory, Ctrl-C, and what is said when something is wrong."""
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../lib"), os.path.join(HERE, "../../python")]
import flow
from flow import TILES, Skip, flowrun as run_flowrun, holds, orphans, same, slurp
from test_feed import FILES, N, graph, painted, share_of, take, whole

import flowrun
from flowrun import Feed


def remote():
    try:
        import zmq                                       # noqa: F401
    except ImportError:
        raise Skip("no pyzmq")


def together(*ranks):
    """Runs them side by side; what one of them raises is raised."""
    wrong = []

    def watched(rank):
        try:
            rank()
        except BaseException as why:
            wrong.append(why)
    threads = [threading.Thread(target=watched, args=(r,)) for r in ranks[1:]]
    for t in threads:
        t.start()
    watched(ranks[0])
    for t in threads:
        t.join()
    if wrong:
        raise wrong[0]


def three_ranks_go_on_where_one_stopped(tmp):
    with Feed(graph()) as f:
        for b in f:
            if b.number == 4:
                break
        state = f.state_dict()
        del b
    shares = {}
    with Feed(graph(), rank=0, world=3) as first:
        first.load_state_dict(state)
        where = (first.epochs, first.run_dir)[1]

        def rank(r):
            with Feed(where, rank=r, world=3) as f:
                f.load_state_dict(state)
                shares[r] = share_of(f)

        def zero():
            shares[0] = share_of(first)
        together(zero, lambda: rank(1), lambda: rank(2))
    same(shares, {r: list(range(5 + r, N // 4, 3)) for r in range(3)}, "the rest of the epoch")


def a_rank_on_another_host_dies_and_comes_back(tmp):
    remote()
    with Feed(graph(feed={"listen": "tcp://127.0.0.1:*"}), rank=0, world=2) as first:
        where = (first.epochs, os.path.join(first.run_dir, "feed.json"))[1]
        script = ("import sys; sys.path.insert(0, %r)\nimport flowrun\nheld = []\n"
                  "for b in flowrun.Feed(%r, rank=1, world=2):\n    held.append(b)\n    if len(held) == 3: print('held', flush=True); input()\n"
                  % (os.path.join(flow.ROOT, "python"), where))
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE) as p:
            same(p.stdout.readline(), b"held\n", "the other trainer")
            p.kill()
        shares = {}

        def back():
            with Feed(where, rank=1, world=2) as f:
                shares[1] = share_of(f)

        def zero():
            shares[0] = share_of(first)
        together(zero, back)
        same(shares, {0: list(range(0, N // 4, 2)), 1: list(range(1, N // 4, 2))}, "shares")
        same(first._run.report()["stages"]["feed"]["counters"]["undelivered"], 0, "undelivered")


def encoded_tiles_of_an_archive(tmp):
    remote()
    with tarfile.open(tmp + "/shard.tar", "w") as t:
        for path in FILES:
            t.add(path, os.path.basename(path))
    with Feed(graph(files=[tmp + "/shard.tar"], feed={"listen": "tcp://127.0.0.1:*"}, from_=("decode", "tiles"))) as first:
        where = (first.epochs, os.path.join(first.run_dir, "feed.json"))[1]
        seen = []
        with Feed(where, tensors=["id", "file", "file_end"]) as f:
            for b in f:
                ends = [0, *map(int, b["file_end"])]
                for row, tile in enumerate(b.ids):
                    same(bytes(b["file"][ends[row]:ends[row + 1]]), slurp(os.path.join(TILES, tile + ".jpg")), tile)
                seen += b.ids
                del b
        same(sorted(seen), sorted(os.path.basename(p)[:-4] for p in FILES), "tiles")


def balanced_and_filled_epochs_are_the_same_for_any_ranks(tmp):
    for options in ({"balance": "label"}, {"last": "pad", "shuffle": True}, {"last": "drop", "shuffle": True}):
        g = graph(batch=7, memory="16MB", tiles=dict(options, epochs=2))
        alone, shares = {}, ({}, {})
        with Feed(g) as f:
            take(f, alone)
            take(f, alone)
            same(f.per_epoch, N // 7 if options.get("last") == "drop" else N // 7 + 1, "batches of an epoch")
        with Feed(g, rank=0, world=2) as first:
            where = (first.epochs, first.run_dir)[1]

            def rank(r, f):
                take(f, shares[r])
                take(f, shares[r])
            with Feed(where, rank=1, world=2) as second:
                together(lambda: rank(0, first), lambda: rank(1, second))
        same({**shares[0], **shares[1]} == alone, True, "%r: both together" % options)
        holds(abs(len(shares[0]) - len(shares[1])) <= 2, "shares are alike")
        if options.get("last") == "pad":
            same({len(ids) for ids, _, _ in alone.values()}, {7}, "rows of a batch")


ELEMENTS = [lambda a, g=g: (lambda x: x[:, ::-1] if g & 1 else x)((lambda x: x[::-1] if g & 2 else x)(a.swapaxes(0, 1) if g & 4 else a)) for g in range(8)]


def what_was_drawn_comes_along(tmp):
    """Each view is made again by NumPy from the pixels and the drawn numbers alone."""
    with Feed(graph()) as f:
        pixels = {tile: b["pixels"][row].copy() for b in f for row, tile in enumerate(b.ids)}
    drawn = set()
    with Feed(painted(epochs=1, ops=["d4", {"contrast_mid": {"p": 0.5}}], out="pixels", copies=2)) as f:
        for b in f:
            names = [bytes(n).split(b"\0")[0].decode() for n in b["param_names"]]
            same(names[:3], ["0.d4", "0.d4.g", "1.contrast_mid"], "names of what is drawn")
            for row, tile in enumerate(b.ids):
                for view in range(2):
                    p = dict(zip(names, b["params"][row, view]))
                    want = ELEMENTS[int(p["0.d4.g"])](pixels[tile]).astype(np.float64)
                    if p["1.contrast_mid"]:
                        al = np.array([v for n, v in p.items() if n.startswith("1.contrast_mid.")][:3])
                        want = np.clip((want / 255 - .5) * al + .5, 0, 1) * 255
                    got = b["input"][row, view].transpose(1, 2, 0)
                    holds(np.abs(got - want).max() <= (0.501 if p["1.contrast_mid"] else 0), "%s, view %d: %r" % (tile, view, p))
                    drawn.add((int(p["0.d4.g"]), int(p["1.contrast_mid"])))
            del b
    same(len(drawn), 16, "elements with and without contrast")


def phases_follow_the_epoch_in_a_run_that_goes_on(tmp):
    options = {"ops": ["d4", {"scale": {"p": 1}}, {"contrast": {"p": 1}}], "augs": {"0": "full", "1": "unbiased", "2": "none"}, "size": 256}

    def applied(f, into, most=None):
        for b in f:
            names = [bytes(n).split(b"\0")[0].decode() for n in b["param_names"]]
            at = [names.index(n) for n in ("0.d4", "1.scale", "2.contrast")]
            for row, tile in enumerate(b.ids):
                into[tile, b.epoch] = (tuple(b["params"][row, 0, at]), hash(b["input"][row].tobytes()))
            index = b.index
            del b
            if index == most:
                return
    whole_run, got = {}, {}
    with Feed(painted(**options)) as f:
        for _ in range(3):
            applied(f, whole_run)
    for (tile, epoch), (which, _) in whole_run.items():
        same(which, ((1, 1, 1), (1, 0, 0), (0, 0, 0))[epoch], "ops of %s in epoch %d" % (tile, epoch))
    with Feed(painted(**options)) as f:
        applied(f, got)
        applied(f, got, most=5)
        state = f.state_dict()
    with Feed(painted(**options)) as f:
        f.load_state_dict(state)
        applied(f, got)
        applied(f, got)
    same(got == whole_run, True, "stopped in epoch 1 and gone on with")


def slabs_are_those_of_the_plan_over_ten_epochs(tmp):
    g = painted(epochs=10, memory="100MB")
    with open(tmp + "/graph.yaml", "w") as f:
        json.dump(g, f)
    line = re.search(r"memory: (\d+) batches in flight x .* = ([\d.]+) (k|M)B in slabs", run_flowrun("plan", tmp + "/graph.yaml")[1])
    holds(line, "plan tells the memory")
    planned = float(line[2]) * {"k": 1e3, "M": 1e6}[line[3]]
    with Feed(tmp + "/graph.yaml") as f:
        same(f._welcome["window"], int(line[1]), "batches in flight")
        seen = 0
        for _ in range(10):
            for b in f:
                if b.index % 7 == 0:
                    pids = [int(p) for p in slurp("/proc/{0}/task/{0}/children".format(f._run.process.pid)).split()]
                    seen = max(seen, flow.pss([*pids, f._run.process.pid], "Pss_Shmem"))
                del b
        holds(0 < seen <= planned * 1.02 + 1e6, "shared memory: %d bytes, the plan says %d" % (seen, planned))


def an_interrupted_script_leaves_nothing(tmp):
    script = ("import sys, time; sys.path.insert(0, %r)\nimport flowrun\n"
              "with flowrun.Feed(%r) as feed:\n    for b in feed:\n        print(feed._run.dir, flush=True)\n        time.sleep(60)\n")
    with open(tmp + "/graph.yaml", "w") as f:
        json.dump(graph(), f)
    shm = set(os.listdir("/dev/shm"))
    with subprocess.Popen([sys.executable, "-c", script % (os.path.join(flow.ROOT, "python"), tmp + "/graph.yaml")], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, start_new_session=True, env=dict(os.environ, TMPDIR=tmp)) as p:
        folder = p.stdout.readline().decode().strip()
        holds(os.path.isdir(folder), "the run directory %r" % folder)
        os.killpg(p.pid, signal.SIGINT)
        said = p.communicate(timeout=30)[1].decode()
        holds(p.returncode != 0 and "KeyboardInterrupt" in said, "what the script says: " + said[-500:])
    same(orphans(10), 0, "processes left")
    same(os.listdir(tmp), ["graph.yaml"], "files left")
    holds(set(os.listdir("/dev/shm")) <= shm, "shared memory left")


def refused(what, says, **how):
    try:
        with Feed(what, **how) as f:
            for b in f:                                    # one whole batch may come before the trouble
                del b
    except flowrun.FlowrunError as why:
        for s in says:
            holds(s in str(why), "want %r in: %s" % (s, why))
        return
    raise AssertionError("%r: no word" % (what,))


def a_graph_outlives_the_thread_that_started_it(tmp):
    with Feed(graph()) as f:
        t = threading.Thread(target=lambda: f.epochs)
        t.start()
        t.join()
        same(take(f, {}), whole(), "what comes after the thread has ended")


def a_forked_process_leaves_the_feed_alone(tmp):
    with Feed(graph()) as f:
        batches, got = iter(f), {}
        first = next(batches)
        got[first.number] = (first.ids, first["pixels"].tobytes(), first.labels.tobytes())
        pid = os.fork()
        if pid == 0:
            said = ""
            try:
                del first
                with f:
                    next(batches)
            except flowrun.FeedError as why:
                said = str(why)
            os._exit(0 if "a forked one opens its own" in said else 1)
        same(os.waitpid(pid, 0)[1], 0, "the forked process is told")
        holds(os.path.isdir(f.run_dir), "the run directory is there")
        del first
        same({**got, **take(f, {})}, whole(), "what the one that opened it gets")


def a_batch_lost_to_an_interrupt_is_told(tmp):
    def interrupted(*_):
        raise KeyboardInterrupt
    got = {}
    with Feed(graph()) as f:
        for b in f:
            got[b.number] = (b.ids, b["pixels"].tobytes(), b.labels.tobytes())
            if b.number == 3:
                f._wire.batch = interrupted              # as if Ctrl-C came between the message and the loop
            del b
            if len(got) == 4:
                break
        for what, says in ((KeyboardInterrupt, ""), (flowrun.FeedError, "interrupted")):
            try:
                take(f, got)
                raise AssertionError("no word")
            except what as why:
                holds(says in str(why), why)
        f.load_state_dict(f.state_dict())
        take(f, got)
    same(got, whole(), "what comes before and after")


def a_run_that_is_over_says_so_when_it_is_asked_again(tmp):
    with Feed(graph()) as f:
        take(f, {})
        state = f.state_dict()
    with Feed(graph()) as f:
        f.load_state_dict(state)
        same((f.epoch, f.epochs, f.position, len(f.labels)), (1, 1, N // 4, 17), "where it is")
        try:
            take(f, {})
            raise AssertionError("no word")
        except flowrun.EndOfRun:
            pass


def what_is_wrong_is_said(tmp):
    def file(name, text):
        with open(os.path.join(tmp, name), "w") as f:
            f.write(text)
        return os.path.join(tmp, name)
    refused(file("bad.yaml", "stages:\n  tiles: {stage: source\n"), ["status 2", "bad.yaml:"])
    refused(file("op.yaml", json.dumps(painted(ops=["d5"]))), ["status 2", "unknown op", "did you mean d4"])
    refused(tmp + "/nothing.yaml", ["nothing.yaml"])
    refused(tmp, ["no graph is at work"], timeout=1)
    refused(graph(), ["no feed within 1 s"], name="other", timeout=1)
    two = graph()
    two["stages"]["second"] = {"stage": "feed", "from": ["decode"]}
    refused(two, ["several feeds, want a name: feed, second"])
    del two["stages"]["feed"], two["stages"]["second"]
    two["stages"]["sink"] = {"from": "decode"}
    refused(two, ["no stage of this graph is a feed"])
    refused(graph(), ["is no program"], flowrun=tmp + "/nowhere")
    bad = file("bad.jpg", "no picture")
    g = graph(files=[*FILES[:8], bad])
    g["stages"]["decode"]["options"] = {"on_bad_tile": "fail"}
    del g["stages"]["tiles"]["options"]["labels"]
    refused(g, ["status 1", "bad"])
    for how in ({"rank": 0.0}, {"rank": "0"}, {"world": 2.0}, {"sets": "tiles.batch=4"}, {"tensors": "id"}):
        refused(graph(), [repr(*how.values())], **how)
    for state in (None, {}, {"version": 1, "position": True}, {"version": 1, "position": -1}):
        try:
            Feed(graph()).load_state_dict(state)
            raise AssertionError("%r is taken" % (state,))
        except flowrun.FeedError as why:
            holds("no position" in str(why), why)
    remote()
    for name, text, says in (("a.json", "{", "a.json"), ("b.json", "[]", "no feed's address"), ("c.json", '{"flowrun_feed": 1, "address": "tcp://127.0.0.1:1"}', "server_key"),
                             ("d.json", '{"flowrun_feed": 1, "address": "tcp://127.0.0.1:1", "server_key": "x", "public_key": "y", "secret_key": "z"}', "d.json")):
        refused(file(name, text), [says], timeout=1)
    refused(tmp + "/e.json", ["e.json"])


if __name__ == "__main__":
    sys.exit(flow.run_cases([
        three_ranks_go_on_where_one_stopped, a_rank_on_another_host_dies_and_comes_back, encoded_tiles_of_an_archive,
        balanced_and_filled_epochs_are_the_same_for_any_ranks, what_was_drawn_comes_along, phases_follow_the_epoch_in_a_run_that_goes_on,
        slabs_are_those_of_the_plan_over_ten_epochs, a_graph_outlives_the_thread_that_started_it, a_forked_process_leaves_the_feed_alone,
        a_batch_lost_to_an_interrupt_is_told, a_run_that_is_over_says_so_when_it_is_asked_again, an_interrupted_script_leaves_nothing, what_is_wrong_is_said]))
