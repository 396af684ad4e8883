"""Graphs over several hosts, all of them this machine (launcher exec): results are those of one host, byte for byte, also when agents and
their stages are killed, stopped, or are not what they should be; what can't be placed is refused."""
import fcntl
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import BUILD, FLOWRUN, LABELS, MODELS, TILES, Run, chain, holds, same, slurp, wait_for, write_graph   # noqa: E402

NAP = os.path.join(BUILD, "tests/flow/stages")
HOSTS = {"far": ["h1", "h2"]}
EXEC = {"launcher": "exec"}


def graph(tmp, out, placed, ms=0, hosts=HOSTS, cluster=EXEC, instances=1, batch=8, **change):
    """The default graph with `placed` on the group far; ms: each batch takes so long in net's place of work."""
    os.makedirs(out, exist_ok=True)
    stages = chain(out, TILES + "/*.jpg", batch=batch, views="d4", truth=LABELS, instances=instances)
    if ms:
        stages["nap"] = {"from": "net", "options": {"ms": ms}}
        stages["tta_merge"]["from"] = "nap"
    for name in placed:
        stages[name]["place"] = "far"
    for name, keys in change.items():
        stages[name].update(keys)
    return write_graph(tmp + "/graph.json", stages, hosts=hosts, cluster=cluster, stage_path=[NAP])


def results(out):
    return [slurp(out + "/" + name) for name in ("predictions.csv", "probs.csv")]


def local(tmp, **how):
    path = graph(tmp, tmp + "/here", ["net"], **how)
    flowrun(path, "--run", tmp + "/here/run", "--local", "-q")
    return results(tmp + "/here")


def agents(run):
    """Process ids of the agents: children of the stages called remote."""
    found = []
    for pid in run.stages().get("remote", []):
        try:
            found += [int(p) for p in slurp("/proc/%d/task/%d/children" % (pid, pid)).split()]
        except OSError:
            pass
    return found


def children(pid, name):
    found = []
    try:
        for p in slurp("/proc/%d/task/%d/children" % (pid, pid)).split():
            if os.path.basename(os.readlink("/proc/%d/exe" % int(p))) == name:
                found.append(int(p))
    except OSError:
        pass
    return found


def end(run, want=0):
    """As flow.flowrun, but a killed agent's stages come to this process, to end by themselves."""
    rc = run.p.wait(flow.PATIENCE)
    out, err = run.said()
    same([rc, flow.orphans(10)], [want, 0], "status, and processes that did not end by themselves; it said %s%s" % (out, err))
    return rc, out, err


def flowrun(*args, want=0):
    return end(Run(*args), want)


def log(run_dir):
    with open(run_dir + "/log.jsonl") as f:
        return [json.loads(line) for line in f]


def placed_stretches_give_what_one_host_gives(tmp):
    want = local(tmp)
    for placed in (["net"], ["decode", "augment", "net", "tta_merge", "stack"], ["decode", "tta_merge"]):
        out = tmp + "/" + "-".join(placed)
        rc, _, err = flowrun(graph(tmp, out, placed), "--run", out + "/run")
        same(results(out) == want, True, "%s: the files are those of one host; it said %s" % (placed, err))
        stages = flow.report(out + "/run")["stages"]
        last = "stack" if "stack" in placed else placed[-1]
        same([stages[last]["instances"], stages[last]["counters"]["starts"], stages[last]["counters"]["sent"]], [2, 2, 38], "%s: hosts, starts, batches" % placed)
        hosts = stages[last]["hosts"]
        same([sorted(hosts), sum(h["batches"] for h in hosts.values()), sum(h["sent"] for h in hosts.values()), len(re.findall(r"  %s on h\d: " % last, err))],
             [["h1", "h2"], 38, 38, 2], "%s: figures by host" % placed)
        ready = [x["text"] for x in log(out + "/run") if "is ready" in x["text"]]
        same(len(ready), 4 if placed == ["decode", "tta_merge"] else 2, "%s: hosts that were ready: %s" % (placed, ready))
    same(os.listdir(os.environ["TMPDIR"]), [], "what agents left behind")


