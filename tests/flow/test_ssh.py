"""Two hosts under a real sshd on this machine, with keys and configuration of the test's own: results are those of one host, byte for byte, also
when a session is cut and at Ctrl-C; nothing outlives flowrun; a host whose key is another is not called. Needs root and openssh-server."""
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import FLOWRUN, Run, holds, same, slurp, wait_for   # noqa: E402

BATCHES = 90                        # of one tile


def tool(name):
    path = shutil.which(name) or "/usr/sbin/" + name
    if not os.path.exists(path):
        raise flow.Skip("no " + name)
    return path


class Sshd:
    """An sshd on the loopback; the first `ssh` on the PATH reads its configuration here, where two hosts, far1 and far2, are that sshd."""

    def __init__(self, tmp):
        self.dir, self.path, self.run = tmp + "/ssh", os.environ["PATH"], None
        os.makedirs(self.dir + "/bin")
        sshd, ssh, keygen = tool("sshd"), tool("ssh"), tool("ssh-keygen")
        if os.getuid() != 0:
            raise flow.Skip("sshd needs root")
        os.makedirs("/run/sshd", 0o755, exist_ok=True)
        for name in ("host", "other", "user"):
            subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", self.dir + "/" + name], check=True)
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        s.close()
        self.write("sshd_config", "Port %d\nListenAddress 127.0.0.1\nHostKey %s/host\nAuthorizedKeysFile %s/user.pub\nStrictModes no\nUsePAM no\nPidFile none\n"
                   "PermitRootLogin yes\nPasswordAuthentication no\n" % (port, self.dir, self.dir))
        self.write("ssh_config", "Host far1\nHostKeyAlias far1\nHost far2\nHostKeyAlias far2\nHost *\nHostName 127.0.0.1\nPort %d\nUser root\nIdentityFile %s/user\nIdentityAgent none\nStrictHostKeyChecking yes\n"
                   "UserKnownHostsFile %s/known\nGlobalKnownHostsFile none\n" % (port, self.dir, self.dir))
        self.known("host", "host")
        self.write("bin/ssh", "#!/bin/sh\nexec %s -F %s/ssh_config \"$@\"\n" % (ssh, self.dir), stat.S_IRWXU)
        self.argv = [sshd, "-D", "-e", "-f", self.dir + "/sshd_config"]

    def write(self, name, text, mode=0o600):
        with open(self.dir + "/" + name, "w") as f:
            f.write(text)
        os.chmod(self.dir + "/" + name, mode)

    def known(self, *keys):
        """Which key far1 and far2 are known by."""
        self.write("known", "".join("far%d %s\n" % (i + 1, slurp("%s/%s.pub" % (self.dir, key)).decode().strip()) for i, key in enumerate(keys)))

    def __enter__(self):
        with open(self.dir + "/log", "w") as f:
            self.p = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=f, stderr=f)
        os.environ["PATH"] = self.dir + "/bin:" + self.path
        try:
            wait_for(lambda: b"Server listening" in slurp(self.dir + "/log") or self.p.poll() is not None, "sshd")
            same(self.p.poll(), None, "sshd, which said %r" % slurp(self.dir + "/log"))
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def sessions(self):
        return flow.children(self.p.pid, "sshd")

    def __exit__(self, kind, why, trace):
        os.environ["PATH"] = self.path
        if self.run is not None and self.run.p.poll() is None:       # a case has failed
            self.run.p.kill()
            self.run.p.wait()
        self.p.terminate()
        self.p.wait()
        left = flow.orphans(15)
        if kind is None:
            same(left, 0, "processes that did not end by themselves")


def graph(tmp, ms=0):
    return flow.far_graph(tmp, ms, hosts={"far": ["far1", "far2"]}, cluster={"listen": "127.0.0.1"})


WANT = []


def want(tmp):
    """What one host gives."""
    if not WANT:
        os.makedirs(tmp + "/here")
        flow.flowrun(graph(tmp + "/here"), "--run", tmp + "/here/run", "--local", "-q")
        WANT.extend(flow.far_results(tmp + "/here"))
    return WANT


def begin(d, tmp, ms, **popen):
    d.run = Run(graph(tmp, ms), "--run", tmp + "/run", **popen)
    return d.run


