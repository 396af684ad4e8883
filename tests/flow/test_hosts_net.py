"""Four hosts as network namespaces: packets are lost, cables cut one way or both, hosts stopped, killed and given back; the results
are those of one host, byte for byte. Needs root, iproute2 and nftables."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import BUILD, FLOWRUN, TILES, Run, chain, holds, same, slurp, wait_for, write_graph   # noqa: E402

NAP = os.path.join(BUILD, "tests/flow/stages")
HERE = "fr%d" % os.getpid()                                # namespaces: HERE is the supervisor's, HERE-1 to HERE-4 the hosts'
HOSTS = ["%s-%d" % (HERE, i) for i in (1, 2, 3, 4)]
ADDRESS = "10.86.0.1"


def sh(*args, check=True):
    r = subprocess.run(args, capture_output=True, text=True)
    if check and r.returncode != 0:
        raise AssertionError("%s: %s" % (" ".join(args), r.stderr))
    return r.stdout


def inside(ns, *args, **how):
    return sh("ip", "netns", "exec", ns, *args, **how)


def net_up():
    """A bridge in the supervisor's namespace, a cable to each host's."""
    for tool in ("ip", "nft"):
        if shutil.which(tool) is None and not os.path.exists("/usr/sbin/" + tool):
            raise flow.Skip("no " + tool)
    if os.getuid() != 0 or subprocess.run(["ip", "netns", "add", HERE], capture_output=True).returncode != 0:
        raise flow.Skip("network namespaces need root")
    inside(HERE, "ip", "link", "set", "lo", "up")
    inside(HERE, "ip", "link", "add", "sw0", "type", "bridge")
    inside(HERE, "ip", "addr", "add", ADDRESS + "/24", "dev", "sw0")
    inside(HERE, "ip", "link", "set", "sw0", "up")
    for i, ns in enumerate(HOSTS):
        sh("ip", "netns", "add", ns)
        inside(HERE, "ip", "link", "add", "c%d" % i, "type", "veth", "peer", "name", "e0", "netns", ns)
        inside(HERE, "ip", "link", "set", "c%d" % i, "master", "sw0", "up")
        inside(ns, "ip", "addr", "add", "10.86.0.%d/24" % (i + 11), "dev", "e0")
        inside(ns, "ip", "link", "set", "e0", "up")
        inside(ns, "ip", "link", "set", "lo", "up")


def net_down():
    for ns in HOSTS + [HERE]:
        for pid in sh("ip", "netns", "pids", ns, check=False).split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except OSError:
                pass
        sh("ip", "netns", "del", ns, check=False)


def nft(ns, hook, rule):
    inside(ns, "nft", "add table inet t; add chain inet t %s { type filter hook %s priority 0; }; add rule inet t %s %s" % (hook, hook, hook, rule))


def heal(ns):
    inside(ns, "nft", "delete table inet t", check=False)


def graph(tmp, out, ms=30, silence=3, command=None):
    os.makedirs(out, exist_ok=True)
    stages = chain(out, TILES + "/*.jpg", batch=4, views="identity")
    stages["nap"] = {"from": "net", "options": {"ms": ms}}
    stages["tta_merge"]["from"] = "nap"
    stages["net"]["place"] = stages["nap"]["place"] = "far"
    cluster = {"launcher": "exec", "listen": ADDRESS, "silence": silence, "command": command or ["ip", "netns", "exec", "{host}", FLOWRUN, "agent"]}
    return write_graph(tmp + "/graph.json", stages, hosts={"far": HOSTS}, cluster=cluster, stage_path=[NAP])


def results(out):
    return [slurp(out + "/" + name) for name in ("predictions.csv", "probs.csv")]


WANT = []


def want(tmp):
    if not WANT:
        flow.flowrun(graph(tmp, tmp + "/here", ms=0), "--run", tmp + "/here/run", "--local", "-q")
        WANT.extend(results(tmp + "/here"))
    return WANT


class NetRun(Run):
    """flowrun in the supervisor's namespace: `ip` becomes it."""

    def __init__(self, *args):
        self.out = tempfile.TemporaryFile()
        self.err = tempfile.TemporaryFile()
        self.p = subprocess.Popen(["ip", "netns", "exec", HERE, FLOWRUN, *args], stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err)


