#!/usr/bin/python3
"""What flowrun says and does when what it is given is bad: configuration, weights, tiles, disk. Argument: the build folder."""
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, "tests/flow")
import bad_files  # noqa: E402
from bad_runs import PLACE, RESULTS, Place, check, ends, pipeline, refuse, resume, rows  # noqa: E402
from bad_runs import run_failing, run_rejecting, tally, undisturbed_run, write  # noqa: E402

# ---- refused: status 2, every complaint at its place, nothing started ----


def source(files):
    return "  tiles: {stage: source, options: {batch: 4, files: %s}}" % files


def forward(weights):
    return "  net: {stage: forward, from: augment, options: {rows: 4, weights: %s}}" % weights


def at_options(line):
    """Where a complaint is about no single option, it points at their key."""
    return line.replace("options:", PLACE + "options:")


def refused_graphs(place):
    refuse(place, "unknown stage",
           pipeline(decode="  decode: {stage: §decod, from: tiles}"), "decode: .*decod.*did you mean decode\\?")
    refuse(place, "unknown option",
           pipeline(decode="  decode: {from: tiles, options: {§sise: 256}}"), "decode: unknown option sise; did you mean size\\?")
    refuse(place, "unknown port",
           pipeline(augment="  augment: {from: §decode.foo, options: {views: identity, size: 96}}"),
           "augment: decode\\.foo: ports have no names here, .* want decode$")
    refuse(place, "unknown key", pipeline(top="§sed: 7"), "unknown key sed; did you mean seed\\?")
    refuse(place, "unknown key of an entry",
           pipeline(decode="  decode: {§form: tiles, from: tiles}"), "decode: unknown key form; did you mean from\\?")
    refuse(place, "wrong type",
           pipeline(tiles="  tiles: {stage: source, options: {files: tiles, batch: §many}}"),
           'batch is text "many", want a whole number')
    refuse(place, "wrong type of the seed", pipeline(top="seed: §soon"), 'seed is text "soon", want a whole number')
    refuse(place, "out of range",
           pipeline(tiles="  tiles: {stage: source, options: {files: tiles, batch: §5000}}"), "batch is 5000, want 1 to 4096")
    refuse(place, "no instances", pipeline(decode="  decode: {from: tiles, instances: §0}"), "instances is 0, want 1 to ")
    refuse(place, "no such choice",
           pipeline(decode_f2="  decode_f2: {from: tta_merge, options: {method: §exakt}}"),
           "method is .*exakt.*want one of .*did you mean exact\\?")
    refuse(place, "cycle", pipeline(tta_merge="  tta_merge: {from: net}\n  one: {stage: stack, from: §[tta_merge, two]}\n  two: {stage: stack, from: one}",
                                    decode_f2="  decode_f2: {from: two}"), "a cycle: (one -> two -> one|two -> one -> two)$")
    refuse(place, "cycle without a source", pipeline(head="§stages:", tiles="", decode="  decode: {from: §tta_merge}"), "no source",
           "a cycle: decode -> augment -> net -> tta_merge -> decode$")
    refuse(place, "no source", "§stages:\n  sink: {from: §nothing}\n", "no source", "no stage is called nothing")
    refuse(place, "unread output",
           pipeline(tta_merge="  tta_merge: {from: net}\n  §stack: {from: tta_merge}"), "stack: nobody reads what it gives")
    refuse(place, "no stages", "§stages: {}\n", "no stages")
    refuse(place, "wrong tensors along an edge", pipeline(augment="", net="  §net: {stage: forward, from: decode, options: {weights: net.safetensors}}"),
           "net: no tensor view or input arrives.*decode -> net")
    refuse(place, "too little memory",
           pipeline(top="memory: §100kB"), "memory is 100\\.0kB, but .*one batch of 4 tiles needs .* \\(\\d+ bytes( in total)?\\)")
    refuse(place, "several at once, by position",
           pipeline(top="§sed: 7", tiles="  tiles: {stage: source, options: {files: tiles, batch: §many, §suffle: true}}",
                    decode="  decode: {from: §tils, options: {size: §0}}", sink="  sink: {from: decode_f2, options: {submission: §none/p.csv}}"),
           "unknown key sed", "batch is", "unknown option suffle; did you mean shuffle", "no stage is called tils; did you mean tiles", "size is 0, want 1 to",
           "none/p\\.csv can't be written: its folder does not exist")


