"""What the Python tests of whole runs share: cases that count, graphs as dictionaries, runs under watch."""
import ctypes
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build")
FLOWRUN = os.path.join(BUILD, "bin/flowrun")
TILES = os.path.join(ROOT, "build/samples/tiles")
LABELS = os.path.join(ROOT, "build/samples/labels.csv")
MODELS = [os.path.join(ROOT, "samples/models/tilenet-%d.safetensors" % i) for i in (1, 2, 3)]
PATIENCE = 60                       # seconds until a wait counts as a hang

# Orphans of a killed supervisor come to this process, so that it sees each of them end.
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


class Skip(Exception):
    pass


def takes_long():
    """What follows belongs to `make check-long`."""
    if not os.environ.get("FLOWRUN_LONG"):
        raise Skip("FLOWRUN_LONG is not set")


def same(got, want, what):
    if got != want:
        raise AssertionError("%s: got %.1500r, want %.1500r" % (what, got, want))


def holds(condition, what):
    if not condition:
        raise AssertionError(what)


def data(rel):
    path = os.path.join(os.environ.get("FLOWRUN_DATA") or os.path.join(ROOT, "../shared/data"), rel)
    if not os.path.exists(path):
        raise Skip("no %s (set FLOWRUN_DATA)" % path)
    return path


def wait_for(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("no end of waiting for " + what)
        time.sleep(0.005)


def slurp(path):
    with open(path, "rb") as f:
        return f.read()


def children(pid, name):
    """Those of a process that run an executable of this name."""
    found = []
    for p in slurp("/proc/{0}/task/{0}/children".format(pid)).split():
        try:
            if os.path.basename(os.readlink("/proc/%d/exe" % int(p))) == name:
                found.append(int(p))
        except OSError:                                  # it has just ended
            pass
    return found


# ---- graphs ----

def chain(out, files, batch=16, models=MODELS[:1], views="identity", size=96, instances=1, truth=None, net=None, tiles=None):
    """The default graph with small changes; its files go to the folder out."""
    many = {"instances": instances}
    results = {"submission": out + "/predictions.csv", "probabilities": out + "/probs.csv"}
    if truth:
        results["truth"] = truth
    return {
        "tiles": {"stage": "source", "options": dict({"files": files, "batch": batch}, **(tiles or {}))},
        "decode": dict({"from": "tiles"}, **many),
        "augment": dict({"from": "decode", "options": {"views": views, "size": size}}, **many),
        "net": dict({"stage": "forward", "from": "augment", "options": dict({"weights": models}, **(net or {}))}, **many),
        "tta_merge": dict({"from": "net"}, **many),
        "stack": dict({"from": "tta_merge"}, **many),
        "decode_f2": dict({"from": "stack"}, **many),
        "sink": {"from": "decode_f2", "options": results},
    }


def write_graph(path, stages, **top):
    with open(path, "w") as f:
        json.dump(dict({"seed": 42, "stages": stages}, **top), f)
    return path


# ---- runs ----

class Run:
    """One flowrun at work; what it prints goes to files, so that nothing waits for this process to read."""

    def __init__(self, *args, **popen):
        self.out = tempfile.TemporaryFile()
        self.err = tempfile.TemporaryFile()
        self.p = subprocess.Popen([FLOWRUN, *args], stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err, **popen)

    def stages(self):
        """Process ids by the name of the executable."""
        found = {}
        try:
            for pid in slurp("/proc/%d/task/%d/children" % (self.p.pid, self.p.pid)).split():
                exe = os.readlink("/proc/%d/exe" % int(pid))
                found.setdefault(os.path.basename(exe), []).append(int(pid))
        except OSError:                        # one ended in between
            pass
        return found

    def said(self):
        self.out.seek(0)
        self.err.seek(0)
        return self.out.read().decode(), self.err.read().decode()

    def end(self, patience=PATIENCE):
        """Exit status, standard output, standard error; nothing of it may be left alive."""
        try:
            rc = self.p.wait(patience)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait()
            orphans(2)
            raise AssertionError("flowrun doesn't end; it said %r" % (self.said(),))
        said = self.said()
        if rc >= 0:
            holds(nothing_to_reap(), "flowrun has ended, but left processes behind")
        return (rc,) + said

    def kill(self):
        if self.p.poll() is None:
            self.p.kill()
            self.p.wait()
        orphans(2)


def nothing_to_reap():
    """No child is left, alive or dead. Under sanitizers dead ones don't count: a stage that is killed while it looks for leaks leaves the
    process that looks, which dies with it and comes to us."""
    if "address" in BUILD:
        return orphans(5) == 0
    try:
        os.waitpid(-1, os.WNOHANG)
        return False
    except ChildProcessError:
        return True


def orphans(seconds):
    """Waits for the orphans to end by themselves; how many were still there after that time (they are killed)."""
    end = time.monotonic() + seconds
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] != 0:
                continue
        except ChildProcessError:
            return 0
        if time.monotonic() > end:
            break
        time.sleep(0.01)
    left = slurp("/proc/self/task/%d/children" % os.getpid()).split()
    for pid in left:
        os.kill(int(pid), signal.SIGKILL)
    orphans(10)
    return len(left)