def texts(run_dir):
    try:
        with open(run_dir + "/log.jsonl") as f:
            return [json.loads(line)["text"] for line in f]
    except (OSError, ValueError):
        return []


def told(run, out, pattern, times=1):
    wait_for(lambda: sum(re.search(pattern, t) is not None for t in texts(out + "/run")) >= times or run.p.poll() is not None, "the log to say " + pattern)
    holds(sum(re.search(pattern, t) is not None for t in texts(out + "/run")) >= times, "%s in the log: %s" % (pattern, texts(out + "/run")[-12:]))


def begin(tmp, out, **how):
    run = NetRun(graph(tmp, out, **how), "--run", out + "/run")
    wait_for(lambda: flow.committed(out + "/run") > 500 or run.p.poll() is not None, "the first batches")
    return run


def end(run, out, reissued=None):
    rc = run.p.wait(flow.PATIENCE)
    said = run.said()[1]
    same([rc, results(out) == WANT, flow.orphans(10)], [0, True, 0], "status, files are those of one host, processes left; it said %s" % said)
    if reissued is not None:
        same(flow.report(out + "/run")["reissued_batches"] > 0, reissued, "batches were issued again")


def lost_packets_cost_nothing(tmp):
    want(tmp)
    out = tmp + "/out"
    for ns in HOSTS:
        nft(ns, "input", "numgen random mod 100 < 1 drop")
    run = begin(tmp, out, ms=10)
    end(run, out)
    for ns in HOSTS:
        heal(ns)
    r = flow.report(out + "/run")["stages"]["nap"]
    same([r["instances"], r["batches"]], [4, 75], "hosts, batches")


def a_cable_cut_one_way_and_mended(tmp):
    want(tmp)
    out = tmp + "/out"
    run = begin(tmp, out, ms=250, silence=1)
    nft(HOSTS[0], "input", "drop")                         # it speaks, but hears nothing
    nft(HOSTS[1], "output", "drop")                        # it hears, but can't be heard
    for ns in HOSTS[:2]:
        told(run, out, "^host %s: .*; it ends, what it held is issued again" % ns)
    for ns in HOSTS[:2]:
        heal(ns)
        told(run, out, "^host %s is ready" % ns, times=2)
    end(run, out, reissued=True)


def a_host_stopped_and_a_host_killed(tmp):
    want(tmp)
    out = tmp + "/out"
    run = begin(tmp, out, ms=250, silence=1)
    stopped = [int(p) for p in sh("ip", "netns", "pids", HOSTS[2]).split()]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    for pid in sh("ip", "netns", "pids", HOSTS[3]).split():
        os.kill(int(pid), signal.SIGKILL)
    told(run, out, "^host %s: .*; it ends, what it held is issued again" % HOSTS[2])
    told(run, out, "^host %s is ready" % HOSTS[3], times=2)
    told(run, out, "^host %s is ready" % HOSTS[2], times=2)
    for pid in stopped:                                    # the old agent finds out that it isn't wanted any more
        try:
            os.kill(pid, signal.SIGCONT)
        except OSError:
            pass
    end(run, out, reissued=True)


if __name__ == "__main__":
    os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="flowrun-hosts-")
    try:
        flow.takes_long()
        net_up()
        status = flow.run_cases([lost_packets_cost_nothing, a_cable_cut_one_way_and_mended, a_host_stopped_and_a_host_killed])
    except flow.Skip as why:
        print("skip %s\n0 passed, 0 failed, 1 skipped" % why)
        status = 0
    finally:
        net_down()
        shutil.rmtree(os.environ["TMPDIR"])
    sys.exit(status)