def rejected_tiles_come_back_with_their_reason(tmp):
    tiles = tmp + "/tiles"
    os.mkdir(tiles)
    for name in sorted(os.listdir(TILES))[:40]:
        shutil.copy(os.path.join(TILES, name), tiles)
    bad = sorted(os.listdir(tiles))[7]
    with open(tiles + "/" + bad, "wb") as f:
        f.write(b"no tile")
    reasons = []
    for how in ("--local", "-q"):
        out = tmp + "/" + how
        path = graph(tmp, out, ["decode", "augment", "net"], tiles={"options": {"files": tiles + "/*.jpg", "batch": 8}}, sink={"options": {"submission": out + "/predictions.csv", "probabilities": out + "/probs.csv"}})
        flowrun(path, "--run", out + "/run", how, want=3)
        reasons.append([slurp(out + "/run/rejects.csv")] + results(out))
    same(reasons[1], reasons[0], "rejects, predictions and probabilities")


def whoever_dies_there_costs_nothing(tmp):
    want = local(tmp, ms=20)
    out = tmp + "/far"
    run = Run(graph(tmp, out, ["net", "nap"], ms=20), "--run", out + "/run")
    wait_for(lambda: flow.committed(out + "/run") > 3000 or run.p.poll() is not None, "the first batches")
    first = agents(run)
    same(len(first), 2, "agents")
    net = children(first[0], "forward")
    same(len(net), 1, "its networks")
    os.kill(net[0], signal.SIGKILL)                        # the agent's own matter
    wait_for(lambda: children(first[0], "forward") not in ([], net) or run.p.poll() is not None, "the next forward")
    os.kill(first[1], signal.SIGKILL)                      # a host
    wait_for(lambda: len(set(agents(run)) - set(first)) > 0 or run.p.poll() is not None, "the next agent")
    rc, _, err = end(run)
    same([rc, results(out) == want], [0, True], "status, files are those of one host; it said %s" % err)
    r = flow.report(out + "/run")
    holds(r["stages"]["nap"]["deaths"] == 1 and r["reissued_batches"] > 0, "a host was lost: %s" % r)
    texts = [x["text"] for x in log(out + "/run")]
    holds(any("net.0: died of signal 9" in t and t.startswith("h") for t in texts), "the agent's log comes along: %s" % texts)
    holds(any(re.match(r"host h\d: (its launcher died of signal 9|the connection of its)", t) for t in texts), "the loss is told: %s" % texts)


def a_killed_flowrun_leaves_nothing(tmp):
    """Agents end by themselves, their folders with them; the run is gone on with."""
    want = local(tmp, ms=20)
    out = tmp + "/far"
    run = Run(graph(tmp, out, ["net", "nap"], ms=20), "--run", out + "/run")
    wait_for(lambda: flow.committed(out + "/run") > 3000 or run.p.poll() is not None, "the first batches")
    run.p.kill()
    run.p.wait()
    same([flow.orphans(20), os.listdir(os.environ["TMPDIR"])], [0, []], "processes and folders that are left")
    flowrun("--resume", out + "/run")
    same(results(out) == want, True, "files are those of one host")


def what_a_killed_agent_left_is_swept(tmp):
    """Folders of the dead go when the next agent starts here; those of the living, and what is not a folder of an agent, stay."""
    os.environ["TMPDIR"], before = tmp + "/tmp", os.environ["TMPDIR"]
    try:
        os.makedirs(tmp + "/tmp/flowrun-agent-dead/links")
        os.mkdir(tmp + "/tmp/flowrun-agent-live")
        with open(tmp + "/tmp/flowrun-agent-dead/log.jsonl", "w") as f:
            f.write("x")
        os.symlink(tmp + "/elsewhere", tmp + "/tmp/flowrun-agent-link")
        os.mkdir(tmp + "/elsewhere")
        held = os.open(tmp + "/tmp/flowrun-agent-live", os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
        out = tmp + "/far"
        run = Run(graph(tmp, out, ["net", "nap"], ms=150), "--run", out + "/run")
        wait_for(lambda: flow.committed(out + "/run") > 3000 or run.p.poll() is not None, "the first batches")
        first = set(os.listdir(tmp + "/tmp"))
        os.kill(agents(run)[0], signal.SIGKILL)
        wait_for(lambda: not first <= set(os.listdir(tmp + "/tmp")) or run.p.poll() is not None, "the sweep of its folder")
        end(run)
        os.close(held)
        same(sorted(os.listdir(tmp + "/tmp")), ["flowrun-agent-link", "flowrun-agent-live"], "what is left")
        holds(os.path.isdir(tmp + "/elsewhere"), "where a link pointed")
    finally:
        os.environ["TMPDIR"] = before


def a_silent_host_is_given_up(tmp):
    want = local(tmp, ms=20)
    out = tmp + "/far"
    run = Run(graph(tmp, out, ["net", "nap"], ms=20, cluster=dict(EXEC, silence=1)), "--run", out + "/run")
    wait_for(lambda: flow.committed(out + "/run") > 3000 or run.p.poll() is not None, "the first batches")
    stopped = agents(run)[0]
    for pid in [stopped] + children(stopped, "forward") + children(stopped, "nap") + children(stopped, "inlet") + children(stopped, "outlet"):
        os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: any("silent for" in x["text"] or "connection of its" in x["text"] for x in log(out + "/run")) or run.p.poll() is not None, "its being given up")
    rc, _, err = end(run)
    same([rc, results(out) == want], [0, True], "status, files are those of one host; it said %s" % err)
    holds(flow.report(out + "/run")["reissued_batches"] > 0, "its batches were issued again")


