"""Starting a graph from Python and looking after it."""
import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from typing import Any, Mapping, Optional, Sequence, Union

from flowrun.errors import FeedError, FlowrunError
from flowrun.process import THIS

Graph = Union[str, "os.PathLike[str]", Mapping[str, Any]]


def program(given: Optional[str] = None) -> str:
    """The flowrun executable: as given, $FLOWRUN, the build beside this package, or the PATH."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for path in (given, os.environ.get("FLOWRUN"), os.path.join(here, "build/bin/flowrun")):
        if path and os.access(path, os.X_OK):
            return path
        if path and path in (given, os.environ.get("FLOWRUN")):
            raise FlowrunError(f"{path} is no program that can be run")
    found = shutil.which("flowrun")
    if found is None:
        raise FlowrunError("flowrun isn't on the PATH: set FLOWRUN to its path")
    return found


_prctl = ctypes.CDLL(None).prctl                                 # found now: between fork and exec there is no looking for it


def _dies_with_us() -> None:
    _prctl(1, signal.SIGKILL, 0, 0, 0)                           # PR_SET_PDEATHSIG: a killed trainer leaves no graph behind


class Run:
    """One `flowrun` process. Its run directory is removed at the end unless it was named."""

    def __init__(self, graph: Graph, run: Optional[str] = None, sets: Sequence[str] = (), start: int = 0, flowrun: Optional[str] = None) -> None:
        exe = program(flowrun)
        self.temporary = tempfile.mkdtemp(prefix="flowrun-") if run is None else None
        self.dir = run if run is not None else os.path.join(str(self.temporary), "run")
        if isinstance(graph, Mapping):
            graph_file = os.path.join(self.temporary or tempfile.mkdtemp(prefix="flowrun-"), "graph.yaml")
            self._graph_dir = os.path.dirname(graph_file)
            with open(graph_file, "w") as f:
                json.dump(graph, f)
        else:
            graph_file, self._graph_dir = os.fspath(graph), ""
        argv = [exe, graph_file, "-q", "--run", self.dir]
        for s in sets:
            argv += ["--set", s]
        if start:
            argv += ["--start", str(start)]
        self._said = tempfile.TemporaryFile()
        self._pid, self._over, self._begun = THIS.pid, threading.Event(), threading.Event()
        self._failed: Optional[BaseException] = None
        threading.Thread(target=self._start, args=(argv,), name="flowrun", daemon=True).start()
        try:
            self._begun.wait()
        except BaseException:                                    # the thread ends, and with it what it has started
            self._over.set()
            raise
        if self._failed is not None:
            raise self._failed

    def _start(self, argv: Sequence[str]) -> None:
        """The kernel takes the end of the thread that starts a process for the end of its parent: so it is one that stays."""
        try:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said, start_new_session=True, preexec_fn=_dies_with_us)
        except BaseException as why:
            self._failed = why
        self._begun.set()
        if self._failed is None:
            self._over.wait()

    def said(self) -> str:
        self._said.seek(0)
        return self._said.read().decode(errors="replace")[-3000:].strip() or "it said nothing"

    def check(self) -> None:
        """Raises what flowrun said when it has failed."""
        rc = self.process.poll()
        if rc is not None and rc not in (0, 3):
            raise FeedError(f"flowrun ended with status {rc}: {self.said()}")

    def report(self) -> dict[str, Any]:
        """RUN/report.json, once flowrun has ended."""
        self.process.wait()
        with open(os.path.join(self.dir, "report.json")) as f:
            got: dict[str, Any] = json.load(f)
        return got

    def stop(self) -> None:
        """Ends it at once: what is in flight will be made again by whoever starts at that batch."""
        if self._pid != THIS.pid:                                # a forked copy: the graph is its parent's
            return
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                self.process.send_signal(s)
                try:
                    self.process.wait(0.1 if s == signal.SIGINT else 5)
                except subprocess.TimeoutExpired:
                    pass
        self.process.wait()
        self._over.set()
        self._said.close()
        for folder in {self.temporary, self._graph_dir}:
            if folder and os.path.basename(folder).startswith("flowrun-"):
                shutil.rmtree(folder, ignore_errors=True)

    def wait_for(self, path: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not os.path.exists(path):
            self.check()
            if self.process.poll() is not None:
                raise FeedError(f"flowrun ended before its feed was there: {self.said()}")
            if time.monotonic() > end:
                raise FeedError(f"no feed within {seconds:g} s: {self.said()}")
            time.sleep(0.005)
