"""Resuming under another configuration: what changes no result is allowed, the rest is refused or mixed knowingly."""
import glob
import hashlib
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import BUILD, MODELS, TILES, flowrun, holds, report, same, slurp, write_graph   # noqa: E402

N = 300


def begun(tmp, **kw):
    """A run of which two of 19 batches are committed; its graph, its results when it was whole."""
    os.mkdir(tmp + "/out")
    graph = flow.chain(tmp + "/out", TILES + "/*.jpg", **kw)
    flowrun(write_graph(tmp + "/graph.json", graph), "--run", tmp + "/run", "-q")
    want = [slurp(tmp + "/out/" + name) for name in ("predictions.csv", "probs.csv")]
    segment = tmp + "/run/journal/sink/00000000.j"
    data, at = slurp(segment), 64
    for _ in range(2):                                     # a record: 36 bytes, its length at 4, payload, 4 bytes of sum
        at += 36 + int.from_bytes(data[at + 4:at + 8], "little") + 4
    os.truncate(segment, at)
    return graph, want


def again(tmp, graph, *args, want=0):
    return flowrun(write_graph(tmp + "/now.json", graph), "--resume", tmp + "/run", *args, want=want)


def results(tmp):
    return [slurp(tmp + "/out/" + name) for name in ("predictions.csv", "probs.csv")]


def what_changes_no_result_is_allowed(tmp):
    graph, want = begun(tmp)
    before, was = slurp(tmp + "/run/config.json"), versions(tmp)
    graph["decode"]["instances"] = 3
    _, _, err = flowrun(write_graph(tmp + "/now.json", graph, memory="90MB", stall_timeout=33), "--resume", tmp + "/run")
    holds("tiles/s; 32 of them earlier)" in err, err)
    same(results(tmp), want, "results")
    r = report(tmp + "/run")
    same([r["tiles"], r["resumed_batches"], r["stages"]["decode"]["instances"]], [N, 2, 3], "report")
    same(slurp(tmp + "/run/config.json"), before, "config.json")
    same(versions(tmp), was, "versions.json")