def a_host_that_is_never_there_is_done_without(tmp):
    want = local(tmp)
    script = tmp + "/launch"
    with open(script, "w") as f:
        f.write("#!/bin/sh\n[ $1 = h1 ] || { echo no route to $1; exit 255; }\nexec %s agent\n" % FLOWRUN)
    os.chmod(script, stat.S_IRWXU)
    out = tmp + "/far"
    rc, _, err = flowrun(graph(tmp, out, ["net"], cluster={"launcher": "exec", "command": [script, "{host}"]}), "--run", out + "/run")
    same(results(out) == want, True, "files are those of one host")
    holds("h2: no route to h2" in err and "host h2: its agent ended with status 255" in err, "it is told: %s" % err)


def another_build_is_refused_with_both_named(tmp):
    other = tmp + "/bin/flowrun"
    os.makedirs(tmp + "/bin")
    image = bytearray(slurp(FLOWRUN))
    ids = re.search(r"Build ID: ([0-9a-f]+)", subprocess.run(["readelf", "-n", FLOWRUN], capture_output=True, text=True).stdout)
    if ids is None:
        raise flow.Skip("no readelf, or no build id")
    at = image.find(bytes.fromhex(ids.group(1)))
    image[at] ^= 0xff
    with open(other, "wb") as f:
        f.write(image)
    os.chmod(other, stat.S_IRWXU)
    out = tmp + "/far"
    rc, _, err = flowrun(graph(tmp, out, ["net"], cluster={"launcher": "exec", "flowrun": other}), "--run", out + "/run", want=1)
    holds(ids.group(1) in err and "%02x%s" % (image[at], ids.group(1)[2:]) in err and "host h" in err, "both builds: %s" % err)


def a_launcher_that_is_not_there_ends_the_run(tmp):
    rc, _, err = flowrun(graph(tmp, tmp + "/far", ["net"], cluster={"launcher": "exec", "command": ["/no/such/launcher"]}), "--run", tmp + "/far/run", want=1)
    holds("/no/such/launcher: No such file" in err, "why: %s" % err)


def what_a_stage_says_there_ends_the_run(tmp):
    """A file that only this host has: the network over there can't be opened."""
    model = tmp + "/model.safetensors"
    shutil.copy(MODELS[0], model)
    shutil.copy(MODELS[0].replace(".safetensors", ".json"), tmp + "/model.json")
    script = tmp + "/launch"
    with open(script, "w") as f:
        f.write("#!/bin/sh\nrm -f %s\nexec %s agent\n" % (model, FLOWRUN))
    os.chmod(script, stat.S_IRWXU)
    path = graph(tmp, tmp + "/far", ["net"], cluster={"launcher": "exec", "command": [script]}, net={"options": {"weights": [model]}})
    rc, _, err = flowrun(path, "--run", tmp + "/far/run", want=1)
    holds(re.search(r"host h\d: (net\.0: E_\w+|agent\.0: net): .*model\.safetensors", err) is not None, "which host, which file: %s" % err)


def launcher(tmp, h1, h2):
    """A launcher whose agents have these words before them."""
    script = tmp + "/launch"
    with open(script, "w") as f:
        f.write("#!/bin/sh\n[ $1 = h1 ] || exec %s %s agent\nexec %s %s agent\n" % (h2, FLOWRUN, h1, FLOWRUN))
    os.chmod(script, stat.S_IRWXU)
    return {"launcher": "exec", "command": [script, "{host}"]}