def refused_yaml(place):
    refuse(place, "anchor",
           pipeline(tiles="  tiles: §&a {stage: source, options: {files: tiles}}"), "anchors \\(&name\\) are not taken")
    refuse(place, "alias", pipeline(decode="  decode: {from: §*a}"), "aliases \\(\\*name\\) are not taken")
    refuse(place, "tag", pipeline(top="seed: §!!int 3"), "tags \\(!name\\) are not taken")
    refuse(place, "key given twice", pipeline(top="seed: 1\n§seed: 2"), "key seed is given twice, first at line 1")
    refuse(place, "option given twice",
           pipeline(decode="  decode: {from: tiles, options: {size: 256, §size: 256}}"), "key size is given twice, first at line 3")
    refuse(place, "stage given twice",
           pipeline(tta_merge="  tta_merge: {from: net}\n  §decode: {from: tiles}"), "key decode is given twice, first at line 3")
    refuse(place, "tab", pipeline(decode="§\tdecode: {from: tiles}"), "not YAML: .* \\(a tab; lines are indented by spaces\\)$")
    refuse(place, "open bracket", pipeline(sink="  sink: {from: [decode_f2") + PLACE, "not YAML: ")
    refuse(place, "two documents", "seed: 1\n§---\nseed: 2\n", "a second document")
    refuse(place, "nothing in it", "§", "nothing in it")
    refuse(place, "a list", "§- stages\n", "the file holds a list, want a map with the key stages")


    refuse(place, "not UTF-8", pipeline(top="# §\udcff"), "not UTF-8 text: .* at byte 2$")


def sink(options):
    return "  sink: {from: decode_f2, options: {%s}}" % options


def refused_tables(place):
    """Tables that don't fit: told before anything is started, though only the stages can read them."""
    write(place.at("short.csv"), "image_name,tags\nsample_00000,clear primary\n")
    write(place.at("tag.csv"), "image_name,tags\nsample_00000,cleer primary\n")
    write(place.at("headless.csv"), "sample_00000,clear primary\n")
    write(place.at("only_head.csv"), "image_name,tags\n")
    write(place.at("whole.csv"), "image_name,tags\nsample_00000,clear primary\n")
    os.symlink("whole.csv", place.at("link.csv"))
    write(place.at("double.csv"), "image_name,tags\nx,clear\ny,haze\nx,clear\n")
    labels = "  tiles: {stage: source, options: {files: tiles, labels: §%s.csv}}"
    listed = "  tiles: {stage: source, options: {folder: tiles, csv: §%s.csv}}"
    for name, tiles, want in (
            ("a tile without labels", labels % "short", "short\\.csv: no row for tile sample_0000[1-7] "),
            ("an unknown tag", labels % "tag", "tag\\.csv:2: sample_00000: unknown tag cleer \\(did you mean clear\\?\\)"),
            ("no header", labels % "headless", "headless\\.csv:1: no column image_name"),
            ("no tiles", listed % "only_head", "only_head\\.csv: no tiles"),
            ("a tile twice", listed % "double", "double\\.csv:4: image_name x comes twice, first in line 2")):
        refuse(place, "table: " + name, pipeline(tiles=tiles), "tiles: " + want)
    refuse(place, "truth with an unknown tag",
           pipeline(sink=sink("truth: §tag.csv")), "sink: tag\\.csv:2: sample_00000: unknown tag cleer")
    refuse(place, "truth is a folder", pipeline(sink=sink("truth: §tiles")), "sink: tiles: Is a directory")
    refuse(place, "two results in one file",
           pipeline(sink=sink("submission: p.csv, probabilities: §./p.csv")), "sink: probabilities: \\./p\\.csv is written by sink\\.submission already")
    refuse(place, "two sinks to one file",
           pipeline(sink=sink("submission: p.csv") + "\n  too: {stage: sink, from: decode_f2, options: {submission: §tiles/../p.csv}}"),
           "too: submission: tiles/\\.\\./p\\.csv is written by sink\\.submission already")
    for name, path, what in (("the weights", "net.safetensors", "what net\\.weights reads"), ("the truth", "./whole.csv", "what sink\\.truth reads"),
                             ("the truth by a link", "link.csv", "what sink\\.truth reads"), ("a tile", "tiles/sample_00000.jpg", "what tiles\\.files reads"),
                             ("the configuration", "bad.yaml", "this configuration")):
        refuse(place, "a result over " + name, pipeline(tiles="  tiles: {stage: source, options: {files: tiles/sample_00000.jpg, batch: 4}}",
                                                        sink=sink("truth: whole.csv, submission: §%s" % path)), "sink: submission: .* would be lost, it is " + what)
    refuse(place, "a sample for no submission", pipeline(sink=sink("sample: §short.csv")), "but no submission is wanted")
    refuse(place, "thresholds of other labels", pipeline(decode_f2="  decode_f2: {from: tta_merge, options: {method: per_class, thresholds: §[0.2]}}"),
           "decode_f2: thresholds: 1 numbers, want one a label, 17")
    refuse(place, "coefficients of another kind", pipeline(decode_f2="  stack: {from: tta_merge, options: {model: §net.safetensors}}\n"
                                                          "  decode_f2: {from: stack}"), "stack: net\\.safetensors: not a second-level model: no text in its __metadata__")