def flowrun(*args, want=0, **popen):
    rc, out, err = Run(*args, **popen).end()
    if want is not None and rc != want:
        raise AssertionError("flowrun %s: status %d, want %d: %s%s" % (" ".join(args), rc, want, out[-1500:], err[-1500:]))
    return rc, out, err


def report(run_dir):
    with open(run_dir + "/report.json") as f:
        return json.load(f)


def committed(run_dir, sink="sink"):
    """Bytes in the journal so far."""
    total = 0
    for folder, _, files in os.walk(os.path.join(run_dir, "journal", sink)):
        for name in files:
            try:
                total += os.path.getsize(os.path.join(folder, name))
            except OSError:
                pass
    return total


def attempts(run):
    """Of each batch in the sink's journal, the attempt that was committed (proto/journal.h)."""
    data = b"".join(slurp(p) for p in glob.glob(glob.escape(run) + "/journal/sink/*"))
    heads = [m.start() for m in re.finditer(b"FLJR", data)]
    return {int.from_bytes(data[at + 8:at + 16], "little"): int.from_bytes(data[at + 16:at + 20], "little") for at in heads}


# ---- what processes hold ----

def cpu_seconds(pids):
    """Processor's time that the processes have used."""
    ticks = 0
    for pid in pids:
        with open("/proc/%d/stat" % pid) as f:
            ticks += sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def pss(pids, what="Pss"):
    """Bytes resident in these processes, what is shared counted once. Pss_Shmem: the slabs."""
    total = 0
    for pid in pids:
        try:
            with open("/proc/%d/smaps_rollup" % pid) as f:
                total += 1024 * int(re.search(r"^%s:\s+(\d+)" % what, f.read(), re.M).group(1))
        except (OSError, AttributeError):
            pass
    return total


def open_files(pids):
    total = 0
    for pid in pids:
        try:
            total += len(os.listdir("/proc/%d/fd" % pid))
        except OSError:
            pass
    return total


# ---- cases ----

def far_graph(tmp, ms=0, **top):
    """The default stages with one tile a batch into TMP/out; the network and a nap of so many ms a batch are on the hosts called far."""
    os.makedirs(tmp + "/out", exist_ok=True)
    stages = chain(tmp + "/out", TILES + "/*[1-3].jpg", batch=1, net={"rows": 1})
    stages["nap"] = {"from": "net", "options": {"ms": ms}}
    stages["tta_merge"]["from"] = "nap"
    stages["net"]["place"] = stages["nap"]["place"] = "far"
    return write_graph(tmp + "/graph.json", stages, stage_path=[BUILD + "/tests/flow/stages"], memory="4MB", **top)


def far_results(tmp):
    return [slurp(tmp + "/out/" + name) for name in ("predictions.csv", "probs.csv")]


def run_cases(cases):
    """Runs each case (a function of a fresh folder) and prints the line tests/run.sh reads; returns the exit status."""
    passed = failed = skipped = 0
    only = sys.argv[2:]
    for case in cases:
        if only and not any(word in case.__name__ for word in only):
            continue
        tmp = tempfile.mkdtemp(prefix="flowrun-test-")
        start = time.monotonic()
        try:
            case(tmp)
            passed += 1
        except Skip as why:
            skipped += 1
            print("skip %s: %s" % (case.__name__, why))
        except Exception as why:
            failed += 1
            at = traceback.extract_tb(why.__traceback__)
            line = next((f.lineno for f in at if re.search(r"test_\w+\.py$", f.filename)), 0)
            print("FAIL %s: line %d: %s%s" % (case.__name__, line, "" if isinstance(why, AssertionError) else type(why).__name__ + ": ", why))
        if os.environ.get("FL_TEST_TIMES"):
            print("%6.2f s %s" % (time.monotonic() - start, case.__name__))
        orphans(5)
        shutil.rmtree(tmp, ignore_errors=True)
    print("%d passed, %d failed%s" % (passed, failed, ", %d skipped" % skipped if skipped else ""))
    return 1 if failed else 0
