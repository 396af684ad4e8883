"""A whole small training through feed: stopped and gone on with, it leaves the same snapshots, which the graph then runs."""
import csv
import json
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import flow
from flow import BUILD, FLOWRUN, LABELS, ROOT, TILES, Skip, flowrun, holds, same, slurp, wait_for

SCRIPT = os.path.join(ROOT, "python/examples/train.py")
SNAPSHOTS = ("resnet18-1.safetensors", "resnet18-2.safetensors")


def inputs(tmp):
    ids = ["sample_%05d" % i for i in range(96)]
    with open(tmp + "/list", "w") as f:
        f.writelines(os.path.join(TILES, i + ".jpg") + "\n" for i in ids)
    with open(tmp + "/folds.csv", "w") as f:
        f.write("image_name,fold\n" + "".join("%s,%d\n" % (t, k % 3) for k, t in enumerate(ids)))


def command(tmp, out):
    return [sys.executable, SCRIPT, "--tiles", "@" + tmp + "/list", "--labels", LABELS, "--folds", tmp + "/folds.csv", "--fold", "0", "--size", "32", "--batch", "8",
            "--head", "1", "--epochs", "1", "--cycles", "2", "--cycle-epochs", "1", "--every", "3", "--threads", "1",
            "--ops", '["d4", {"offset": {"dx": [-0.05, 0.05], "dy": [-0.05, 0.05]}}, {"contrast": {}}]', "--decay", "5e-4", "--out", out]


def environment():
    return dict(os.environ, FLOWRUN=FLOWRUN, FLOWRUN_STAGES=os.path.join(BUILD, "stages"))


def train(tmp, out):
    p = subprocess.run(command(tmp, out), env=environment(), capture_output=True, text=True, timeout=200)
    same(p.returncode, 0, "train.py, which said " + p.stdout[-500:] + p.stderr[-1500:])
    return p.stdout


def begins_with(tmp, snapshot):
    """--init with a snapshot: all its layers, the head too, at another size; a snapshot of another network is refused."""
    look = "import sys, torch, train; a = train.arguments(sys.argv[1:]); net, _ = train.network(a, 17); w = train.convert.read(a.init); " \
           "d = net.state_dict(); print(all(torch.equal(d[k], torch.from_numpy(v.copy())) for k, v in w.items()), len(w))"
    rest = ["--tiles", "t", "--labels", "l", "--folds", "f", "--size", "64", "--init", snapshot]

    def run(*more):
        return subprocess.run([sys.executable, "-c", look, *rest, *more], cwd=os.path.dirname(SCRIPT), capture_output=True, text=True,
                              env=dict(environment(), MALLOC_TRIM_THRESHOLD_="1"))
    p = run()
    same(p.stdout.split()[:1], ["True"], "weights of a snapshot: " + p.stdout + p.stderr[-800:])
    p = run("--arch", "resnet34")
    holds(p.returncode != 0 and "no snapshot of this network" in p.stderr, "a snapshot of another network: " + p.stderr[-300:])


def a_stopped_training_goes_on_to_the_same_snapshots(tmp):
    try:
        import torch                                     # noqa: F401
        import torchvision                               # noqa: F401
    except ImportError:
        raise Skip("no torch")
    inputs(tmp)
    said = train(tmp, tmp + "/whole")
    holds("2 snapshots" in said, said)
    p = subprocess.Popen(command(tmp, tmp + "/stopped"), env=environment(), stdout=subprocess.DEVNULL)
    wait_for(lambda: os.path.exists(tmp + "/stopped/resnet18-1.safetensors") or p.poll() is not None, "the first snapshot")
    p.send_signal(signal.SIGKILL)
    p.wait()
    same(flow.orphans(10), 0, "processes that a killed trainer left behind")
    said = train(tmp, tmp + "/stopped")
    holds("goes on at epoch" in said, said)
    for name in SNAPSHOTS:
        holds(slurp(os.path.join(tmp, "whole", name)) == slurp(os.path.join(tmp, "stopped", name)), name + " is the same")
    begins_with(tmp, os.path.join(tmp, "whole", SNAPSHOTS[1]))
    flowrun(tmp + "/whole/pipeline.yaml", "-q", "--run", tmp + "/run")
    with open(tmp + "/whole/probs.csv") as f:
        same(len(list(csv.reader(f))), 1 + 32, "rows of the held-out fold")
    with open(tmp + "/run/report.json") as f:
        holds('"f2"' in f.read(), "it is scored")


def the_comparison_with_a_dataloader_is_whole(tmp):
    flow.takes_long()
    try:
        import torch                                     # noqa: F401
        import torchvision                               # noqa: F401
    except ImportError:
        raise Skip("no torch")
    with open(LABELS) as f, open(tmp + "/table.csv", "w") as out:
        out.write("file,tags\n" + "".join("%s.jpg,%s\n" % (r["image_name"], r["tags"]) for r in list(csv.DictReader(f))[:48]))
    args = [sys.executable, os.path.join(ROOT, "python/examples/compare_loaders.py"), "--images", TILES, "--table", tmp + "/table.csv", "--size", "32", "--batch", "8",
            "--epochs", "1", "--nfolds", "2", "--threads", "1", "--workers", "1", "--out", tmp + "/out"]
    said = [subprocess.run(args, env=environment(), capture_output=True, text=True, timeout=200) for _ in range(2)]
    same([p.returncode for p in said], [0, 0], "status, %s" % said[0].stderr[-1500:])
    lines = said[0].stdout.splitlines()
    same([line.split(":")[0] for line in lines if line.startswith("fold")], ["fold %d, %s" % (k, side) for k in range(2) for side in ("flowrun", "loader")], "trainings")
    scores = []
    for side in ("flowrun", "loader"):
        with open(tmp + "/out/%s-0/score.json" % side) as f, open(tmp + "/out/%s-1/score.json" % side) as g:
            scores.append([json.load(f)[1], json.load(g)[1]])
    mean = [sum(s) / 2 for s in scores]
    holds(lines[-1].startswith("F2 at 0.2: flowrun %.4f, DataLoader %.4f; difference %+.4f " % (mean[0], mean[1], mean[0] - mean[1])), lines[-1])
    same(said[1].stdout.splitlines(), lines[-2:], "a second call has it all")


if __name__ == "__main__":
    sys.exit(flow.run_cases([a_stopped_training_goes_on_to_the_same_snapshots, the_comparison_with_a_dataloader_is_whole]))