def refused_files(place):
    os.mkdir(place.at("nothing"))
    write(place.at("file"), "x")
    refuse(place, "no such tile folder", pipeline(tiles=source("§nowhere")), "tiles: nowhere: No such file or directory")
    refuse(place, "empty tile folder", pipeline(tiles=source("§nothing")), "tiles: nothing: no tiles there")
    refuse(place, "pattern without match", pipeline(tiles=source('§"tiles/*.tif"')), "tiles: tiles/\\*\\.tif: no tiles there")
    refuse(place, "pattern in no folder",
           pipeline(tiles=at_options(source('"nowhere/*.jpg"'))), "tiles: nowhere/.*: No such file or directory")
    os.mkdir(place.at("odd"))
    write(place.at("odd/a b.jpg"), "x")
    refuse(place, "no tile id", pipeline(tiles=at_options(source("odd"))), 'odd/a b\\.jpg: "a b" is not a tile id')
    write(place.at("odd.txt"), "tiles/sample_00000.jpg\n\nodd/a b.jpg\n")
    refuse(place, "no tile id in a list", pipeline(tiles=at_options(source('"@odd.txt"'))), 'odd\\.txt:3: odd/a b\\.jpg: "a b" is not a tile id')
    os.mkdir(place.at("odder"))
    write(os.fsencode(place.at("odder")) + b"/\xff\xfe.jpg", "x")
    refuse(place, "no tile id, nor UTF-8", pipeline(tiles=at_options(source("odder"))), 'odder/\\?\\?.jpg: "\\?\\?" is not a tile id')
    refuse(place, "two tiles of one id",
           pipeline(tiles=at_options(source("[tiles, twice]"))),
           "tile id sample_00001 comes twice: .*tiles/sample_00001.jpg and twice/")
    refuse(place, "no such truth",
           pipeline(sink="  sink: {from: decode_f2, options: {truth: §nowhere.csv}}"),
           "sink: truth: nowhere\\.csv: no such file or folder")
    refuse(place, "result is a folder",
           pipeline(sink="  sink: {from: decode_f2, options: {submission: §nothing}}"), "nothing can't be written: it is a folder")
    refuse(place, "result is a device",
           pipeline(sink="  sink: {from: decode_f2, options: {submission: §/dev/full}}"), "/dev/full can't be written: it is there, and no regular file")
    refuse(place, "result below a file",
           pipeline(sink="  sink: {from: decode_f2, options: {submission: §file/p.csv}}"),
           "file/p\\.csv can't be written: its folder is no folder")
    refuse(place, "result in no folder",
           pipeline(sink="  sink: {from: decode_f2, options: {submission: §no/p.csv}}"),
           "no/p\\.csv can't be written: its folder does not exist")
    refuse(place, "4-band tiles into an RGB network",
           pipeline(tiles="  tiles: {stage: source, options: {files: tif, batch: 4}}", decode="  decode: {from: tiles, options: {mode: rgbn}}",
                    net="  §§net: {stage: forward, from: augment, options: {weights: net.safetensors, rows: 4}}"),
           "net: pixels is u16, want u8", "net: pixels has 4 channels \\(C\\), want 3")