def who_counts_every_tile_is_given_all_of_them_again(tmp):
    """stats had counted less than the sink had committed when flowrun died."""
    os.mkdir(tmp + "/out")
    graph = flow.chain(tmp + "/out", TILES + "/*.jpg")
    graph["measure"] = {"stage": "stats", "from": "decode", "options": {"out": tmp + "/out/bands.json"}}
    flowrun(write_graph(tmp + "/graph.json", graph), "--run", tmp + "/run", "-q")
    want = results(tmp) + [slurp(tmp + "/out/bands.json")]
    os.truncate(tmp + "/run/measure.stats", os.path.getsize(tmp + "/run/measure.stats") // 3)
    os.remove(tmp + "/out/bands.json")
    flowrun("--resume", tmp + "/run", "-q")
    same(results(tmp) + [slurp(tmp + "/out/bands.json")], want, "results")
    same(report(tmp + "/run")["duplicates"], 19, "batches that the sink had already")


def sets_go_with_the_configuration_as_it_was(tmp):
    _, want = begun(tmp)
    flowrun("--resume", tmp + "/run", "--set", "net.instances=2", "-q")
    same(results(tmp), want, "results")


def it_goes_on_from_another_folder(tmp):
    """Names in configuration and file are relative: they are those of the folder that the run was started in."""
    os.makedirs(tmp + "/a/out")
    os.mkdir(tmp + "/b")
    for path in sorted(glob.glob(TILES + "/*1.jpg"))[:12]:
        os.symlink(path, tmp + "/a/" + os.path.basename(path))
    for ext in (".safetensors", ".json"):
        os.symlink(MODELS[0][:-12] + ext, tmp + "/a/net" + ext)
    graph = flow.chain("out", "*.jpg", batch=4, models=["net.safetensors"])
    write_graph(tmp + "/a/g.json", graph)
    flowrun("g.json", "--run", "run", "-q", cwd=tmp + "/a")
    want = slurp(tmp + "/a/out/probs.csv")
    graph["decode"]["instances"] = 2
    write_graph(tmp + "/b/now.json", graph)
    for files in [], ["now.json"]:
        segment = tmp + "/a/run/journal/sink/00000000.j"
        os.truncate(segment, os.path.getsize(segment) - 1)             # its last batch is torn
        os.remove(tmp + "/a/out/probs.csv")
        flowrun(*files, "--resume", "../a/run", "-q", cwd=tmp + "/b")
        same((slurp(tmp + "/a/out/probs.csv"), report(tmp + "/a/run")["resumed_batches"]), (want, 2), "results")
    same(os.listdir(tmp + "/b"), ["now.json"], "nothing is written here")
    os.rename(tmp + "/a", tmp + "/c")
    os.truncate(tmp + "/c/run/journal/sink/00000000.j", 64)
    _, _, err = flowrun("--resume", "run", "-q", cwd=tmp + "/c")
    holds("%s/a: No such file" % tmp in err and slurp(tmp + "/c/out/probs.csv") == want, "moved, it goes on where it is: " + err)


def another_network_is_refused_and_shown(tmp):
    graph, _ = begun(tmp)
    graph["net"]["options"]["weights"] = [MODELS[1]]
    graph["augment"]["options"]["views"] = "flips"
    _, _, err = again(tmp, graph, want=2)
    holds("stages.net.options.weights: [\"%s\"] -> [\"%s\"]" % (MODELS[0], MODELS[1]) in err, "the difference is shown: %s" % err)
    holds("stages.augment.options.views" in err and "--force" in err, "all of it, and the way out: %s" % err)
    same(flow.committed(tmp + "/run") > 0, True, "what was done is kept")


def force_mixes(tmp):
    graph, old = begun(tmp)
    graph["net"]["options"]["weights"] = [MODELS[1]]
    before = slurp(tmp + "/run/config.json")
    _, _, err = again(tmp, graph, "--force", want=0)
    holds("keep what the old configuration gave" in err, "what is mixed is said: %s" % err)
    new, head = results(tmp)[1].splitlines(), old[1].splitlines()
    same(new[:33], head[:33], "the 32 tiles that were done")
    holds(sum(a != b for a, b in zip(new[33:], head[33:])) > 250, "the others are of the new network")
    same(slurp(tmp + "/run/config-1.json"), before, "the configuration before")
    same(json.loads(slurp(tmp + "/run/config.json"))["stages"]["net"]["options"]["weights"], [MODELS[1]], "the configuration now")


def versions(tmp, name="versions"):
    return slurp("%s/run/%s.json" % (tmp, name))


def other_weights_are_refused_and_shown(tmp):
    """The same name, other contents: no configuration tells."""
    weights = tmp + "/net.safetensors"

    def put(model):
        for ext in (".safetensors", ".json"):
            shutil.copyfile(os.path.splitext(model)[0] + ext, tmp + "/net" + ext)
    put(MODELS[0])
    graph, old = begun(tmp, models=[weights])
    journal, was, told = flow.committed(tmp + "/run"), versions(tmp), report(tmp + "/run")
    put(MODELS[1])
    _, _, err = again(tmp, graph, want=2)
    digests = [hashlib.sha256(slurp(m)).hexdigest()[:24] for m in MODELS[:2]]
    holds("net: %s was %s, is %s\n" % (weights, *digests) in err and "--force mixes" in err, "shown: %s" % err)
    same([flow.committed(tmp + "/run"), versions(tmp), report(tmp + "/run")], [journal, was, told], "nothing is touched")
    _, _, err = again(tmp, graph, "--force")
    holds("net: %s was" % weights in err and "keep what these gave" in err, "what is mixed is said: %s" % err)
    new, head = results(tmp)[1].splitlines(), old[1].splitlines()
    same(new[:33], head[:33], "the 32 tiles that were done")
    holds(sum(a != b for a, b in zip(new[33:], head[33:])) > 250, "the others are of the new network")
    same(versions(tmp, "versions-1"), was, "what it was begun with")
    same(json.loads(versions(tmp))["stages"]["net"]["files"][weights]["sha256"][:24], digests[1], "what it went on with")


def another_executable_is_refused(tmp):
    """One byte of the build id of a stage's executable."""
    os.mkdir(tmp + "/stages")
    exe = tmp + "/stages/tripwire"
    shutil.copy(BUILD + "/tests/flow/stages/tripwire", exe)
    graph = flow.chain(tmp + "/out", TILES + "/*.jpg")
    graph["tripwire"] = {"from": "decode", "options": {"log": tmp + "/log"}}
    graph["augment"]["from"] = "tripwire"
    os.mkdir(tmp + "/out")
    path = write_graph(tmp + "/graph.json", graph, stage_path=[tmp + "/stages"])
    flowrun(path, "--run", tmp + "/run", "-q")
    was = versions(tmp)
    build = bytes.fromhex(json.loads(was)["stages"]["tripwire"]["mapped"][exe])
    other = bytes([build[0] ^ 1]) + build[1:]
    with open(exe, "r+b") as f:
        data = f.read()
        same(data.count(build), 1, "build ids in it")
        f.seek(data.index(build))
        f.write(other)
    _, _, err = flowrun("--resume", tmp + "/run", want=2)
    holds("tripwire: tripwire was %s, is %s\n" % (build.hex()[:24], other.hex()[:24]) in err, "shown: %s" % err)
    same(versions(tmp), was, "versions.json")


def other_batches_cannot_be_mixed(tmp):
    graph, _ = begun(tmp)
    graph["tiles"]["options"]["batch"] = 8
    for args in ((), ("--force",)):
        _, _, err = again(tmp, graph, *args, want=2)
        holds("stages.tiles.options.batch: 16 -> 8" in err and "begin a new run" in err, "refused: %s" % err)


def a_stage_that_is_gone_or_new_is_shown(tmp):
    graph, _ = begun(tmp)
    graph["sink"]["from"] = ["stack", "decode_f2"]
    graph["other"] = {"stage": "sink", "from": "decode_f2", "options": {"submission": tmp + "/out/second.csv"}}
    _, _, err = again(tmp, graph, want=2)
    holds("stages.other: not there -> {" in err and "stages.sink.from" in err, "shown: %s" % err)


def force_alone_is_no_command(tmp):
    _, _, err = flowrun("pipeline.yaml", "--force", want=2)
    holds("--resume" in err, err)


if __name__ == "__main__":
    sys.exit(flow.run_cases([
        what_changes_no_result_is_allowed, who_counts_every_tile_is_given_all_of_them_again, sets_go_with_the_configuration_as_it_was, it_goes_on_from_another_folder,
        another_network_is_refused_and_shown, force_mixes,
        other_weights_are_refused_and_shown, another_executable_is_refused,
        other_batches_cannot_be_mixed, a_stage_that_is_gone_or_new_is_shown, force_alone_is_no_command,
    ]))
