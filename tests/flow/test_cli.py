"""The command line with the real stages: help and versions, stages, describe, plan, check, score, completion, near misses."""
import csv
import json
import os
import re
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import flow
from flow import BUILD, FLOWRUN, LABELS, ROOT, TILES, chain, flowrun, holds, report, same, write_graph

STAGES = ("augment", "decode", "decode_f2", "feed", "forward", "inlet", "outlet", "predictions", "recall", "record", "recording", "remote", "sheet", "sink", "source", "stack", "stack_fit", "stats", "tta_merge")
FILES = [os.path.join(TILES, "sample_%05d.jpg" % i) for i in range(40)]


def commands():
    """All there are, from flowrun itself."""
    found = re.findall(r"^  ([a-z-]+) +[A-Z]", flowrun("--help")[1].split("\ncommands:\n")[1], re.M)
    holds({"check", "plan", "stages", "describe", "score", "completion"} <= set(found), "commands: %s" % found)
    return found


def version():
    out = flowrun("--version")[1]
    holds(re.fullmatch(r"flowrun \d+\.\d+\.\d+\n", out), "--version: %r" % out)
    return out.split()[1]


def help_is_everywhere(tmp):
    out = flowrun("--help")[1]
    holds(out.startswith("usage: flowrun FILE"), "--help: %s" % out)
    for command in commands():
        out, err = flowrun(command, "--help")[1:]
        holds(out.startswith("usage: flowrun %s" % command) and "--help" in out and err == "", "%s --help: %s" % (command, out))
    listed = flowrun("--help")[1].split("\ncommands:\n")[1].split("\n\nflowrun COMMAND")[0].splitlines()
    same(len(listed), len(commands()), "--help has one line a command")
    for option in ("--threshold", "--subset", "--names", "--json"):
        holds(option in flowrun("score", "--help")[1], "score --help names %s" % option)
    for name in STAGES:
        out = stage(name, "--help")
        described = json.loads(stage(name, "--describe"))
        holds(out.startswith(name + ": " + described["help"]), "%s --help: %s" % (name, out))
        holds(all(re.search(r"^  %s +\S" % o["name"], out, re.M) for o in described["options"]), "%s --help names its options" % name)


def versions_are_everywhere(tmp):
    for command in commands():
        same(flowrun(command, "--version")[1], "flowrun %s\n" % version(), command)
    for name in STAGES:
        same(stage(name, "--version"), "%s %s\n" % (name, version()), name)
        same(json.loads(stage(name, "--describe"))["version"], version(), name + " --describe")