def a_choice_is_settled_where_the_stage_runs(tmp):
    """`device: auto` comes to what the hosts have, not to what this one has; a host that comes to something else is refused. The device is plain loops."""
    twin = "env FLOWRUN_PLUGINS=" + os.path.join(BUILD, "tests/plugins")
    few = {"tiles": {"options": {"files": TILES + "/sample_0000[0-5].jpg", "batch": 1}}, "augment": {"options": {"views": "identity", "size": 96}},
           "net": {"options": {"weights": MODELS[:1], "rows": 1}}}
    out = tmp + "/twin"
    flowrun(graph(tmp, out, ["net"], cluster=launcher(tmp, twin, twin), **few), "--run", out + "/run")
    with open(out + "/run/hosts/net.json") as f:
        came = json.load(f)
    same(came["net"]["device"], "cuda:0", "what it came to")
    for host in ("h1", "h2"):
        with open(out + "/run/hosts/net.%s.json" % host) as f:
            has = json.load(f)["net"]
        holds(has["settled"] == came["net"] and any(o.startswith("device cuda: ") for o in has["offers"]), "%s has %s" % (host, has))
    with open(out + "/run/config.json") as f:
        holds("cuda:0" not in f.read(), "this host's configuration leaves the choice")
    out = tmp + "/other"
    _, _, err = flowrun(graph(tmp, out, ["net", "nap"], ms=50, cluster=launcher(tmp, twin, "env"), **few), "--run", out + "/run", want=1)
    holds(re.search(r"host h\d: refused: net: device comes to (cpu there, cuda:0|cuda:0 there, cpu) on the hosts of this run", err), "both are named: %s" % err)
    out = tmp + "/mixed"
    flowrun(graph(tmp, out, ["net"], cluster=dict(launcher(tmp, twin, "env"), mixed=True), **few), "--run", out + "/run")


def a_host_that_takes_its_time_to_settle_is_not_gone(tmp):
    """Asking a stage what `auto` comes to takes longer than the silence that is allowed."""
    stages, out = tmp + "/stages", tmp + "/far"
    os.makedirs(stages)
    with open(stages + "/forward", "w") as f:
        f.write("#!/bin/sh\n[ \"$1\" != --describe ] || sleep 1.6\nexec %s/stages/forward \"$@\"\n" % BUILD)
    os.chmod(stages + "/forward", stat.S_IRWXU)
    path = graph(tmp, out, ["net"], hosts={"far": ["h1"]}, cluster=dict(launcher(tmp, "env FLOWRUN_STAGES=" + stages, "env"), silence=1, mixed=True),
                 tiles={"options": {"files": TILES + "/sample_0000[0-5].jpg", "batch": 1}}, net={"options": {"weights": MODELS[:1]}})
    run = Run(path, "--run", out + "/run")
    wait_for(lambda: run.p.poll() is not None or (os.path.exists(out + "/run/log.jsonl") and re.search("silent for|is ready", slurp(out + "/run/log.jsonl").decode())), "its joining")
    if run.p.poll() is None and b"silent for" in slurp(out + "/run/log.jsonl"):
        run.p.kill()
    _, _, err = end(run)
    same(flow.report(out + "/run")["stages"]["net"]["counters"]["starts"], 1, "starts of its agent; it said %s" % err)


def devices_that_were_given_are_shared_out(tmp):
    """An agent that may see some devices only (Slurm's choice) shares those out; too few are told of."""
    hosts = {"far": [{"host": "h1", "gpus": 2}]}
    out = tmp + "/far"
    run = Run(graph(tmp, out, ["net", "nap"], ms=100, hosts=hosts, cluster=launcher(tmp, "env CUDA_VISIBLE_DEVICES=5,GPU-a,7", "env"), net={"instances": "per_gpu", "options": {"weights": MODELS[:1], "device": "cpu"}}),
              "--run", out + "/run")
    wait_for(lambda: flow.committed(out + "/run") > 500 or run.p.poll() is not None, "the first batches")
    seen = [re.search(rb"CUDA_VISIBLE_DEVICES=([^\0]*)", slurp("/proc/%d/environ" % pid)).group(1) for pid in children(agents(run)[0], "forward")]
    same(sorted(seen), [b"5", b"GPU-a"], "devices of the two")
    run.p.send_signal(signal.SIGTERM)
    end(run, want=4)
    out = tmp + "/few"
    _, _, err = flowrun(graph(tmp, out, ["net"], hosts=hosts, cluster=launcher(tmp, "env CUDA_VISIBLE_DEVICES=5", "env"), net={"instances": "per_gpu"}), "--run", out + "/run", want=1)
    holds("net: instance 1 has no device: CUDA_VISIBLE_DEVICES is 5" in err, "too few: %s" % err)


