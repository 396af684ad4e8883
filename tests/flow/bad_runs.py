"""Runs flowrun in a folder of its own and proves what it says, does and leaves there; for test_bad_input.py."""
import csv
import json
import os
import re
import shutil
import subprocess

PLACE = "\u00a7"      # in a configuration below: the next character is where a complaint must point

PIPELINE = {
    "top": "",
    "head": "stages:",
    "tiles": "  tiles: {stage: source, options: {files: tiles, batch: 4}}",
    "decode": "  decode: {from: tiles}",
    "augment": "  augment: {from: decode, options: {views: identity, size: 96}}",
    "net": "  net: {stage: forward, from: augment, options: {weights: net.safetensors, rows: 4}}",
    "tta_merge": "  tta_merge: {from: net}",
    "decode_f2": "  decode_f2: {from: tta_merge}",
    "sink": "  sink: {from: decode_f2, options: {submission: p.csv, probabilities: probs.csv}}",
}


tally = {"passed": 0, "failed": 0, "skipped": 0}


def check(name, problems, said=""):
    tally["failed" if problems else "passed"] += 1
    if not problems:
        return
    print("FAIL %s: %s" % (name, "; ".join(problems)))
    if said:
        print("    " + said.rstrip().replace("\n", "\n    "))


def ends(name, got, status, says):
    """got: status and text of a run."""
    right = got[0] == status and re.search(says, got[1])
    check(name, [] if right else ["status %d, want %d and %r" % (got[0], status, says)], got[1])


def pipeline(**lines):
    return "\n".join(line for line in dict(PIPELINE, **lines).values() if line) + "\n"


def write(path, data):
    with open(path, "wb") as f:
        f.write(data.encode(errors="surrogateescape") if isinstance(data, str) else data)


class Place:
    """A folder to run flowrun in, with links to some of the sample tiles."""

    def __init__(self, build, folder, tiles=8):
        self.build, self.folder = os.path.abspath(build), folder
        os.makedirs(self.at("tiles"))
        for i in range(tiles):
            shutil.copy("build/samples/tiles/sample_%05d.jpg" % i, self.at("tiles"))

    def at(self, *names):
        return os.path.join(self.folder, *names)

    def read(self, *names):
        with open(self.at(*names), newline="") as f:
            return f.read()

    def flowrun(self, *args, **popen):
        r = subprocess.run([os.path.join(self.build, "bin/flowrun"), *args], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=120, text=True, errors="replace", **popen)
        return r.returncode, r.stdout


# ---- refused: status 2, every complaint at its place, nothing started ----


def marked(text):
    """The text without marks, and their places."""
    places = []
    for number, line in enumerate(text.split("\n"), 1):
        while PLACE in line:
            places.append("%d:%d" % (number, line.index(PLACE) + 1))
            line = line.replace(PLACE, "", 1)
    return text.replace(PLACE, ""), places


def refuse(place, name, text, *wants):
    """Each of `wants` is a pattern for the complaint at the mark of the same number."""
    text, places = marked(text)
    write(place.at("bad.yaml"), text)
    before = sorted(os.listdir(place.folder))
    status, said = place.flowrun("bad.yaml", "--run", "run")
    lines, problems = said.splitlines(), []
    if status != 2:
        problems.append("status %d, want 2" % status)
    if len(lines) != len(wants) or len(places) != len(wants):
        problems.append("%d lines, want %d at %d places" % (len(lines), len(wants), len(places)))
    for line, at, want in zip(lines, places, wants):
        if not line.startswith("bad.yaml:%s: " % at):
            problems.append("not at bad.yaml:%s" % at)
        if not re.search(want, line):
            problems.append("no match for %r" % want)
    if sorted(os.listdir(place.folder)) != before:
        problems.append("something was made: %s" % (set(os.listdir(place.folder)) ^ set(before)))
    check(name, problems, said)


# ---- runs: in = predicted + rejected, each tile in one of the two ----


def rows(place, *names):
    with open(place.at(*names), newline="") as f:
        return list(csv.DictReader(f))


def log_has(place, level, want):
    lines = [json.loads(line) for line in place.read("run", "log.jsonl").splitlines()]
    return any(line["level"] == level and re.search(want, line["text"]) for line in lines)


def account(place, ids):
    """What is wrong with the books of a finished run over these tiles."""
    report, problems = json.loads(place.read("run", "report.json")), []
    predicted = [r["image_name"] for r in rows(place, "p.csv")]
    rejected = [r["id"] for r in rows(place, "run", "rejects.csv")]
    if sorted(predicted + rejected) != sorted(ids):
        problems.append("predicted %s and rejected %s are not the tiles once each" % (predicted, rejected))
    if (report["tiles"], report["predicted"], report["rejected"]) != (len(ids), len(predicted), len(rejected)):
        problems.append("the report counts %(tiles)d = %(predicted)d + %(rejected)d" % report)
    if [r["image_name"] for r in rows(place, "probs.csv")] != predicted:
        problems.append("probabilities of other tiles than predicted")
    return problems


def run_rejecting(place, name, wants, ids, text, warns=()):
    """wants: {id: pattern of its row in rejects.csv}."""
    write(place.at("run.yaml"), text)
    status, said = place.flowrun("run.yaml", "--run", "run")
    want = 3 if wants else 0
    if status != want or not os.path.exists(place.at("p.csv")):
        check(name, ["status %d, want %d" % (status, want)], said)
        return
    problems = account(place, ids)
    got = {r["id"]: "%(stage)s: %(reason)s" % r for r in rows(place, "run", "rejects.csv")}
    if sorted(got) != sorted(wants):
        problems.append("rejected %s" % sorted(got))
    for tile, pattern in wants.items():
        if not re.search(pattern, got.get(tile, "")):
            problems.append("%s: %r, want %r" % (tile, got.get(tile), pattern))
    problems += ["no warning %r" % w for w in warns if not log_has(place, "warning", w)]
    check(name, problems, said)


# ---- failed: status 1; resumed: as if nothing had been ----


def run_failing(place, name, text, stage, *wants):
    """The first of `wants` is told by this stage, into the log as well."""
    write(place.at("run.yaml"), text)
    status, said = place.flowrun("run.yaml", "--run", "run")
    problems = ["no match for %r" % w for w in (stage + ": " + wants[0], *wants[1:]) if not re.search(w, said)]
    if status != 1 or json.loads(place.read("run", "report.json"))["exit"] != 1:
        problems.append("status %d, want 1" % status)
    if not log_has(place, "error", wants[0]):
        problems.append("not in the log")
    if os.path.exists(place.at("p.csv")):
        problems.append("a result file in spite of it")
    check(name, problems, said)


RESULTS = ("p.csv", "probs.csv", "run/rejects.csv")


def undisturbed_run(place):
    """The result files of a run to which nothing bad happens."""
    write(place.at("run.yaml"), pipeline())
    status, said = place.flowrun("run.yaml", "--run", "run")
    if status != 0:
        raise SystemExit("an undisturbed run ended with status %d:\n%s" % (status, said))
    return {f: place.read(f) for f in RESULTS}


def resume(place, name, undisturbed):
    status, said = place.flowrun("--resume", "run")
    problems = ["status %d, want 0" % status] if status != 0 else ["%s differs" % f for f in RESULTS if place.read(f) != undisturbed[f]]
    check(name, problems, said)
