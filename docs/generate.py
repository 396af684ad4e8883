"""Writes docs/pipeline.md and docs/stages.md from what flowrun and the stages say of themselves: generate.py BUILD FOLDER."""
import json
import os
import re
import subprocess
import sys

build, folder = sys.argv[1:3]
HEAD = "<!-- Made by `make docs`; changes belong into the tables of the sources. -->\n\n"


def run(*args):
    return subprocess.run(args, check=True, capture_output=True, text=True).stdout


def cell(text):
    return str(text).replace("|", "\\|")


def pipeline():
    out = HEAD + "# Pipeline files\n\nA graph is one YAML file, without anchors and tags. `flowrun check FILE` says all that is wrong with it.\n"
    lines = run(build + "/bin/flowrun", "describe").splitlines()
    for i, line in enumerate(lines):
        if line and not line.startswith(" "):
            out += "\n## %s\n\n| key | value | default | |\n|---|---|---|---|\n" % (line[0].upper() + line[1:])
        elif re.match(r"  \S", line):
            name, rest = line.strip().split(None, 1)
            value, default = re.match(r"(.*?)(?: \(default: (.*)\))?$", rest).groups()
            out += "| `%s` | %s | %s | %s |\n" % (name, cell(value), cell(default or ""), cell(lines[i + 1].strip()))
    return out


def limits(o):
    parts = ["\\|".join(o["choices"])] if "choices" in o else []
    if "min" in o or "max" in o:
        parts.append("%s to %s" % tuple("%.15g" % o[k] if k in o else "" for k in ("min", "max")))
    return ", ".join(parts)


def stage(name):
    d = json.loads(run(build + "/stages/" + name, "--describe"))
    out = "\n## %s\n\n%s\n" % (d["name"], d["help"])
    for port in d["ports"]:
        way = "Takes" if port["dir"] == "in" else "Gives"
        out += "\n%s%s:\n\n| tensor | type | shape | |\n|---|---|---|---|\n" % (way, " (joins several stages)" if port["many"] else "")
        for t in port["tensors"]:
            notes = [w for w, on in (("optional", t["optional"]), ("one of these", t.get("either")), ("ends here", t["taken"])) if on]
            out += "| `%s` | %s | [%s] | %s |\n" % (t["name"], cell("|".join(t["dtype"])), ", ".join(t["shape"]), ", ".join(notes))
    if d["options"]:
        out += "\n| option | type | default | limits | |\n|---|---|---|---|---|\n"
        for o in d["options"]:
            default = "required" if o["required"] else "" if o["default"] is None else "`%s`" % cell(o["default"])
            out += "| `%s` | %s | %s | %s | %s |\n" % (o["name"], o["type"], default, limits(o), cell(o["help"]))
    if d["counters"]:
        out += "\nCounters: %s.\n" % ", ".join(d["counters"])
    return out


def stages():
    out = HEAD + "# Stages\n\nOptions, tensors and counters of each. B tiles, V views, K snapshots, L labels, C channels, H rows, W columns.\n"
    names = [line.split()[0] for line in run(build + "/bin/flowrun", "stages").splitlines()]
    order = ["source", "decode", "augment", "forward", "tta_merge", "stack", "decode_f2", "sink"]
    return out + "".join(stage(n) for n in sorted(names, key=lambda n: (order.index(n) if n in order else 99, n)))


os.environ.pop("FLOWRUN_STAGES", None)
for name, make in (("pipeline.md", pipeline), ("stages.md", stages)):
    with open(os.path.join(folder, name), "w") as f:
        f.write(make())
