"""What a run leaves behind, a sink that stands still, a journal cut anywhere: nothing is lost and nothing grows. FLOWRUN_LONG=1: more cuts."""
import os
import resource
import shutil
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import BUILD, TILES, Run, chain, flowrun, holds, report, same, slurp, wait_for, write_graph   # noqa: E402

N, B = 300, 4
NAMES = ("predictions.csv", "probs.csv")
JOURNAL = "journal/sink/00000000.j"


def graph(tmp, out, memory="60MB", nap=0, **change):
    """`nap`: milliseconds that each batch takes at least."""
    os.makedirs(out)
    stages = chain(out, TILES + "/*.jpg", batch=B, **change)
    stages["tripwire"] = {"from": "decode", "options": {"log": tmp + "/log"}}      # a line for each batch it gets
    stages["augment"]["from"] = "tripwire"
    if nap > 0:
        stages["nap"] = {"from": "tripwire", "options": {"ms": nap}}
        stages["augment"]["from"] = "nap"
    return write_graph(out + "/graph.json", stages, stage_path=[BUILD + "/tests/flow/stages"], memory=memory)


def results(out):
    return [slurp(os.path.join(out, name)) for name in NAMES]


def records(path):
    """Ends of the journal's whole records, after its head: 36 bytes each, the length of what follows at 4, 4 bytes of sum."""
    data, at, ends = slurp(path), 64, [64]
    while at + 40 <= len(data):
        at += 40 + int.from_bytes(data[at + 4:at + 8], "little")
        if at <= len(data):
            ends.append(at)
    return ends


def started(tmp, name, env=None, nap=0):
    run = Run(graph(tmp, tmp + "/" + name, nap=nap), "--run", tmp + "/run", env=env)
    wait_for(lambda: flow.committed(tmp + "/run") > 64 or run.p.poll() is not None, "the first results")
    holds(run.p.poll() is None, "it is over before anything could happen: %s" % run.said()[1])
    return run