def refused_weights(place, missing, misshapen):
    refuse(place, "no such weights", pipeline(net="  net: {stage: forward, from: augment, options: {weights: §nowhere.safetensors}}"),
           "net: weights: nowhere\\.safetensors: no such file or folder")
    refuse(place, "no weights",
           pipeline(net="  net: {stage: forward, from: augment, §options: {rows: 4}}"), "net: option weights must be given")
    for name, want in (
            ("missing", 'missing\\.safetensors: tensor "%s" is missing' % re.escape(missing)),
            ("extra", 'extra\\.safetensors: tensor "surplus" is not of this network'),
            ("misshapen", 'misshapen\\.safetensors: tensor "%s" is \\[.*\\], the network wants \\[' % re.escape(misshapen)),
            ("wrong_sha", "wrong_sha\\.safetensors: its SHA-256 is [0-9a-f]{64}, its manifest says 0{64}"),
            ("unknown_key", 'unknown_key\\.json: .*"?colour"?'),
            ("unknown_arch", "unknown_arch\\..*tilnet.*tilenet"),
            ("few_means", "few_means\\.json: input\\.mean, want a list of 3 numbers"),
            ("cut", "cut\\.safetensors: "),
            ("lonely", "lonely\\.safetensors, its manifest: lonely\\.json: No such file or directory")):
        refuse(place, "weights: " + name, pipeline(net=forward(PLACE + name + ".safetensors")), "net: .*" + want)
    labels = ", ".join(json.loads(place.read("net.json"))["labels"])
    refuse(place, "weights for other labels", pipeline(top="labels: [%s]" % labels, net=at_options(forward("renamed.safetensors"))),
           "net: its 17 labels differ from the 17 of the key labels: label 0 is farming, want agriculture")
    refuse(place, "snapshots that differ",
           pipeline(net=forward("[net.safetensors, §renamed.safetensors]")),
           "renamed\\.safetensors: label 1 is farming, but of net\\.safetensors it is agriculture")


def refused_run(place):
    """The run directory itself; here the complaint names no line."""
    write(place.at("good.yaml"), pipeline())
    for name, run in (("is a file", "file"), ("lies below a file", "file/run")):
        ends("run directory " + name, place.flowrun("good.yaml", "-q", "--run", run), 2, "run directory file.*: Not a directory")
    ends("run directory is not UTF-8", place.flowrun("good.yaml", "-q", "--run", "r\udcff"), 2, "run directory r.: its name is not UTF-8 text")
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))      # noqa: E731
    ends("few open files", place.flowrun("good.yaml", "-q", "--run", "run", preexec_fn=few), 2, "too few open files allowed \\(ulimit -Hn\\): 100, want 6\\d\\d")
    # A batch of 4096 tiles of 805 MB; should they be taken in spite of all, no file may grow over 64 MiB.
    small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 26, 1 << 26))      # noqa: E731
    large = ("--set", "memory=100TB", "--set", "decode.size=16384", "--set", "augment.tile=16384", "--set", "tiles.batch=4096")
    ends("more memory than there is", place.flowrun("good.yaml", "-q", "--run", "run", *large, preexec_fn=small), 2,
         "1 batches in flight take 3.* TB of shared memory, but .* are free here; give `memory:` less, or smaller batches")
    if os.path.exists(place.at("run")):
        check("nothing is left of them", ["a run directory"])


# ---- runs: in = predicted + rejected, each tile in one of the two ----


def refused_sets(place):
    """From the command line there is no line:column; the argument itself is the place."""
    write(place.at("good.yaml"), pipeline())
    sets = ("net.rows=0", "nett.rows=4", "x", "net.rws=4", "memory=lots")
    status, said = place.flowrun("good.yaml", "--run", "run", *(a for s in sets for a in ("--set", s)))
    wants = ("--set net.rows=0: net: rows is 0, want 1 to 4096", "--set nett.rows=4: no stage is called nett; did you mean net?",
             "--set x: want stage.option=value", "--set net.rws=4: net: unknown option rws; did you mean rows?",
             '--set memory=lots: memory is text "lots", want a size like 2GB or 512MiB')
    right = status == 2 and said.splitlines() == list(wants) and not os.path.exists(place.at("run"))
    check("--set", [] if right else ["status %d" % status], said)