def begun(run, tmp):
    wait_for(lambda: flow.committed(tmp + "/run") > 1000 or run.p.poll() is not None, "the first batches")
    same(run.p.poll(), None, "flowrun, which said %s" % (run.said(),))


def ends(run, status=0):
    rc = run.p.wait(flow.PATIENCE)
    out, err = run.said()
    same(rc, status, "status of flowrun, which said %s%s" % (out, err))
    return err


def ready(tmp):
    with open(tmp + "/run/log.jsonl") as f:
        return [m.group(1) for m in (re.search("host (\\S+) is ready", json.loads(line)["text"]) for line in f) if m]


def agents():
    """Processes of flowrun whose word is agent; those of other tests are among them."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if slurp("/proc/%s/cmdline" % pid).split(b"\0")[:2] == [FLOWRUN.encode(), b"agent"]:
                found.append(int(pid))
        except OSError:
            pass
    return found


def below(pid, top):
    """True when `top` is the process or one that it comes from."""
    while pid > 1 and pid != top:
        try:
            pid = int(slurp("/proc/%d/stat" % pid).rsplit(b")", 1)[1].split()[1])
        except OSError:
            return False
    return pid == top


# ---- cases ----

def two_hosts_give_what_one_gives(tmp):
    want(tmp)
    with Sshd(tmp) as d:
        ends(begin(d, tmp, 5))
    same(sorted(ready(tmp)), ["far1", "far2"], "hosts")
    same(flow.far_results(tmp) == want(tmp), True, "the files are those of one host")
    same(os.listdir(os.environ["TMPDIR"]), [], "what agents left behind")


def a_cut_session_is_called_again(tmp):
    want(tmp)
    with Sshd(tmp) as d:
        run = begin(d, tmp, 100)
        begun(run, tmp)
        os.kill(d.sessions()[0], signal.SIGKILL)
        err = ends(run)
    r = flow.report(tmp + "/run")
    holds(r["reissued_batches"] > 0 and r["stages"]["nap"]["deaths"] == 1 and len(ready(tmp)) == 3, "a host was lost and came back: %s; %s; %s" % (r, ready(tmp), err))
    same(flow.far_results(tmp) == want(tmp), True, "the files are those of one host")


def ctrl_c_drains(tmp):
    """At a terminal it goes to flowrun, its stages and the ssh of each host alike."""
    with Sshd(tmp) as d:
        run = begin(d, tmp, 100, start_new_session=True)
        begun(run, tmp)
        os.killpg(run.p.pid, signal.SIGINT)
        ends(run, 4)
    r = flow.report(tmp + "/run")
    same([r["status"], r["in_flight"], r["reissued_batches"], r["stages"]["nap"]["deaths"]], ["interrupted and drained", 0, 0, 0], "how the run was left")
    holds(0 < r["done"] < BATCHES, "batches done: %s" % r["done"])


def nothing_outlives_flowrun(tmp):
    with Sshd(tmp) as d:
        run = begin(d, tmp, 100)
        begun(run, tmp)
        mine = set(pid for pid in agents() if below(pid, d.p.pid))
        same([len(mine), len(d.sessions())], [2, 2], "agents, sessions")
        run.p.kill()
        wait_for(lambda: not mine & set(agents()) and not d.sessions(), "the end of agents and sessions")
        run.p.wait()
    same(os.listdir(os.environ["TMPDIR"]), [], "what agents left behind")


def a_host_with_another_key_is_not_called(tmp):
    want(tmp)
    with Sshd(tmp) as d:
        d.known("host", "other")
        err = ends(begin(d, tmp, 5))
    holds("far2: Host key verification failed." in err and "host far2: its agent ended with status 255" in err, "it is told: %s" % err)
    same([ready(tmp), flow.far_results(tmp) == want(tmp)], [["far1"], True], "who was there; the files are those of one host")


if __name__ == "__main__":
    os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="flowrun-ssh-")
    tempfile.tempdir = os.path.dirname(os.environ["TMPDIR"])
    status = flow.run_cases([two_hosts_give_what_one_gives, a_cut_session_is_called_again, ctrl_c_drains, nothing_outlives_flowrun, a_host_with_another_key_is_not_called])
    shutil.rmtree(os.environ["TMPDIR"])
    sys.exit(status)