def a_stalled_sink_stops_the_graph(tmp):
    flowrun(graph(tmp, tmp + "/quiet"), "--run", tmp + "/quiet-run", "-q")
    os.remove(tmp + "/log")
    run = started(tmp, "out", nap=60)                      # or it is over before its sink can be stopped
    stages = run.stages()
    pids = [run.p.pid] + [p for of in stages.values() for p in of]
    window = int(run.said()[1].split("window ")[1].split()[0])

    def state():
        return len(slurp(tmp + "/log").splitlines()), len(records(tmp + "/run/" + JOURNAL)) - 1, flow.committed(tmp + "/run"), flow.open_files(pids)

    os.kill(stages["sink"][0], signal.SIGSTOP)

    def memory_of_all():
        """Without mapped files: what each is charged for a library falls and rises with runs of others."""
        return flow.pss(pids, "Pss_Anon") + flow.pss(pids, "Pss_Shmem")

    def settled():
        """For two seconds, many naps long, no batch comes in at the front and nobody works: what was under way has come to the sink."""
        was, seen = flow.cpu_seconds(pids), state()[0]
        time.sleep(2)
        return flow.cpu_seconds(pids) - was < 0.1 and state()[0] == seen
    wait_for(settled, "no more batches are read and nobody works")
    before, memory = state(), memory_of_all()
    # Fewer than a window where the stop fell between a sync and its acknowledgements.
    holds(before[1] < before[0] <= before[1] + window, "at most a window is in flight: %r, window %d" % (before, window))
    time.sleep(1.5)                                        # there is no event to wait for: nothing is to happen any more
    same(state(), before, "batches seen, committed, bytes of the journal, open files")
    holds(before[0] < N // B, "there is more to come: %d batches" % before[0])
    holds(memory_of_all() <= memory * 1.1, "memory: %d bytes, then %d" % (memory, memory_of_all()))
    holds(flow.pss(pids, "Pss_Shmem") <= 66e6, "slabs within memory: %d bytes" % flow.pss(pids, "Pss_Shmem"))
    os.kill(stages["sink"][0], signal.SIGCONT)
    rc, _, err = run.end()
    same(rc, 0, "status; it said %s" % err)
    same(results(tmp + "/out"), results(tmp + "/quiet"), "results")
    same([report(tmp + "/run")[k] for k in ("predicted", "restarts", "reissued_batches", "duplicates")], [N, 0, 0, 0], "report")


def left(tmp, shm):
    """Names that the run left where nothing of it may stay."""
    return [n for n in os.listdir("/dev/shm") if n not in shm and "flowrun" in n] + os.listdir(tmp + "/t") + [n for n in os.listdir(tmp + "/run") if n == "s"]


def nothing_remains(tmp):
    """Done, failed, interrupted, killed: no process (Run.end looks), no name in /dev/shm or the folder for temporary files, no socket."""
    shm = os.listdir("/dev/shm")
    os.mkdir(tmp + "/t")
    env = dict(os.environ, TMPDIR=tmp + "/t")

    flowrun(graph(tmp, tmp + "/done"), "--run", tmp + "/run", "-q", env=env)
    same(left(tmp, shm), [], "after a run that is complete")
    shutil.rmtree(tmp + "/run")

    with open(tmp + "/sample.csv", "w") as f:
        f.write("image_name,tags\nnone,clear\n")
    _, _, err = flowrun(graph(tmp, tmp + "/failed"), "--set", "sink.sample=" + tmp + "/sample.csv", "--run", tmp + "/run", want=1, env=env)
    holds("not in the sample" in err, "it failed in the midst of it: %s" % err)
    same(left(tmp, shm), [], "after a failed run")
    shutil.rmtree(tmp + "/run")

    run = started(tmp, "interrupted", env)
    run.p.send_signal(signal.SIGINT)
    same(run.end()[0], 4, "status of an interrupted run")
    same(left(tmp, shm), [], "after an interrupted run")
    shutil.rmtree(tmp + "/run")

    run = started(tmp, "killed", env)
    run.p.kill()
    run.p.wait()
    same(flow.orphans(2), 0, "stages still there 2 s after their supervisor")
    same(left(tmp, shm), ["s"], "after a killed supervisor")
    flowrun("--resume", tmp + "/run", "-q", env=env)
    same(left(tmp, shm), [], "after the next start")
    same(results(tmp + "/killed"), results(tmp + "/done"), "results")


def a_sink_that_may_write_no_more_stops_the_run(tmp):
    """The limit of a file's size comes with a signal; it is held against no tile, and the run goes on when there is room."""
    flowrun(graph(tmp, tmp + "/quiet"), "--run", tmp + "/quiet-run", "-q")
    run = started(tmp, "out", nap=20)
    resource.prlimit(run.stages()["sink"][0], resource.RLIMIT_FSIZE, (2000, 2000))
    rc, _, err = run.end()
    holds(rc == 1 and "File too large" in err, "it failed and says why: %d %s" % (rc, err))
    holds(not os.path.exists(tmp + "/run/quarantine"), "nothing is in quarantine")
    flowrun("--resume", tmp + "/run", "-q")
    same(results(tmp + "/out"), results(tmp + "/quiet"), "results")


def a_journal_cut_anywhere_is_gone_on_with(tmp):
    """Whole resumes at cuts spread over the last three records."""
    cuts = 16 if os.environ.get("FLOWRUN_LONG") else 3
    flowrun(graph(tmp, tmp + "/out"), "--run", tmp + "/run", "-q")
    want, ends = results(tmp + "/out"), records(tmp + "/run/" + JOURNAL)
    same([len(ends), ends[-1]], [N // B + 1, flow.committed(tmp + "/run")], "records")
    for i in range(cuts):
        cut = ends[-4] + (ends[-1] - ends[-4]) * (2 * i + 1) // (2 * cuts)
        shutil.rmtree(tmp + "/again", ignore_errors=True)
        shutil.copytree(tmp + "/run", tmp + "/again")
        for name in NAMES:
            os.remove(os.path.join(tmp, "out", name))
        os.truncate(tmp + "/again/" + JOURNAL, cut)
        flowrun("--resume", tmp + "/again", "-q")
        same(results(tmp + "/out"), want, "results after a cut at byte %d of %d" % (cut, ends[-1]))
        same(report(tmp + "/again")["resumed_batches"], sum(e <= cut for e in ends[1:]), "batches that were not done again, cut at %d" % cut)


if __name__ == "__main__":
    sys.exit(flow.run_cases([a_stalled_sink_stops_the_graph, nothing_remains, a_sink_that_may_write_no_more_stops_the_run, a_journal_cut_anywhere_is_gone_on_with]))