def broken_jpegs(place):
    good = [os.path.splitext(f)[0] for f in sorted(os.listdir(place.at("tiles")))]
    undisturbed_run(place)
    alone = {r["image_name"]: r for r in rows(place, "probs.csv")}
    for f in ("p.csv", "probs.csv"):
        os.remove(place.at(f))
    shutil.rmtree(place.at("run"))
    with open(place.at("tiles", good[0] + ".jpg"), "rb") as f:
        whole = f.read()
    os.mkdir(place.at("tiles/a_folder.jpg"))
    os.symlink("nowhere.jpg", place.at("tiles/a_link.jpg"))
    os.mkfifo(place.at("tiles/a_pipe.jpg"))
    for name, data in (("no_bytes", b""), ("cut", whole[:len(whole) // 2]), ("garbage", b"\xFF\xD8" + bad_files.noise(3, 32, 32).tobytes()),
                       ("text", b"not a picture"), ("huge", bad_files.resized_header(whole, 30000, 30000)), ("grey", bad_files.flat_jpeg(256, 256, 1)),
                       ("small", bad_files.flat_jpeg(128, 128, 3)), ("a_tif", bad_files.tiff(bad_files.noise(4)))):
        write(place.at("tiles", name + ".jpg"), data)
    write(place.at("tiles/flat.jpg"), bad_files.flat_jpeg(256, 256, 3))      # the maker of the broken ones makes whole ones too
    wants = {
        "a_folder": "decode: .*a folder, not a file", "a_link": "decode: .*No such file or directory", "a_pipe": "decode: .*not a regular file",
        "no_bytes": "decode: .*an empty file", "cut": "decode: E_INPUT: .*", "garbage": "decode: E_INPUT: .*",
        "text": "decode: .*neither JPEG nor TIFF", "huge": "decode: .*30000 x 30000 pixels, more than max_pixels", "grey": "decode: .*grey",
        "small": "decode: .*128 x 128, want 256 x 256", "a_tif": "decode: .*a TIFF",
    }
    run_rejecting(place, "broken JPEGs", wants, good + ["flat"] + list(wants), pipeline())
    beside = {r["image_name"]: r for r in rows(place, "probs.csv") if r["image_name"] in good}
    same = len(alone) == len(good) and alone == beside
    check("good tiles beside broken ones get what they get alone", [] if same else ["%s, alone %s" % (beside, alone)])
    shutil.rmtree(place.at("run"))
    os.remove(place.at("p.csv"))
    run_failing(place, "broken JPEGs, none wanted", pipeline(decode="  decode: {from: tiles, options: {on_bad_tile: fail}}"), "decode",
                "E_INPUT: tiles/(%s)\\.jpg: " % "|".join(wants))


def broken_tiffs(place):
    os.mkdir(place.at("tif"))
    for i in range(4):
        write(place.at("tif", "t%d.tif" % i), bad_files.tiff(bad_files.noise(i)))
    write(place.at("tif/lies.tif"), bad_files.tiff(bad_files.noise(5), lie=1 << 20))
    write(place.at("tif/overlaps.tif"), bad_files.tiff(bad_files.noise(6), lie=8))
    write(place.at("tif/three.tif"), bad_files.tiff(bad_files.noise(7, bands=3)))
    write(place.at("tif/small.tif"), bad_files.tiff(bad_files.noise(8, 64, 64)))
    write(place.at("tif/cut.tif"), bad_files.tiff(bad_files.noise(9))[:4000])
    wants = {"lies": "decode: .*strip 31 lies at 1048576", "overlaps": "decode: .*overlap", "three": "decode: .*3 bands, want 4",
             "small": "decode: .*64 x 64, want 256 x 256", "cut": "decode: E_INPUT: .*"}
    run_rejecting(place, "broken TIFFs", wants, ["t0", "t1", "t2", "t3"] + list(wants),
                  pipeline(tiles="  tiles: {stage: source, options: {files: tif, batch: 4}}", decode="  decode: {from: tiles, options: {mode: rgbn}}",
                           net="  net: {stage: forward, from: augment, options: {weights: deep.safetensors, rows: 4, mode: rgbn}}"))


def listed_tiles(place):
    ids = ["sample_%05d" % i for i in (3, 1, 2)] + ["absent_1", "sample_00000", "absent_2"]
    write(place.at("list.csv"), "image_name,tags\n" + "".join(i + ",clear primary\n" for i in ids))
    wants = {i: "tiles: .*tiles/%s\\.jpg: listed in list\\.csv, but no such file" % i for i in ("absent_1", "absent_2")}
    run_rejecting(place, "listed tiles without a file", wants, ids,
                  pipeline(tiles="  tiles: {stage: source, options: {csv: list.csv, folder: tiles, batch: 4}}"))


def listed_paths_of_any_bytes(place):
    """Reasons are text, whatever the paths are; a list may have Windows' line ends, and end without one."""
    write(place.at("list.txt"), b"tiles/sample_00001.jpg\r\nt\xff/absent.jpg\r\n\r\ntiles/sample_00000.jpg")
    run_rejecting(place, "paths that are not UTF-8", {"absent": "decode: E_INPUT: t\\?/absent\\.jpg: No such file or directory"},
                  ["sample_00000", "sample_00001", "absent"], pipeline(tiles=source('"@list.txt"')))


def labels_of_absent_tiles(place):
    ids = ["sample_%05d" % i for i in range(8)]
    write(place.at("labels.csv"), "image_name,tags\n" + "".join(i + ",clear primary\n" for i in ids + ["gone_1", "gone_2", "gone_3"]))
    run_rejecting(place, "labels of absent tiles", {}, ids,
                  pipeline(tiles="  tiles: {stage: source, options: {files: tiles, batch: 4, labels: labels.csv}}"),
                  ("labels\\.csv: 3 rows for tiles that are not in this run",))
    counted = json.loads(place.read("run", "report.json"))["stages"]["tiles"]["counters"]["unused_labels"]
    check("labels of absent tiles are counted", [] if counted == 3 else ["%d counted, want 3" % counted])


def all_rejected(place):
    for f in os.listdir(place.at("tiles")):
        write(place.at("tiles", f), b"")
    ids = ["sample_%05d" % i for i in range(8)]
    run_rejecting(place, "not one good tile", {i: "decode: .*an empty file" for i in ids}, ids, pipeline())


# ---- failed: status 1 ----


# The sink of this folder can write no file of more than so many blocks of 512 bytes, as long as `full` says so. It stands
# for a full disk: of it, a process learns by a failing write just the same.
SINK = """#!/bin/sh
[ -f '%(at)s/full' ] && [ "$1" = --setup ] && ulimit -f "$(cat '%(at)s/full')"
exec '%(build)s/stages/sink' "$@"
"""


def full_disk(place, name, blocks, undisturbed, want):
    os.mkdir(place.at("stages"))
    write(place.at("stages/sink"), SINK % {"at": place.folder, "build": place.build})
    os.chmod(place.at("stages/sink"), 0o755)
    write(place.at("full"), str(blocks))
    run_failing(place, name, pipeline(top="stage_path: stages"), "sink", want, "--resume run")
    os.remove(place.at("full"))
    resume(place, name + ", then room", undisturbed)


TINY = """mkdir -p run/journal && mount -t tmpfs -o size=4k tiny run/journal || exit 77
'%(flowrun)s' run.yaml --run run; echo "first $?"
mount -o remount,size=1m tiny run/journal
'%(flowrun)s' --resume run; echo "second $?"
"""


def small_file_system(place, undisturbed):
    """The journal on a file system of one page; only root may mount one."""
    write(place.at("run.yaml"), pipeline())
    r = subprocess.run(["unshare", "--mount", "sh", "-c", TINY % {"flowrun": os.path.join(place.build, "bin/flowrun")}], cwd=place.folder,
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=120)
    if "first" not in r.stdout:
        print("skip a file system of one page: can't be mounted here")
        tally["skipped"] += 1
        return
    wants = ("E_IO: .*journal.*No space left on device", "first 1\n", "second 0\n")
    problems = ["no match for %r" % w for w in wants if not re.search(w, r.stdout)]
    problems += ["%s differs" % f for f in RESULTS if not problems and place.read(f) != undisturbed[f]]
    check("a file system of one page, then more", problems, r.stdout)


def damaged_runs(place):
    """A finished run, its result gone and its folder damaged: made good from what is left, or refused by name."""
    undisturbed = undisturbed_run(place)
    journal = place.at("run/journal/sink", sorted(os.listdir(place.at("run/journal/sink")))[0])
    with open(journal, "rb") as f:
        good = f.read()
    for name, data in (("a bit of the journal", good[:len(good) // 3] + bytes((good[len(good) // 3] ^ 1,)) + good[len(good) // 3 + 1:]),
                       ("the journal's end", good[:-5])):
        write(journal, data)
        os.remove(place.at("p.csv"))
        resume(place, name + " is damaged", undisturbed)
    write(journal, b"garbage" * 40)
    config = place.read("run/config.json")
    cases = (("journal/sink/00000000.j is no journal", None, 1, "run/journal/sink/00000000\\.j: not a journal"),
             ("configuration is cut off", config[:300], 2, "run/config\\.json:\\d+:\\d+: not YAML"),
             ("configuration is changed", config.replace('"seed": 42', '"seed": "x"'), 2, 'run/config\\.json:4:11: seed is text "x", want a whole number'))
    for name, text, want, says in cases:
        write(place.at("run/config.json"), text or config)
        ends(name, place.flowrun("--resume", "run"), want, says)


def other_tiles(place):
    undisturbed_run(place)
    os.rename(place.at("tiles/sample_00003.jpg"), place.at("tiles/sample_00099.jpg"))
    ends("resumed with other tiles", place.flowrun("--resume", "run"), 1,
         "tiles: E_CONFIG: run/inputs:4: the run was started with other tiles")
    ends("a run directory that is used", place.flowrun("run.yaml", "--run", "run"), 2, "holds a run already; go on with it by --resume run")


def full_disks(make):
    """What an undisturbed run makes, and what runs make that were out of room once."""
    place = make(40)
    undisturbed = undisturbed_run(place)
    size = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(place.at("run/journal")) for f in files)
    full_disk(make(40), "the journal is out of room", size // 1024, undisturbed, "E_IO: .*journal.*File too large")
    full_disk(make(40), "a result file is out of room", size // 512 + 1, undisturbed, "E_IO: .*probs\\.csv.*File too large")
    small_file_system(make(40), undisturbed)


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    with tempfile.TemporaryDirectory() as top:
        missing, misshapen, nan = bad_files.weights_broken("samples/models/tilenet-1.safetensors", top)
        count = 0

        def make(tiles=8):
            nonlocal count
            count += 1
            place = Place(build, os.path.join(top, "case%d" % count), tiles)
            for f in os.listdir(top):
                if f.endswith((".safetensors", ".json")):
                    os.link(os.path.join(top, f), place.at(f))
            return place

        place = make()
        os.mkdir(place.at("tif"))
        write(place.at("tif/t0.tif"), bad_files.tiff(bad_files.noise(0)))
        os.mkdir(place.at("twice"))
        shutil.copy(place.at("tiles/sample_00001.jpg"), place.at("twice"))
        refused_graphs(place)
        refused_yaml(place)
        refused_tables(place)
        refused_files(place)
        refused_weights(place, missing, misshapen)
        refused_run(place)
        refused_sets(place)
        for case in (broken_jpegs, broken_tiffs, listed_tiles, listed_paths_of_any_bytes, labels_of_absent_tiles, all_rejected, damaged_runs, other_tiles):
            case(make())
        run_failing(make(), "NaN in the weights", pipeline(net="  net: {stage: forward, from: augment, options: {weights: nan.safetensors, rows: 4}}"),
                    "net", "E_NUM: nan\\.safetensors: tensor \"%s\": element 2 is nan" % re.escape(nan))
        full_disks(make)
    print("%(passed)d passed, %(failed)d failed" % tally + (", %(skipped)d skipped" % tally if tally["skipped"] else ""))
    return tally["failed"] != 0


if __name__ == "__main__":
    sys.exit(main())