def a_host_joins_by_hand_and_leaves(tmp):
    """A place that is kept: taken, given back at SIGTERM, taken again by another letter; an old letter is of no use."""
    want = local(tmp, ms=60)
    out = tmp + "/far"
    letter = out + "/run/hosts/nap.late.join"
    run = Run(graph(tmp, out, ["net", "nap"], ms=60, hosts={"far": ["h1", {"host": "late", "join": True}]}), "--run", out + "/run")

    def join(path):
        return subprocess.Popen([FLOWRUN, "agent", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def ready():
        return sum("host late is ready" in x["text"] for x in log(out + "/run"))
    wait_for(lambda: os.path.exists(letter) or run.p.poll() is not None, "the letter")
    same(stat.S_IMODE(os.stat(letter).st_mode), 0o600, "who may read it")
    shutil.copy(letter, tmp + "/old")
    first = join(letter)
    wait_for(lambda: ready() == 1 or run.p.poll() is not None, "its joining")
    first.send_signal(signal.SIGTERM)
    first.wait(flow.PATIENCE)
    same(os.listdir(os.environ["TMPDIR"]).__len__(), 1, "folders of agents: h1's")
    wait_for(lambda: os.path.exists(letter) and slurp(letter) != slurp(tmp + "/old") or run.p.poll() is not None, "another letter")
    same(join(tmp + "/old").wait(flow.PATIENCE) != 0, True, "who comes with the old one fails")
    second = join(letter)
    wait_for(lambda: ready() == 2 or run.p.poll() is not None, "its joining again")
    rc = run.p.wait(flow.PATIENCE)
    same([rc, second.wait(flow.PATIENCE), results(out) == want, flow.orphans(10)], [0, 0, True, 0], "status, the agent's status, files are those of one host; it said %s" % (run.said(),))
    r = flow.report(out + "/run")
    same([r["stages"]["nap"]["hosts"]["late"]["deaths"], os.path.exists(letter), os.listdir(os.environ["TMPDIR"])], [1, False, []], "leaves, a letter that is left, folders")
    holds(r["stages"]["nap"]["hosts"]["late"]["batches"] > 0, "it has done its share: %s" % r["stages"]["nap"]["hosts"])


EVIL = r'''
import json, re, struct, subprocess, sys, msgpack, zmq
letter, how, flowrun = json.loads(sys.stdin.readline()), sys.argv[1], sys.argv[2]
build = re.search("Build ID: ([0-9a-f]+)", subprocess.run(["readelf", "-n", flowrun], capture_output=True, text=True).stdout).group(1)
processor = re.search("model name\s*: (.*)", open("/proc/cpuinfo").read()).group(1)
ctx = zmq.Context()

def call(role, more=b""):
    s = ctx.socket(zmq.DEALER)
    s.setsockopt(zmq.RECONNECT_IVL, -1)
    s.setsockopt(zmq.LINGER, 0)
    s.curve_serverkey, s.curve_publickey, s.curve_secretkey = [letter[k].encode() for k in ("server_key", "public_key", "secret_key")]
    s.connect(letter["address"])
    s.send(b"H\x01" + struct.pack("<H", role) + letter["pass"].encode() + more)
    return s

agent = call(0, json.dumps({"protocol": 1, "version": "0", "build": build, "processor": processor}).encode())
while agent.recv()[:1] != b"W":
    pass
inlet, outlet = call(1), call(2)
agent.send(b"J\x01\0\0" + json.dumps({"ready": 4}).encode())
poller = zmq.Poller()
for source in (agent, inlet, sys.stdin):
    poller.register(source, zmq.POLLIN)

def until(kind):
    """The first such message for the inlet; the end comes before all."""
    while True:
        ready = dict(poller.poll())
        if sys.stdin.fileno() in ready or (agent in ready and agent.recv()[:1] == b"E"):
            sys.exit(0)
        m = inlet.recv() if inlet in ready else b""
        if m[:1] == kind:
            return m

m = until(b"B")
token, head = m[4:12], msgpack.unpackb(m[12:])
answer = {"million": b"B\x01\0\0" + token + b"\x89\xa1v\x01\xa1t\xdd\x00\x0f\x42\x40",
          "token": b"B\x01\0\0" + struct.pack("<Q", 1 << 60) + m[12:],
          "large": b"B\x01\0\0" + token + msgpack.packb(dict(head, t=[["reason", "u8", [1 << 20, 192], -1, 1, 192 << 20]])),
          "kind": b"W\x01\0\0{}"}[how]
outlet.send(answer)
until(b"end")
'''


def a_host_that_lies_is_given_up(tmp):
    """It has the keys, and says what can't be: the other host does all the work."""
    if subprocess.run(["/usr/bin/python3", "-c", "import zmq, msgpack"], capture_output=True).returncode != 0 or shutil.which("readelf") is None:
        raise flow.Skip("no python3-zmq, python3-msgpack or readelf")
    few = {"options": {"files": TILES + "/*[37].jpg", "batch": 4}}
    want = local(tmp, tiles=few, ms=1)
    with open(tmp + "/evil.py", "w") as f:
        f.write(EVIL)
    for how, says in [("million", "header"), ("token", "a batch that it was not given"), ("large", "too large|shape"), ("kind", "not its to send")]:
        script, out = tmp + "/launch", tmp + "/" + how
        with open(script, "w") as f:
            f.write("#!/bin/sh\n[ $1 = h1 ] || exec /usr/bin/python3 -B %s/evil.py %s %s\nexec %s agent\n" % (tmp, how, FLOWRUN, FLOWRUN))
        os.chmod(script, stat.S_IRWXU)
        rc, _, err = flowrun(graph(tmp, out, ["net", "nap"], ms=150, cluster={"launcher": "exec", "command": [script, "{host}"]}, tiles=few), "--run", out + "/run")
        same(results(out) == want, True, "%s: files are those of one host" % how)
        holds(re.search("host h2: what it says can't be: .*(%s)" % says, err) is not None, "%s: it is told: %s" % (how, err))


def not_encrypted_is_announced(tmp):
    want = local(tmp)
    out = tmp + "/far"
    rc, _, err = flowrun(graph(tmp, out, ["net"], cluster=dict(EXEC, insecure=True)), "--run", out + "/run")
    same([results(out) == want, "warning: cluster.insecure" in err], [True, True], "files, warning")


def what_is_wrong_is_told_with_its_place(tmp):
    def told(text, *says):
        path = tmp + "/bad.yaml"
        with open(path, "w") as f:
            f.write(text)
        rc, _, err = flow.flowrun("check", path, want=2)
        for word in says:
            holds(path + ":" + word in err, "want %r in %s" % (word, err))

    def stages(**change):
        s = chain(tmp, TILES + "/*.jpg")
        for name, keys in change.items():
            s[name].update(keys)
        return "stages: " + json.dumps(s) + "\n"
    told("hosts: {far: [a, a, {host: 'x y'}, {hst: b, host: c}], e: 3}\ncluster: {launcher: sshh, silence: 0, comand: 1}\n" + stages(),
         "1:18: hosts.far: a is there twice", "1:21: hosts.far: ", "1:37: hosts: unknown key hst; did you mean host?", "1:59: hosts.e is 3", "2:1: cluster.listen is missing",
         "2:21: cluster.launcher is text \"sshh\", want ssh, slurm or exec; did you mean ssh?", "2:36: cluster.silence is 0", "2:39: cluster: unknown key comand; did you mean command?")
    told("hosts: {gpu: [a]}\ncluster: {launcher: exec}\n" + stages(net={"place": "gpus"}, decode={"instances": "per_gpus"}), "3:")
    told("cluster: {launcher: exec}\n" + stages(net={"place": "gpus"}), "1:1: cluster: there are no hosts", "2:")
    far = "hosts: {far: [a]}\ncluster: {launcher: exec}\n"
    for change, says in [({"tiles": {"place": "far"}}, "tiles: a source stays on the host"), ({"sink": {"place": "far"}}, "sink: a sink stays on the host"),
                         ({"tta_merge": {"place": "far"}, "stack": {"place": "far"}, "decode_f2": {"place": "far", "from": ["stack"]},
                           "sink": {"from": ["decode_f2", "stack"]}}, "stack and decode_f2 are read by stages of other places")]:
        with open(tmp + "/bad.yaml", "w") as f:
            f.write(far + stages(**change))
        rc, _, err = flow.flowrun("check", tmp + "/bad.yaml", want=2)
        holds(says in err, "want %r in %s" % (says, err))


def the_plan_tells_what_runs_where_and_what_travels(tmp):
    path = graph(tmp, tmp + "/far", ["net"], hosts={"far": ["h1", {"host": "h2", "gpus": 2}]}, net={"instances": "per_gpu"})
    rc, out, _ = flow.flowrun("plan", path)
    tile = 8 * 256 * 256 * 3 + 8 * 64                      # pixels and ids: what net reads
    travels = float(re.search(r"augment -> net: ([0-9.]+) MB a batch there", out).group(1)) * 1e6
    holds(tile <= travels < tile + 50000, "bytes a batch: %s" % travels)
    holds(re.search(r"h1 +net x1; 4 batches at once", out) and re.search(r"h2 +net x2; 6 batches at once", out), "instances by host: %s" % out)
    holds("were augment, decode placed there too" in out and "encrypted (CURVE)" in out, "where else it could be cut: %s" % out)
    rc, out, _ = flow.flowrun("plan", path, "--local")
    holds("hosts, by" not in out, "local: %s" % out)


def what_the_link_cannot_carry_is_decoded_there(tmp):
    """8 tiles of 196,608 bytes a batch; the hosts take 600 a second: 118 MB/s."""
    fast = {"far": [{"host": "h1", "rate": 200}, {"host": "h2", "rate": 400}]}
    want = local(tmp)
    for link, there in (("10Gbit", False), ("900Mbit", True)):
        out = tmp + "/" + link
        path = graph(tmp, out, ["net"], hosts=fast, cluster=dict(EXEC, link=link))
        _, said, _ = flow.flowrun("plan", path)
        holds("the hosts take 600 tiles/s" in said, "why: %s" % said)
        same([re.search(r"far +(.*)", said).group(1), "it is the limit, so what reads tiles is placed there too" in said, "it isn't the limit" in said],
             ["decode, augment, net" if there else "net", there, not there], "what runs there, and why")
        flowrun(path, "--run", out + "/run")
        same(results(out) == want, True, "%s: the files are those of one host" % link)
        stages = flow.report(out + "/run")["stages"]
        same([sorted(stages) == sorted(["tiles", "net", "tta_merge", "stack", "decode_f2", "sink"]), "decode" in stages], [there, not there], "stages that run here")
    path = graph(tmp, tmp + "/far", ["net"], hosts=fast, cluster=dict(EXEC, link="900Mbit"), augment={"place": "here"})
    _, said, _ = flow.flowrun("plan", path)
    holds("it is the limit\n" in said and re.search(r"far +net\n", said), "a stage that stays by hand: %s" % said)
    path = graph(tmp, tmp + "/far", ["net"], cluster=dict(EXEC, link="1Gbit"))
    _, said, _ = flow.flowrun("plan", path)
    holds("at most 6" in said and "say each host's rate" in said, "hosts of unknown rate: %s" % said)
    path = graph(tmp, tmp + "/far", ["net"], hosts={"far": [{"host": "h1", "rate": 0}]}, cluster=dict(EXEC, link="fast"))
    _, _, err = flow.flowrun("check", path, want=2)
    holds("cluster.link is text \"fast\", want a rate as 1Gbit or 100Mbit" in err and "rate is 0, want tiles a second" in err, "what is wrong: %s" % err)


if __name__ == "__main__":
    os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="flowrun-hosts-")
    status = flow.run_cases([
        placed_stretches_give_what_one_host_gives, rejected_tiles_come_back_with_their_reason, whoever_dies_there_costs_nothing, a_killed_flowrun_leaves_nothing, what_a_killed_agent_left_is_swept, a_silent_host_is_given_up,
        a_host_that_is_never_there_is_done_without, another_build_is_refused_with_both_named, a_launcher_that_is_not_there_ends_the_run,
        what_a_stage_says_there_ends_the_run, a_choice_is_settled_where_the_stage_runs, a_host_that_takes_its_time_to_settle_is_not_gone, devices_that_were_given_are_shared_out,
        a_host_joins_by_hand_and_leaves, a_host_that_lies_is_given_up, not_encrypted_is_announced, what_is_wrong_is_told_with_its_place, the_plan_tells_what_runs_where_and_what_travels,
        what_the_link_cannot_carry_is_decoded_there])
    shutil.rmtree(os.environ["TMPDIR"])
    sys.exit(status)