def stage(name, *args):
    return subprocess.run([os.path.join(BUILD, "stages", name), *args], check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout.decode()


def a_stage_alone_says_who_starts_it(tmp):
    for args in ((), ("--nonsense",), ("--setup",), ("--options",)):
        p = subprocess.run([os.path.join(BUILD, "stages/decode"), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        same([p.returncode, p.stdout], [2, b""], "decode %s" % (args,))
        holds(p.stderr.startswith(b"decode") and b"--help" in p.stderr, "decode %s says %r" % (args, p.stderr))


def stages_are_listed(tmp):
    lines = flowrun("stages")[1].splitlines()
    same([line.split()[0] for line in lines], list(STAGES), "stages")
    for line in lines:
        name, text = line.split(None, 1)
        same(text, json.loads(stage(name, "--describe"))["help"], name)


def describe_shows_what_the_stage_says(tmp):
    for name in STAGES:
        told = json.loads(flowrun("describe", name, "--json")[1])
        same(told, json.loads(stage(name, "--describe")), name)
        text = flowrun("describe", name)[1]
        for o in told["options"]:
            holds(re.search(r"^  %s +%s +\S" % (o["name"], o["type"]), text, re.M), "describe %s lists %s" % (name, o["name"]))
        for port in told["ports"]:
            for t in port["tensors"]:
                holds(re.search(r"^  %s +\S+ +\[%s\]" % (re.escape(t["name"]), ",".join(t["shape"])), text, re.M), "describe %s lists %s" % (name, t["name"]))
    text = flowrun("describe", "forward", "--set", "weights=" + flow.MODELS[0])[1]
    holds(re.search(r"^dimensions\n.*\bL=17\b", text, re.M) and "agriculture" in text, "weights decide labels: %s" % text)
    text = flowrun("describe", "source", "--set", "files=" + TILES, "--set", "batch=7")[1]
    holds("300 in 43 batches" in text, "files decide batches: %s" % text)


PINNED = ("pipeline.yaml", *(w for s in ("tiles.batch=32", "decode.instances=2", "net.instances=1") for w in ("--set", s)))


def plan_shows_edges_and_memory(tmp):
    out = flowrun("plan", *PINNED, cwd=ROOT)[1]
    for a, b in (("tiles", "decode"), ("decode", "augment"), ("augment", "net"), ("net", "tta_merge"), ("tta_merge", "stack"),
                 ("stack", "decode_f2"), ("decode_f2", "sink")):
        holds(re.search(r"^  %s -> %s\b" % (a, b), out, re.M), "%s -> %s is in the plan" % (a, b))
    holds(re.search(r"^  net +forward +1 ", out, re.M), "executable and processes of net: %s" % out)
    holds("B=32 H=256 W=256 C=3" in out and "B=32 V=8 K=3 L=17" in out, "shapes: %s" % out)
    holds(re.search(r"^memory: (\d+) batches in flight x ", out, re.M), "the window: %s" % out)
    # ref's own memory is the same everywhere, and little with one row
    small = ("--set", "net.device=ref", "--set", "net.rows=1", "--set", "memory=25MB")
    less = flowrun("plan", *PINNED, *small, cwd=ROOT)[1]
    same(re.search(r"^memory: (\d+) batches", less, re.M).group(1), "3", "batches in 25 MB, of which 3 to 5 MB are the network's")


def plan_dot_is_a_graph(tmp):
    out = flowrun("plan", "pipeline.yaml", "--dot", cwd=ROOT)[1]
    holds(re.match(r'digraph "\w+" \{\n', out) and out.rstrip().endswith("}"), "braces: %s" % out)
    body = out[out.index("{") + 1:out.rindex("}")].strip().splitlines()
    statement = re.compile(r'\s*(?:\w+=\w+|\w+ \[\w+=\w+\]|"[\w.-]+"(?: -> "[\w.-]+")? \[label="(?:[^"\\]|\\.)*"(?:, ?\w+=\w+)*\]);$')
    same([line for line in body if not statement.match(line)], [], "statements")
    same(sorted(re.findall(r'"(\w+)" -> "(\w+)"', out)),
         sorted([("tiles", "decode"), ("decode", "augment"), ("augment", "net"), ("net", "tta_merge"), ("tta_merge", "stack"),
                 ("stack", "decode_f2"), ("decode_f2", "sink")]), "edges")


def check_says_good_or_all_that_is_wrong(tmp):
    out = flowrun("check", *PINNED, cwd=ROOT)[1]
    same(out, "pipeline.yaml: good: 8 stages, 9 processes, 32 tiles a batch, 10 batches in flight\n", "check")
    with open(tmp + "/bad.yaml", "w") as f:
        f.write("sead: 3\nstages:\n"
                "  tiles: {stage: source, options: {files: \"%s/*.jpg\", batch: many}}\n"
                "  decode: {from: tiles, options: {mode: rgbm}}\n"
                "  augment: {from: decod}\n"
                "  net: {stage: forward, from: augment, options: {weights: [nothing.safetensors]}}\n"
                "  sink: {from: net}\n" % TILES)
    rc, out, err = flowrun("check", tmp + "/bad.yaml", want=2)
    where = {tuple(map(int, m.groups())) for m in re.finditer(r"^%s/bad\.yaml:(\d+):(\d+): " % re.escape(tmp), err, re.M)}
    holds({1, 3, 4, 5, 6} <= {line for line, _ in where}, "one complaint for each line that is wrong: %s" % err)
    for words in ("sead; did you mean seed?", "batch is text \"many\"", "rgbm", "decod; did you mean decode?", "nothing.safetensors"):
        holds(words in err, "%r is in: %s" % (words, err))
    same(flowrun(tmp + "/bad.yaml", "--run", tmp + "/run", want=2)[2], err, "a run says the same")
    holds(not os.path.exists(tmp + "/run"), "and makes nothing")


def score_agrees_with_the_sink(tmp):
    graph = write_graph(tmp + "/graph.yaml", chain(tmp, FILES, truth=LABELS))
    flowrun(graph, "-q", "--run", tmp + "/run")
    f2 = report(tmp + "/run")["stages"]["sink"]["results"]["f2"]
    scored = json.loads(flowrun("score", tmp + "/predictions.csv", LABELS, "--subset", "--json")[1])
    holds(abs(scored["f2"] - f2) < 1e-8, "score says %r, the sink %r" % (scored, f2))
    holds(abs(own_f2(tmp + "/predictions.csv") - f2) < 1e-8, "so does a third program")
    holds(flowrun("score", "--subset", tmp + "/predictions.csv", LABELS)[1].startswith("F2 %.6f over 40 tiles\n" % f2), "as text")
    rc, _, err = flowrun("score", tmp + "/predictions.csv", LABELS, want=1)
    holds("--subset" in err, "without --subset: %s" % err)
    write_graph(tmp + "/graph.yaml", chain(tmp, FILES))
    flowrun(tmp + "/graph.yaml", "-q", "--run", tmp + "/b", "--set", "decode_f2.method=threshold", "--set", "decode_f2.threshold=0.3")
    by_tags = json.loads(flowrun("score", tmp + "/predictions.csv", LABELS, "--subset", "--json")[1])["f2"]
    by_probs = json.loads(flowrun("score", tmp + "/probs.csv", LABELS, "--subset", "--json", "--threshold", "0.3")[1])["f2"]
    same(by_tags, by_probs, "tags and probabilities at the same threshold")


def own_f2(path):
    with open(LABELS) as f:
        truth = {r["image_name"]: set(r["tags"].split()) for r in csv.DictReader(f)}
    scores = []
    with open(path) as f:
        for r in csv.DictReader(f):
            y, h = truth[r["image_name"]], set(r["tags"].split())
            scores.append(5 * len(y & h) / (len(h) + 4 * len(y)) if y & h else 0)
    return sum(scores) / len(scores)


def completion_is_valid_bash(tmp):
    text = flowrun("completion")[1]
    p = subprocess.run(["bash", "-n"], input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    same([p.returncode, p.stderr], [0, b""], "bash -n")
    ask = 'eval "$("$0" completion)"; COMP_WORDS=("$0" "$@") COMP_CWORD=$#; _flowrun; printf "%s\\n" "${COMPREPLY[@]}"'
    for words, want in ((["sc"], "score"), (["describe", "decode_"], "decode_f2"), (["score", "--th"], "--threshold"), (["plan", "--do"], "--dot"),
                        (["--res"], "--resume"), (["stages", "--ver"], "--version")):
        got = subprocess.run(["bash", "-c", ask, FLOWRUN, *words], cwd=tmp, stdout=subprocess.PIPE, check=True).stdout.decode().split()
        same(got, [want], "completion of %s" % words)


def near_misses_are_named(tmp):
    for args, words in ((["scroe"], "did you mean score?"), (["plam"], "did you mean plan?"), (["discribe", "decode"], "did you mean describe?"),
                        (["stage"], "did you mean stages?"), (["zebra"], "no such command"), (["describe", "forwerd"], "did you mean forward?"),
                        (["check", "--vresion"], "did you mean --version?"), (["score", "--treshold", "0.2"], "did you mean --threshold?"),
                        (["--resum", "x"], "did you mean --resume?"), (["describe", "sink", "--set", "submision=x"], "did you mean submission?")):
        rc, out, err = flowrun(*args, want=2, cwd=tmp)
        holds(words in err and out == "", "%s says %r%r, want %r" % (args, out, err, words))
    holds("did you mean" not in flowrun("zebra", want=2, cwd=tmp)[2], "nothing is near to zebra")


def an_interrupt_ends_who_is_asked(tmp):
    """A stage that doesn't answer --describe goes with flowrun."""
    os.mkdir(tmp + "/slow")
    with open(tmp + "/slow/nap", "w") as f:
        f.write("#!/bin/sh\nexec sleep 60\n")
    os.chmod(tmp + "/slow/nap", 0o755)
    stages = chain(tmp, FILES[:4])
    stages["decode"]["stage"] = "nap"
    run = flow.Run("check", write_graph(tmp + "/graph.yaml", stages, stage_path=[tmp + "/slow"]))
    try:
        flow.wait_for(lambda: run.stages().get("sleep"), "the stage to be asked")
        run.p.send_signal(signal.SIGTERM)
        same(run.p.wait(flow.PATIENCE), -signal.SIGTERM, "status")
        holds(flow.nothing_to_reap(), "the stage has outlived it")
    finally:
        run.kill()


def the_default_graph_scores(tmp):
    """What `make demo` shows: labels of the sample tiles, well above the best constant set."""
    err = flowrun("pipeline.yaml", "--run", tmp + "/run", "--set", "sink.submission=" + tmp + "/p.csv", "--set", "sink.probabilities=" + tmp + "/q.csv", cwd=ROOT)[2]
    said = {name: float(value) for name, value in re.findall(r"^  sink\.(\w+) = (\S+)$", err, re.M)}
    holds(said["f2"] > 0.85 and said["f2"] > said["best_constant_f2"] + 0.10, "it says %s" % said)
    holds(abs(said["f2"] - own_f2(tmp + "/p.csv")) < 1e-5, "%s, another program %r" % (said, own_f2(tmp + "/p.csv")))
    with open(tmp + "/p.csv") as f:
        same(len(f.read().splitlines()), 301, "a row for each of 300 tiles, and the header")


def an_installed_one_is_found_by_path_and_link(tmp):
    """`make install` into a folder that is moved afterwards; called through PATH and a symbolic link, from elsewhere."""
    san = re.sub("^build-?", "", os.path.basename(BUILD)).replace("-", ",")
    subprocess.run(["make", "-s", "install", "SAN=" + san, "DESTDIR=" + tmp + "/stage", "PREFIX=/opt/f"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    os.rename(tmp + "/stage/opt/f", tmp + "/a place")
    os.mkdir(tmp + "/bin")
    os.symlink(tmp + "/a place/bin/flowrun", tmp + "/bin/flowrun")
    graph = write_graph(tmp + "/graph.yaml", chain(".", FILES[:4], batch=2))
    os.mkdir(tmp + "/here")
    p = subprocess.run(["flowrun", graph, "-q", "--run", "run"], cwd=tmp + "/here", env=dict(os.environ, PATH=tmp + "/bin:" + os.environ["PATH"], FLOWRUN_STAGES=""),
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    same([p.returncode, p.stdout], [0, b""], "status and output")
    exe = json.loads(flow.slurp(tmp + "/here/run/versions.json"))
    holds(tmp + "/a place/libexec/flowrun/stages/decode" in json.dumps(exe), "it ran the installed stages: %s" % json.dumps(exe)[:600])
    same(flow.slurp(tmp + "/here/predictions.csv").count(b"\n"), 5, "rows, with the header")


CASES = [help_is_everywhere, versions_are_everywhere, a_stage_alone_says_who_starts_it, stages_are_listed, describe_shows_what_the_stage_says,
         plan_shows_edges_and_memory, plan_dot_is_a_graph, check_says_good_or_all_that_is_wrong, score_agrees_with_the_sink,
         completion_is_valid_bash, near_misses_are_named, an_interrupt_ends_who_is_asked, the_default_graph_scores, an_installed_one_is_found_by_path_and_link]

if __name__ == "__main__":
    sys.exit(flow.run_cases(CASES))
