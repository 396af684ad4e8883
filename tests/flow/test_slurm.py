"""flowrun slurm, under a Slurm cluster of four nodes on this machine that each case starts in a folder of its own: a job gives what one host
gives, byte for byte, also when it is cancelled, put back into the queue or loses a node. Needs root, slurm-wlm and munge."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import FLOWRUN, holds, same, slurp   # noqa: E402

NODES = ["n1", "n2", "n3", "n4"]
BATCHES = 90                        # of one tile
SILENT = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}

CONF = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={dir}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=40
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool/%n
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd-%n.pid
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=all Nodes=n[1-4] Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=5
PartitionName=first Nodes=n[1-4] MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
"""


def skip(why):
    """Where these tests are run for others, all that they need is there."""
    if os.environ.get("CI") == "true":
        raise AssertionError(why)
    raise flow.Skip(why)


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def until(condition, what, patience=flow.PATIENCE):
    """As flow.wait_for, for questions that start a process."""
    end = time.monotonic() + patience
    while not condition():
        holds(time.monotonic() < end, "no end of waiting for " + what)
        time.sleep(0.05)


class Cluster:
    """munged, slurmctld and a slurmd for each node, as children of this process."""

    def __init__(self, tmp):
        self.dir, self.all = tmp + "/cluster", []
        for tool in ("munged", "slurmctld", "slurmd", "sbatch"):
            if shutil.which(tool) is None and not os.path.exists("/usr/sbin/" + tool):
                skip("no " + tool)
        if os.getuid() != 0:
            skip("slurmd needs root")
        if not os.path.ismount("/sys/fs/cgroup"):
            skip("slurmd needs /sys/fs/cgroup")
        os.chmod(tmp, 0o755)                               # munged's clients must reach its socket
        for sub in ["/state"] + ["/spool/" + n for n in NODES]:
            os.makedirs(self.dir + sub)
        with open(self.dir + "/munge.key", "wb") as f:
            f.write(os.urandom(128))
        os.chmod(self.dir + "/munge.key", 0o400)
        ports, host = free_ports(1 + len(NODES)), socket.gethostname().split(".")[0]
        with open(self.dir + "/slurm.conf", "w") as f:
            f.write(CONF.format(dir=self.dir, host=host, ports=ports, user="root"))
            for name, port in zip(NODES, ports[1:]):
                f.write("NodeName=%s NodeHostname=%s NodeAddr=127.0.0.1 Port=%d CPUs=2 RealMemory=1000 State=UNKNOWN\n" % (name, host, port))
        os.environ["SLURM_CONF"] = self.dir + "/slurm.conf"

    def __enter__(self):
        try:
            self.start("munged", "--foreground", "--key-file", self.dir + "/munge.key", "--socket", self.dir + "/munge.socket", "--pid-file",
                       self.dir + "/munged.pid", "--log-file", self.dir + "/munged.log", "--seed-file", self.dir + "/munge.seed")
            flow.wait_for(lambda: os.path.exists(self.dir + "/munge.socket") or self.all[0].poll() is not None, "munged")
            self.start("slurmctld", "-D", "-c")
            for name in NODES:
                self.start("slurmd", "-D", "-N", name)
            until(lambda: self.ask("sinfo", "-h", "-o", "%t %D") == "idle 4\n" or any(p.poll() is not None for p in self.all), "the nodes")
            same([p.args[0] for p in self.all if p.poll() is not None], [], "Slurm's daemons that have ended; they said %s" % self.said())
            return self
        except BaseException:
            self.stop()
            raise

    def start(self, name, *args):
        path = shutil.which(name) or "/usr/sbin/" + name
        with open("%s/%s-%d.out" % (self.dir, name, len(self.all)), "w") as f:
            self.all.append(subprocess.Popen([path, *args], stdin=subprocess.DEVNULL, stdout=f, stderr=f))

    def said(self):
        return "".join(slurp(self.dir + "/" + f).decode()[-1500:] for f in sorted(os.listdir(self.dir)) if f.endswith(".out"))

    def ask(self, *args):
        r = subprocess.run(args, **SILENT)
        return r.stdout if r.returncode == 0 else ""

    def job(self, number, key):
        m = re.search(r"\b%s=(\S+)" % key, self.ask("scontrol", "show", "job", number))
        return m.group(1) if m else ""

    def ends(self, number):
        """How: a state and an exit status."""
        until(lambda: self.job(number, "JobState") not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"), "job %s, which is %s" % (number, self.job(number, "JobState")))
        return [self.job(number, "JobState"), self.job(number, "ExitCode")]

    def stop(self):
        for p in reversed(self.all):
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
        for p in reversed(self.all):
            p.wait(flow.PATIENCE)

    def __exit__(self, kind, why, trace):
        self.ask("scancel", "--full", "--signal=KILL", "--user=root")
        self.stop()
        left = flow.orphans(15)
        if kind is None:
            same(left, 0, "processes that did not end with their jobs")


def graph(tmp, ms=0, **top):
    return flow.far_graph(tmp, ms, **dict({"hosts": {"far": ["what", "it", "says", "is", "replaced"]}}, **top))


WANT = []


def want(tmp):
    """What one host gives."""
    if not WANT:
        os.makedirs(tmp + "/here")
        flow.flowrun(graph(tmp + "/here", cluster={"launcher": "exec"}), "--run", tmp + "/here/run", "--local", "-q")
        WANT.extend(flow.far_results(tmp + "/here"))
    return WANT


def slurm(*args, status=0, **how):
    r = subprocess.run([FLOWRUN, "slurm", *args], **SILENT, **how)
    same(r.returncode, status, "status of flowrun slurm %s, which said %s%s" % (" ".join(args), r.stdout, r.stderr))
    return r.stdout, r.stderr


def submit(tmp, ms, *more):
    out, _ = slurm(graph(tmp, ms=ms), "--nodes", "3", "--run", tmp + "/run", *more)
    m = re.fullmatch(r"job (\d+), run (\S+)\n", out)
    holds(m is not None and m.group(2) == tmp + "/run", "the job's number and the run: %s" % out)
    return m.group(1)


def begun(c, tmp, number):
    """More is committed than there was."""
    before = flow.committed(tmp + "/run")
    until(lambda: flow.committed(tmp + "/run") > before + 300 or c.job(number, "JobState") not in ("PENDING", "CONFIGURING", "RUNNING"), "the first batches")
    same(c.job(number, "JobState"), "RUNNING", "job %s; %s" % (number, log(tmp)))


def log(tmp):
    try:
        return slurp(tmp + "/run/slurm.log").decode()
    except OSError:
        return ""


def drained(tmp):
    """How many batches are done, and some aren't."""
    r = flow.report(tmp + "/run")
    same([r["status"], r["exit"]], ["interrupted and drained", 4], "how the run was left: %s" % log(tmp))
    holds(0 < r["done"] < BATCHES, "batches done: %s" % r["done"])
    return r["done"]


def went_on(tmp, done):
    r = flow.report(tmp + "/run")
    same([r["status"], r["predicted"], r["resumed_batches"], r["stages"]["nap"]["batches"]], ["complete", BATCHES, done, BATCHES - done],
         "state, tiles, batches done before, batches done now; %s" % log(tmp))
    same(flow.far_results(tmp) == want(tmp), True, "the files are those of one host")


# ---- cases ----

def a_job_gives_what_one_host_gives(tmp):
    want(tmp)
    with Cluster(tmp) as c:
        number = submit(tmp, ms=5)
        same(c.ends(number), ["COMPLETED", "0:0"], "job; %s" % log(tmp))
        same(flow.far_results(tmp) == want(tmp), True, "the files are those of one host")
        with open(tmp + "/run/log.jsonl") as f:
            ready = sorted(re.search("host (\\S+) is ready", line).group(1) for line in f if "is ready" in line)
        same(ready, ["n1", "n2", "n3"], "hosts")
        same(os.listdir(os.environ["TMPDIR"]), [], "what agents left behind")
        _, err = slurm(tmp + "/graph.json", "--nodes", "3", "--run", tmp + "/run", status=2)
        holds("%s/run: holds a run already; go on with it by sbatch %s/run/job.sh" % (tmp, tmp) in err, "a second one in the same folder: %s" % err)
        _, err = slurm(tmp + "/graph.json", "--nodes", "3", "--partition", "nil", "--run", tmp + "/other", status=1)
        holds("nil" not in os.listdir(tmp) and "sbatch has refused the job" in err and "invalid partition" in err, "sbatch's refusal: %s" % err)
        same(os.path.exists(tmp + "/other"), False, "and nothing is left of it")


def a_cancelled_job_drains_and_goes_on_when_submitted_again(tmp):
    want(tmp)
    with Cluster(tmp) as c:
        number = submit(tmp, ms=150)
        begun(c, tmp, number)
        c.ask("scancel", number)
        same(c.ends(number)[0], "CANCELLED", "job")
        done = drained(tmp)
        number = c.ask("sbatch", "--parsable", tmp + "/run/job.sh").strip()
        begun(c, tmp, number)
        c.ask("scancel", "--batch", "--signal=TERM", number)         # as Slurm does before time is up
        same(c.ends(number), ["FAILED", "4:0"], "job; %s" % log(tmp))
        more = drained(tmp)
        holds(more > done, "%d batches, then %d" % (done, more))
        number = c.ask("sbatch", "--parsable", tmp + "/run/job.sh").strip()
        same(c.ends(number), ["COMPLETED", "0:0"], "job; %s" % log(tmp))
        went_on(tmp, more)


def a_requeued_job_goes_on(tmp):
    want(tmp)
    with Cluster(tmp) as c:
        number = submit(tmp, ms=150)
        begun(c, tmp, number)
        c.ask("scontrol", "requeue", number)
        until(lambda: c.job(number, "JobState") == "PENDING", "its being back in the queue")
        done = drained(tmp)
        c.ask("scontrol", "update", "JobId=" + number, "StartTime=now")       # not in two minutes
        same(c.ends(number), ["COMPLETED", "0:0"], "job; %s" % log(tmp))
        same(c.job(number, "Restarts"), "1", "restarts")
        went_on(tmp, done)


def a_job_whose_time_is_up_drains(tmp):
    """Slurm looks at times every half minute."""
    flow.takes_long()
    want(tmp)
    with Cluster(tmp) as c:
        number = submit(tmp, 3000, "--time", "1", "--", "--signal=B:TERM@55")
        begun(c, tmp, number)
        same(c.ends(number), ["FAILED", "4:0"], "job; %s" % log(tmp))
        done = drained(tmp)
        number = c.ask("sbatch", "--parsable", "--time=10", tmp + "/run/job.sh").strip()
        begun(c, tmp, number)
        c.ask("scancel", number)
        c.ends(number)
        holds(drained(tmp) > done, "more is done")


def a_job_that_makes_room_goes_on(tmp):
    """Another job comes first (preemption): when its time of grace is over it goes back into the queue, and goes on when there is room."""
    flow.takes_long()
    want(tmp)
    with Cluster(tmp) as c:
        number = submit(tmp, 3000)
        begun(c, tmp, number)
        other = c.ask("sbatch", "--parsable", "--partition=first", "--nodes=4", "--exclusive", "--output=/dev/null", "--wrap=true").strip()
        until(lambda: c.job(other, "JobState") == "COMPLETED", "the job that comes first", 2 * flow.PATIENCE)
        done = drained(tmp)
        until(lambda: c.job(number, "Restarts") == "1", "its being back in the queue")
        c.ask("scontrol", "update", "JobId=" + number, "StartTime=now")       # not in two minutes
        until(lambda: c.job(number, "JobState") == "RUNNING", "its start")
        begun(c, tmp, number)
        c.ask("scancel", number)
        c.ends(number)
        holds(drained(tmp) > done, "more is done")


def a_lost_node_is_done_without(tmp):
    want(tmp)
    with Cluster(tmp) as c:
        number = submit(tmp, ms=150)
        begun(c, tmp, number)
        c.ask("scontrol", "update", "NodeName=n3", "State=DOWN", "Reason=test")
        same(c.ends(number), ["COMPLETED", "0:0"], "job; %s" % log(tmp))
        same(c.job(number, "Restarts"), "0", "restarts")
        r = flow.report(tmp + "/run")
        holds(r["reissued_batches"] > 0 and r["stages"]["nap"]["deaths"] > 0, "a host was lost: %s; %s" % (r, log(tmp)))
        same([r["predicted"], flow.far_results(tmp) == want(tmp)], [BATCHES, True], "tiles, the files are those of one host")


def the_script_is_printed(tmp):
    out, err = slurm(graph(tmp), "--nodes", "2", "--gres", "gpu:h100:4", "--partition", "big one", "--time", "1:00:00", "--set", "nap.ms=3", "--run", "r", "--print",
                     "--", "--account=me", "--exclusive", "--output=/o/%j", "-H", cwd=tmp, env={})
    same(err, "", "what it says besides")
    same(sorted(os.listdir(tmp)), ["graph.json", "out"], "it makes nothing")
    same(subprocess.run(["bash", "-n"], input=out, text=True).returncode, 0, "bash understands it")
    options = [re.sub(r" +# .*", "", line)[8:] for line in out.splitlines() if line.startswith("#SBATCH ")]
    same(options, ["--job-name='graph'", "--nodes=2", "--ntasks-per-node=1", "--chdir='%s'" % tmp, "--output='%s/r/slurm.log'" % tmp, "--open-mode=append", "--partition='big one'",
                   "--time='1:00:00'", "--gres='gpu:h100:4'", "--requeue", "--no-kill", "--signal=B:TERM@120", "--account='me'", "--exclusive", "--output='/o/%j'", "-H"], "options")
    # What it comes to, under a shell where the commands are others
    with open(tmp + "/script", "w") as f:
        f.write("scontrol() { echo n7; echo n9; }\nhostname() { echo 10.1.2.3 10.9.9.9; }\nexec() { printf '%s\\n' \"$@\"; }\n" + out)
    said = subprocess.run(["bash", tmp + "/script"], cwd=tmp, env=dict(os.environ, SLURM_GPUS_ON_NODE="4"), **SILENT).stdout.splitlines()
    there = ["--set", "cluster.launcher=slurm", "--set", "hosts.far=[{host: n7, gpus: 4}, {host: n9, gpus: 4}]", "--set", "cluster.listen=10.1.2.3"]
    same(said, [FLOWRUN, tmp + "/graph.json", "--run", tmp + "/r", "--set", "nap.ms=3"] + there, "what is run")
    os.mkdir(tmp + "/r")
    with open(tmp + "/r/config.json", "w"):
        pass
    said = subprocess.run(["bash", tmp + "/script"], cwd=tmp, env=dict(os.environ, SLURM_GPUS_ON_NODE="4"), **SILENT).stdout.splitlines()
    same(said, [FLOWRUN, "--resume", tmp + "/r"] + there, "what is run where a run was left")
    out, _ = slurm(graph(tmp, cluster={"launcher": "ssh", "listen": "ib0"}), "--nodes", "2", "--print")
    holds("hostname -I" not in out and "cluster.listen" not in out, "an address that the file says stays: %s" % out)
    holds(re.search(r"--run '%s/runs/graph-\d{8}-\d{6}'" % os.getcwd(), out), "a run directory of its own: %s" % out)


def what_is_wrong_is_told(tmp):
    path = graph(tmp)
    for args, says in [(["--nodes", "2", "--partion", "x"], "unknown option --partion; did you mean --partition?"), ([], "--nodes is missing: want a number from 1 to 256"),
                       (["--nodes", "0"], "--nodes 0: want"), (["--nodes", "3x"], "--nodes 3x: want"), (["--nodes", "257"], "--nodes 257: want"), (["--nodes"], "--nodes wants N"),
                       (["--nodes", "2", "--gres", "a'b"], "--gres a'b: want a text without quotes"), (["--nodes", "2", "more"], "more: want sbatch's options after --"),
                       (["--nodes", "2", "--", "--account", "me"], "me: want sbatch's options after --, each in one word"), (["--nodes", "2", "--run", "a%b"], "--run a%b: want a name without %"),
                       (["--nodes", "2", "--set", "nap.mss=1"], "did you mean ms?")]:
        _, err = slurm(path, *args, status=2, cwd=tmp)
        holds(says in err, "%s: want %r in %s" % (args, says, err))
    _, err = slurm(graph(tmp, hosts={"far": ["a"], "near": ["b"]}), "--nodes", "2", status=2, cwd=tmp)
    holds(re.search(r"graph\.json:1:\d+: hosts has 2 groups", err), "two groups: %s" % err)
    _, err = slurm(graph(tmp, local=True), "--nodes", "2", status=2, cwd=tmp)
    holds("nothing is placed on hosts" in err, "no place: %s" % err)
    _, err = slurm(path, "--nodes", "1", status=1, cwd=tmp, env={"PATH": "/nowhere"})
    holds("sbatch can't be started (No such file or directory)" in err, "no sbatch: %s" % err)
    same([os.listdir(tmp + "/runs"), sorted(os.listdir(tmp))], [[], ["graph.json", "out", "runs"]], "nothing is left of them")
    out, err = slurm("/no/such/file", "--nodes", "1", status=2)
    holds("/no/such/file" in err, "no file: %s" % err)


if __name__ == "__main__":
    os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="flowrun-slurm-")
    tempfile.tempdir = os.path.dirname(os.environ["TMPDIR"])
    status = flow.run_cases([the_script_is_printed, what_is_wrong_is_told, a_job_gives_what_one_host_gives, a_cancelled_job_drains_and_goes_on_when_submitted_again,
                             a_requeued_job_goes_on, a_job_whose_time_is_up_drains, a_job_that_makes_room_goes_on,
                             a_lost_node_is_done_without])
    shutil.rmtree(os.environ["TMPDIR"])
    sys.exit(status)
