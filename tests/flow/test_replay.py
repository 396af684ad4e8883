"""Every stage of the default graph, replayed on what was recorded, gives the same bits; a wrong build is caught, by its element."""
import glob
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import BUILD, MODELS, ROOT, TILES, Run, flowrun, holds, same, slurp, write_graph   # noqa: E402

STAGES = ["tiles", "decode", "augment", "net", "tta_merge", "stack", "decode_f2", "sink"]


def record(tmp, name="run", kills=0, want=0, edges="all", files=TILES + "/*1.jpg", models=MODELS[:2], **chain):
    """A recorded run; its directory."""
    os.mkdir(tmp + "/" + name + "-out")
    g = write_graph(tmp + "/" + name + ".json", flow.chain(tmp + "/" + name + "-out", files, batch=4, models=models, views=["flips", "scaled"], **chain))
    run = Run(g, "--run", tmp + "/" + name, "-q", "--record", edges)
    draw = random.Random(7)
    flow.wait_for(lambda: run.p.poll() is not None or flow.committed(tmp + "/" + name) >= 64, "the first batch")
    while kills > 0 and run.p.poll() is None:
        pids = [p for of in run.stages().values() for p in of]
        if pids:
            os.kill(draw.choice(pids), signal.SIGKILL)
            kills -= 1
        time.sleep(draw.uniform(0.01, 0.1))
    rc, _, err = run.end()
    same(rc, want, "status of the recorded run: " + err)
    return tmp + "/" + name


def replay(run, *args, want=0):
    return flowrun("replay", run, *args, want=want)[1]


def every_stage_of_a_quiet_run(tmp):
    run = record(tmp)
    for s in STAGES:
        same(replay(run, "--stage", s, "--diff"), "the same: 8 batches compared\n", s)
    same(replay(run + "/recordings/decode", "--stage", "augment", "--batch", "5,2", "--diff"), "the same: 2 batches compared\n", "two batches")
    same(replay(run, "--from", "decode", "--to", "tta_merge", "--diff", "--batch", "3"), "the same: 4 batches compared\n", "a stretch")
    same(replay(run, "--from", "tiles", "--to", "sink", "--diff"), "the same: 64 batches compared\n", "all of it, from the original files")


def every_stage_of_a_run_with_kills(tmp):
    run = record(tmp, kills=8, instances=3)
    holds(flow.report(run)["restarts"] > 0, "stages were killed")
    for s in STAGES:
        holds(replay(run, "--stage", s, "--diff").startswith("the same: "), s)


def joins_are_fed_from_several_recordings(tmp):
    os.mkdir(tmp + "/o")
    stages = flow.chain(tmp + "/o", TILES + "/*1.jpg", batch=4)
    stages["net-of-a-long-name-fold-1"] = stages.pop("net")
    stages["net-of-a-long-name-fold-2"] = {"stage": "forward", "from": "augment", "options": {"weights": MODELS[1:2]}}
    stages["tta_merge"]["from"] = "net-of-a-long-name-fold-1"
    stages["merge2"] = {"stage": "tta_merge", "from": "net-of-a-long-name-fold-2"}
    stages["stack"]["from"] = ["tta_merge", "merge2"]
    stages["sink"]["from"] = ["stack", "decode_f2"]
    flowrun(write_graph(tmp + "/g.json", stages), "--run", tmp + "/run", "-q", "--record", "all")
    for s in ("stack", "sink"):
        same(replay(tmp + "/run", "--stage", s, "--diff"), "the same: 8 batches compared\n", s)
    same(replay(tmp + "/run", "--from", "augment", "--to", "stack", "--diff", "--batch", "3,4"), "the same: 12 batches compared\n", "a stretch with two ways")


def build_wrong(tmp):
    """tta_merge with one bit wrong, in batch 2, tile 1, label 3."""
    with open(tmp + "/wrong.c", "w") as f:
        f.write("""
#include "runtime/stage.h"
static int wrong_emit(struct fl_ctx *ctx, struct fl_batch **b)
{
    if ((*b)->batch == 2)
        ((uint32_t *)fl_in(*b, "prob")->data)[1 * 17 + 3] ^= 1;
    return fl_emit(ctx, b);
}
#define fl_emit wrong_emit
#include "stages/tta_merge.c"
""")
    subprocess.check_call("gcc -std=c11 -D_GNU_SOURCE -I. -O2 -DFL_VERSION='\"wrong\"' -DFL_STAGE=fl_stage_tta_merge runtime/stage_main.c %s/wrong.c "
                          "%s/libstages.a %s/libruntime.a %s/libproto.a -lzmq -lyaml -lz -lmsgpackc -ljansson -lzstd -lm -lpthread -o %s/wrong $EXTRA"
                          % (tmp, BUILD, BUILD, BUILD, tmp), shell=True, cwd=ROOT,
                          env=dict(os.environ, EXTRA="-fsanitize=address,undefined" if "address" in BUILD else ""))
    return tmp + "/wrong"


def a_wrong_build_is_caught(tmp):
    run, wrong = record(tmp), build_wrong(tmp)
    rc, out, err = flowrun("replay", run, "--stage", "tta_merge", "--diff", "--with", wrong, want=1)
    lines = out.splitlines()
    same(len(lines), 2, "lines: " + out)
    holds(lines[0].startswith("batch 2, tta_merge: prob f32[4,17]: 1 of 68 differ; first [1,3] of tile "), lines[0])
    holds("ulp 1; by ulp: 1: 1" in lines[0], lines[0])
    same(lines[1], "different: 8 batches compared", "sum")
    holds("tta_merge: wrong was absent, is " in err, "the executable is told: " + err)


def under_a_debugger(tmp):
    if "address" in BUILD:
        raise flow.Skip("sanitizers and debuggers get in each other's way")
    run = record(tmp)
    same(replay(run, "--stage", "tta_merge", "--batch", "1", "--diff", "--valgrind"), "the same: 1 batches compared\n", "valgrind")
    p = subprocess.run([flow.FLOWRUN, "replay", run, "--stage", "tta_merge", "--batch", "1", "--diff", "--gdb"], input=b"break tta_merge_batch\nrun\nbt\ncontinue\nquit\n",
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    holds(b"#0  tta_merge_batch" in p.stdout and b"the same: 1 batches" in p.stdout, "gdb: %d %s" % (p.returncode, p.stdout.decode()[-1500:]))


def a_recording_is_a_source(tmp):
    run = record(tmp)
    os.mkdir(tmp + "/o")
    stages = flow.chain(tmp + "/o", TILES + "/*1.jpg", batch=4, models=MODELS[:2], views=["flips", "scaled"])
    del stages["tiles"], stages["decode"]
    stages["again"] = {"stage": "recording", "options": {"recording": run + "/recordings/decode", "speed": "recorded"}}
    stages["augment"]["from"] = "again"
    g = write_graph(tmp + "/again.json", stages)
    flowrun("check", g)
    flowrun(g, "--run", tmp + "/again", "-q")
    same(slurp(tmp + "/o/probs.csv"), slurp(tmp + "/run-out/probs.csv"), "probabilities")
    stages["augment"]["options"]["tile"] = 128
    _, _, err = flowrun("check", write_graph(tmp + "/bad.json", stages), want=2)
    holds("pixels has 256" in err, err)


def no_gap_is_waited_for_when_it_is_interrupted(tmp):
    """At recorded speed, an hour lies before batch 2; Ctrl-C: what was issued is given at once, and the run has drained."""
    run = record(tmp, edges="stack")
    sys.path.insert(0, ROOT + "/python")
    from flowrun.recording import crc32c
    path = run + "/recordings/stack.0000.flr"
    data = bytearray(slurp(path))
    at, n = int.from_bytes(data[-24:-16], "little"), int.from_bytes(data[-16:-12], "little")
    for i in range(n):                                     # times of the index are those that count
        entry = at + 64 + 32 * i
        time_ = int.from_bytes(data[entry + 16:entry + 24], "little") + (3600 * 10 ** 9 if int.from_bytes(data[entry:entry + 8], "little") > 1 else 0)
        data[entry + 16:entry + 24] = time_.to_bytes(8, "little")
    data[-12:-8] = crc32c(data[at:-32]).to_bytes(4, "little")
    data[-4:] = crc32c(data[-32:-4]).to_bytes(4, "little")
    with open(path, "wb") as f:
        f.write(data)
    os.mkdir(tmp + "/o")
    g = write_graph(tmp + "/again.json", {
        "again": {"stage": "recording", "options": {"recording": run + "/recordings/stack", "speed": "recorded"}}, "decode_f2": {"from": "again"},
        "sink": {"from": "decode_f2", "options": {"probabilities": tmp + "/o/probs.csv"}}})
    again = Run(g, "--run", tmp + "/again")
    flow.wait_for(lambda: len(flow.attempts(tmp + "/again")) == 2 or again.p.poll() is not None, "the batches before the gap")
    holds(again.p.poll() is None, "it has ended: %r" % (again.said(),))
    first = again.stages()["decode_f2"]
    os.kill(first[0], signal.SIGKILL)                      # what dies next to it is heard of in the gap, too
    flow.wait_for(lambda: again.stages().get("decode_f2", first) != first or again.p.poll() is not None, "its successor")
    again.p.send_signal(signal.SIGINT)
    rc, _, err = again.end()
    same((rc, sorted(flow.attempts(tmp + "/again"))), (4, list(range(8))), "status, batches: " + err)


def what_was_recorded_is_listed(tmp):
    run = record(tmp)
    out = flowrun("show", run)[1]
    for s in STAGES[:-1]:
        holds("\n%s: run " % s in "\n" + out, "%s is listed: %s" % (s, out))
    out = flowrun("show", run + "/recordings/tta_merge.0000.flr", "--tensor", "--batch", "3")[1]
    holds("batch 3, attempt 0: 4 tiles" in out and "batch 4" not in out, out)
    holds("prob             f32  [4,17]" in out and "least " in out, out)
    same(flowrun("show", run + "/recordings/tta_merge", "--tensor", "--batch", "3")[1], out, "an edge by its name")
    _, _, err = flowrun("show", run, "--batch", "99", want=2)
    holds("none of these batches was recorded" in err, err)
    _, _, err = flowrun("show", run, "--batch", "x", want=2)
    holds("--batch x: want numbers" in err, err)
    for more, want in (["--tile", "x"], "--tile and --stage go with --png"), (["--tensor", "--png", tmp + "/s.png"], "--tensor or --png"):
        _, _, err = flowrun("show", run, *more, want=2)
        holds(want in err, err)
    _, _, err = flowrun("show", run + "/recordings/tta", want=2)
    holds("no run directory, recording or archive is there" in err, err)


def a_contact_sheet(tmp):
    """Cells are the tiles as another decoder sees them, and as the network's input turns them."""
    import numpy as np
    from PIL import Image
    run, cell, gap = record(tmp), 96, 4
    first = [line.rstrip("\n").split("\t") for line in open(run + "/inputs")][:4]
    flowrun("show", run, "--png", tmp + "/s.png", "--batch", "0")
    sheet = np.asarray(Image.open(tmp + "/s.png")).astype(int)
    same(sheet.shape, (4 * (cell + 2 * gap + 27), 9 * (cell + gap) + gap, 3), "size")
    at = np.arange(cell) * 256 // cell
    for i, (tile, path) in enumerate(first):
        y = i * (cell + 2 * gap + 27) + gap
        def column(k):
            return sheet[y:y + cell, gap + k * (cell + gap):gap + k * (cell + gap) + cell]
        tile_pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
        holds(np.abs(column(0) - tile_pixels[at][:, at]).max() <= 2, "as decoded: " + tile)
        same((column(2) == column(1)[:, ::-1]).all(), True, "view 1 is view 0 mirrored: " + tile)
        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        c = np.clip((np.arange(cell) + 0.5) * 256 / cell - 0.5, 0, 255)      # bilinear, half-pixel centres, no antialiasing
        lo, part = np.floor(c).astype(int), c - np.floor(c)
        hi = np.minimum(lo + 1, 255)
        rows = tile_pixels[lo] * (1 - part)[:, None, None] + tile_pixels[hi] * part[:, None, None]
        small = rows[:, lo] * (1 - part)[None, :, None] + rows[:, hi] * part[None, :, None]
        want = np.clip(((small / 255 - mean) / std + 2.5) / 5 * 255, 0, 255)
        holds(np.abs(column(1) - want).max() < 4, "normalised: %s, %r" % (tile, np.abs(column(1) - want).max()))
        holds((sheet[y + cell:y + cell + 27] > 200).sum() > 100, "words below " + tile)
    _, _, err = flowrun("show", run, "--png", tmp + "/s.png", "--batch", "99", want=2)
    holds("none of these batches" in err, err)
    _, _, err = flowrun("show", run, "--png", tmp + "/s.png", "--tile", first[0][0] + ",nobody", want=2)
    holds("tile nobody was not recorded" in err, err)
    run = record(tmp, "pixels", edges="decode")             # views that were not recorded are made again
    flowrun("show", run, "--png", tmp + "/t.png", "--batch", "0")
    same(slurp(tmp + "/t.png"), slurp(tmp + "/s.png"), "the sheet of pixels alone")


def the_sheet_tells_the_sink_it_was_asked_for(tmp):
    """Two heads behind one recorded edge, one of which can't give a label; and a sink that the edge doesn't come to."""
    os.mkdir(tmp + "/o")
    stages = flow.chain(tmp + "/o", TILES + "/*11.jpg", batch=4)
    stages["aaa-none"] = {"stage": "decode_f2", "from": "stack", "options": {"method": "threshold", "threshold": 1.0}}
    stages["aaa"] = {"stage": "sink", "from": "aaa-none"}
    flowrun(write_graph(tmp + "/g.json", stages), "--run", tmp + "/run", "-q", "--record", "augment")
    out = flowrun("show", tmp + "/run", "--png", tmp + "/1.png")[1]
    same(out, "labels are those of sink; aaa has some too (--stage aaa)\n", "which sink")
    flowrun("show", tmp + "/run", "--png", tmp + "/2.png", "--stage", "sink")
    flowrun("show", tmp + "/run", "--png", tmp + "/3.png", "--stage", "aaa")
    same(slurp(tmp + "/1.png"), slurp(tmp + "/2.png"), "the first sink")
    def greens(path):
        import numpy as np
        from PIL import Image
        return int((np.asarray(Image.open(path)).astype(int) == (120, 220, 120)).all(-1).sum())
    holds(greens(tmp + "/2.png") > 100, "labels are green")
    same(greens(tmp + "/3.png"), 0, "no label of the other sink")
    _, _, err = flowrun("show", tmp + "/run", "--png", tmp + "/4.png", "--stage", "stack", want=2)
    holds("stack is no sink behind augment" in err, err)


def sixteen_bits_are_stretched(tmp):
    import numpy as np
    from PIL import Image
    y, x = np.mgrid[0:64, 0:64]
    bands = np.stack([2000 + 40 * x, 5000 + 10 * y, 300 + 0 * x, 9000 + x * y], -1).astype("<u2")
    os.mkdir(tmp + "/t")
    with open(tmp + "/t/a.tif", "wb") as f:                # a plain strip of 64 x 64 x 4, 16 bits
        def entry(tag, kind, n, value):
            return np.array([tag, kind], "<u2").tobytes() + np.array([n, value], "<u4").tobytes()
        tags = [entry(256, 3, 1, 64), entry(257, 3, 1, 64), entry(258, 3, 4, 200), entry(259, 3, 1, 1), entry(262, 3, 1, 2), entry(273, 4, 1, 208),
                entry(277, 3, 1, 4), entry(278, 3, 1, 64), entry(279, 4, 1, bands.nbytes), entry(284, 3, 1, 1), entry(338, 3, 1, 0)]
        head = b"II*\0\x08\0\0\0" + np.array([len(tags)], "<u2").tobytes() + b"".join(tags) + b"\0\0\0\0"
        f.write(head.ljust(200, b"\0") + np.array([16] * 4, "<u2").tobytes() + bands.tobytes())
    g = write_graph(tmp + "/g.json", {
        "tiles": {"stage": "source", "options": {"files": tmp + "/t/*.tif", "batch": 1}}, "decode": {"from": "tiles", "options": {"size": 64, "mode": "rgbn", "file_bands": "rgbn"}},
        "sheet": {"from": "decode", "options": {"out": tmp + "/s.png", "cell": 64}}})
    flowrun(g, "--run", tmp + "/run", "-q")
    got = np.asarray(Image.open(tmp + "/s.png")).astype(int)[4:68, 4:68]
    low, high = np.percentile(bands[..., 0], 2), np.percentile(bands[..., 0], 98)
    want = np.clip((bands[..., 0] - low) / (high - low), 0, 1) * 255
    holds(np.abs(got[..., 0] - want).max() <= 8, "the first band is stretched: %r" % np.abs(got[..., 0] - want).max())


def why_a_tile_got_its_labels(tmp):
    run = record(tmp)
    tile, path = [line.rstrip("\n").split("\t")[:2] for line in open(run + "/inputs")][6]
    out = flowrun("why", run, tile)[1]
    holds(out.startswith("%s: %s, number 6, row 2 of batch 1\n" % (tile, path)), out)
    labels = [line.split(",")[1] for line in open(tmp + "/run-out/predictions.csv").read().splitlines() if line.startswith(tile + ",")][0]
    holds("    labels: %s\n" % labels in out and "journal of sink, attempt 0: %s\n" % labels in out, "labels %r: %s" % (labels, out))
    for want in ("    view 1: symmetry 1 ", "    view 2, snapshot 1: ", "pixels: 256 x 256, 3 bands, u8", "sha256 ", "expected F2", "the same, bit by bit"):
        holds(want in out, "%s: %s" % (want, out))
    ef2 = [float(line.split(": ")[1]) for line in out.split("\n") if line.startswith("    expected F2 of ")]
    second = [line for line in out.split("\n") if line.startswith("    runner-up: ")]
    holds(len(ef2) == 2 and ef2[0] >= ef2[1] > 0, "expected F2 of both: %r" % ef2)
    holds(len(second) == 1 and second[0] != "    runner-up: " + labels, "another set: %r" % second)
    _, _, err = flowrun("why", run, "nobody", want=2)
    holds("no tile is called nobody" in err, err)


def a_reproducer_is_one_file(tmp):
    """Cut from a run whose tiles, weights and folder are then gone, merged, replayed: the same bits; a tile alone gives the bits it gave in its batch."""
    os.mkdir(tmp + "/tiles")
    for path in sorted(glob.glob(TILES + "/*1.jpg"))[:23]:
        shutil.copy(path, tmp + "/tiles")
    with open(tmp + "/tiles/bad.jpg", "wb") as f:
        f.write(b"\xff\xd8 no picture")
    for i in (1, 2):                                        # two files of one name
        os.mkdir(tmp + "/w%d" % i)
        for ext in (".safetensors", ".json"):
            shutil.copy(MODELS[i - 1][:-12] + ext, tmp + "/w%d/net%s" % (i, ext))
    run = record(tmp, want=3, files=tmp + "/tiles/*.jpg", models=[tmp + "/w1/net.safetensors", tmp + "/w2/net.safetensors"])
    first, second = [line.split("\t")[0] for line in open(run + "/inputs")][1:3]
    flowrun("cut", run, "--batch", "0,2", "--out", tmp + "/a.tar")
    flowrun("cut", run, "--batch", "2,5", "--out", tmp + "/b.tar")
    flowrun("cut", run, "--tile", first, "--out", tmp + "/tile.tar")
    flowrun("cut", run, "--tile", second, "--out", tmp + "/tile2.tar")
    for gone in ("tiles", "w1", "w2", "run"):
        os.rename(tmp + "/" + gone, tmp + "/gone-" + gone)
    flowrun("merge", tmp + "/a.tar", tmp + "/b.tar", "--out", tmp + "/m.tar")
    for s in STAGES[1:]:
        same(replay(tmp + "/m.tar", "--stage", s, "--diff"), "the same: 3 batches compared\n", s)
        same(replay(tmp + "/tile.tar", "--stage", s, "--diff"), "the same: 1 batches compared\n", s + ", one tile")
    holds("1 tiles" in flowrun("show", tmp + "/tile.tar")[1], "a tile alone")
    flowrun("cut", tmp + "/m.tar", "--batch", "5", "--out", tmp + "/again.tar")     # out of an archive
    same(replay(tmp + "/again.tar", "--from", "decode", "--to", "sink", "--diff"), "the same: 7 batches compared\n", "all of it")
    names = subprocess.run(["tar", "-tf", tmp + "/again.tar"], stdout=subprocess.PIPE, check=True).stdout.decode().split()
    holds(not any("probs.csv" in n for n in names) and sum(n.endswith(".jpg") for n in names) == 4, "what a run wrote isn't in it, its tiles are: %r" % names)
    _, _, err = flowrun("cut", tmp + "/m.tar", "--batch", "77", "--out", tmp + "/n.tar", want=1)
    holds("batch 77 was not recorded" in err, err)
    _, _, err = flowrun("cut", tmp + "/m.tar", "--batch", "2", "--tile", "nobody", "--out", tmp + "/n.tar", want=1)
    holds("tile nobody was not recorded in these batches" in err, err)
    flowrun("cut", tmp + "/m.tar", "--batch", "2,x", "--out", tmp + "/n.tar", want=2)
    holds(not glob.glob(tmp + "/n.tar*"), "nothing was written")
    flowrun("cut", tmp + "/m.tar", "--batch", "2", "--out", tmp + "/at 12:30.tar")
    same(replay(tmp + "/at 12:30.tar", "--stage", "stack", "--diff"), "the same: 1 batches compared\n", "a name with a colon")
    _, _, err = flowrun("merge", tmp + "/tile.tar", tmp + "/tile2.tar", "--out", tmp + "/n.tar", want=1)
    holds("batch 0 of augment comes twice with other tiles" in err, err)
    os.mkdir(tmp + "/forged")                               # names files of this machine, which are none of its business
    subprocess.run(["tar", "-C", tmp + "/forged", "-xf", tmp + "/again.tar"], check=True)
    with open(tmp + "/secret", "w") as f:
        f.write("not for others")
    with open(tmp + "/forged/config.json") as f:
        config = json.load(f)
    config["stages"]["net"]["options"]["weights"] = [tmp + "/secret"]
    with open(tmp + "/forged/config.json", "w") as f:
        json.dump(config, f)
    subprocess.run(["tar", "-C", tmp + "/forged", "-cf", tmp + "/forged.tar", "."], check=True)
    _, _, err = flowrun("cut", tmp + "/forged.tar", "--out", tmp + "/out.tar")
    holds("net: weights: %s/secret is no file that could be taken along" % tmp in err and b"not for others" not in slurp(tmp + "/out.tar"), err)
    os.mkdir(tmp + "/evil")                                 # leads to a run of this machine
    os.symlink(tmp + "/gone-run/recordings", tmp + "/evil/recordings")
    shutil.copy(tmp + "/gone-run/config.json", tmp + "/evil")
    subprocess.run(["tar", "-C", tmp + "/evil", "-cf", tmp + "/evil.tar", "."], check=True)
    _, _, err = flowrun("replay", tmp + "/evil.tar", "--stage", "decode", want=2)
    holds("holds what is neither file nor folder" in err, err)


def second_files_of_tiles_are_in_an_archive(tmp):
    """Of the folder of TIFFs beside the tiles those of the chosen tiles, and no more; one that isn't there is told."""
    subprocess.run([BUILD + "/samples/paint", "--out", tmp + "/t", "--n", "8", "--size", "64", "--seed", "5", "--tif"], check=True, stdout=subprocess.DEVNULL)
    g = write_graph(tmp + "/g.json", {
        "tiles": {"stage": "source", "options": {"files": tmp + "/t/tiles/*.jpg", "batch": 4}},
        "decode": {"from": "tiles", "options": {"mode": "ngb", "tifs": tmp + "/t/tif/", "size": 64}}, "sheet": {"from": "decode", "options": {"out": tmp + "/s.png", "cell": 64}}})
    flowrun(g, "--run", tmp + "/run", "-q", "--record", "all")
    flowrun("cut", tmp + "/run", "--tile", "sample_00001,sample_00003", "--out", tmp + "/a.tar")
    flowrun("cut", tmp + "/run", "--batch", "1", "--out", tmp + "/b.tar")
    os.remove(tmp + "/t/tif/sample_00005.tif")
    _, _, err = flowrun("cut", tmp + "/run", "--batch", "1", "--out", tmp + "/c.tar")
    holds("decode: tifs: 3 of its files are called after the 4 chosen tiles" in err, err)
    os.rename(tmp + "/t", tmp + "/gone")
    os.rename(tmp + "/run", tmp + "/gone-run")
    _, _, err = flowrun("merge", tmp + "/a.tar", tmp + "/b.tar", "--out", tmp + "/m.tar")
    same(err, "", "nothing is missing")
    for tar, tiles, batches in ("a", [1, 3], 1), ("m", [1, 3, 4, 5, 6, 7], 2):
        names = subprocess.run(["tar", "-tf", tmp + "/%s.tar" % tar], stdout=subprocess.PIPE, check=True).stdout.decode().split()
        same(sorted(n for n in names if n.endswith(".tif")), ["./files/tif/sample_%05d.tif" % i for i in tiles], "TIFFs in " + tar)
        same(replay(tmp + "/%s.tar" % tar, "--stage", "decode", "--diff"), "the same: %d batches compared\n" % batches, tar)


def names_are_those_of_the_folder_it_was_started_in(tmp):
    """Tiles, weights and results of the run have relative names; replay, why, show and cut are used elsewhere, with relative names of their own."""
    os.makedirs(tmp + "/a/tiles")
    os.mkdir(tmp + "/b")
    for path in sorted(glob.glob(TILES + "/*1.jpg"))[:6]:
        shutil.copy(path, tmp + "/a/tiles")
    for ext in (".safetensors", ".json"):
        shutil.copy(MODELS[0][:-12] + ext, tmp + "/a/net" + ext)
    stages = flow.chain(".", "tiles/*.jpg", batch=4, models=["net.safetensors"])
    os.mkdir(tmp + "/a/labels")
    stages["sink"]["options"] = {"submission": "labels/of.csv", "probabilities": "of.csv"}       # one name in two folders
    g = write_graph(tmp + "/a/g.json", stages)
    flowrun(g, "--run", "run", "-q", "--record", "all", cwd=tmp + "/a")
    run, tile = "../a/run", open(tmp + "/a/run/inputs").read().split("\t")[0]
    for s in STAGES:
        same(flowrun("replay", run, "--stage", s, "--diff", cwd=tmp + "/b")[1], "the same: 2 batches compared\n", s)
    holds("the same, bit by bit" in flowrun("why", run, tile, cwd=tmp + "/b")[1], "why")
    flowrun("show", run, "--png", "s.png", "--batch", "0", cwd=tmp + "/b")
    flowrun("replay", run, "--stage", "stack", "--keep", "kept", cwd=tmp + "/b")
    flowrun("cut", run, "--batch", "1", "--out", "c.tar", cwd=tmp + "/b")
    same(sorted(os.listdir(tmp + "/b")), ["c.tar", "kept", "s.png"], "what was written")
    os.rename(tmp + "/a", tmp + "/gone")
    same(flowrun("replay", "c.tar", "--from", "decode", "--to", "sink", "--diff", cwd=tmp + "/b")[1], "the same: 7 batches compared\n", "the archive")
    _, _, err = flowrun("cut", "../gone/run", "--out", "d.tar", cwd=tmp + "/b")
    for want in ("%s/a: No such file" % tmp, "net: weights: net.safetensors is no file that could be taken along", "6 original files are not there any more"):
        holds(want in err, err)


def a_damaged_record_is_left_out(tmp):
    """Of one edge; every other batch is replayed and cut, each command says which one is missing, and ends with status 3."""
    run = record(tmp, edges="decode,augment,tta_merge")
    path = run + "/recordings/augment.0000.flr"
    data = bytearray(slurp(path))
    data[len(data) // 2] ^= 1                              # most of the file is pixels
    with open(path, "wb") as f:
        f.write(data)
    _, out, err = flowrun("replay", run, "--from", "net", "--to", "tta_merge", "--diff", want=3)
    same(out, "the same: 7 batches compared\n", "the others")
    holds("augment.0000.flr: batch " in err and "it is left out" in err, err)
    bad = re.search(r"augment.0000.flr: batch (\d+)", err).group(1)
    _, _, err = flowrun("replay", run, "--from", "net", "--to", "tta_merge", "--batch", bad, want=2)
    holds("batch " + bad in err and "left out" not in err, err)
    _, out, err = flowrun("cut", run, "--out", tmp + "/cut.tar", want=3)
    holds("23 records" in out and "batch " + bad in err, out + err)
    same(replay(tmp + "/cut.tar", "--from", "net", "--to", "tta_merge", "--diff"), "the same: 7 batches compared\n", "what was cut")
    _, _, err = flowrun("show", run, "--png", tmp + "/s.png", want=3)
    holds("batch " + bad in err and os.path.exists(tmp + "/s.png"), "a sheet of the others: " + err)
    path = run + "/recordings/decode.0000.flr"             # a head, which the index still names; and a segment of a long run
    data = bytearray(slurp(path))
    head = data.rindex(b"FLRC", 0, -32)
    data[head + 60] ^= 1
    with open(run + "/recordings/decode.12345.flr", "wb") as f:
        f.write(data)
    os.remove(path)
    _, out, err = flowrun("replay", run, "--stage", "augment", "--diff", want=3)
    holds(out in ("the same: 6 batches compared\n", "the same: 7 batches compared\n") and "decode.12345.flr: batch " in err, out + err)
    holds("\ndecode: run " in "\n" + flowrun("show", run, want=1)[1], "the edge is listed")
    with open(run + "/recordings/augment.0000.flr", "r+b") as f:        # a whole edge: its head is damaged
        f.write(b"X")
    _, out, err = flowrun("cut", run, "--batch", "2", "--out", tmp + "/cut2.tar", want=3)
    holds("augment.0000.flr: not a recording; edge augment is left out" in err, err)
    for args in ["show", run + "/recordings/augment"], ["replay", run, "--stage", "net"]:
        holds("augment.0000.flr: not a recording" in flowrun(*args, want=2)[2], args)
    _, _, err = flowrun("replay", tmp + "/cut.tar", "--stage", "tiles", want=2)
    holds("tiles reads the original files" in err, err)


def what_was_killed_is_swept(tmp):
    run = record(tmp, edges="augment")
    os.mkdir(tmp + "/t")
    env = dict(os.environ, TMPDIR=tmp + "/t")
    killed = Run("replay", run, "--stage", "net", env=env)
    flow.wait_for(lambda: glob.glob(tmp + "/t/*/run/lock") or killed.p.poll() is not None, "the replay at work")
    killed.kill()
    holds(os.listdir(tmp + "/t"), "it left its folder")
    flowrun("show", run, env=env)
    same(os.listdir(tmp + "/t"), [], "folders left behind")


def what_came_out_can_be_kept(tmp):
    """On another filesystem than the temporary folder too, with the files that stages wrote."""
    run = record(tmp, edges="stack,decode_f2")
    keep = tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp)
    try:
        same(replay(run, "--from", "decode_f2", "--to", "sink", "--diff", "--keep", keep), "the same: 16 batches compared\n", "a kept one")
        same(slurp(keep + "/sink-probs.csv"), slurp(tmp + "/run-out/probs.csv"), "its results")
        holds(os.path.exists(keep + "/recordings/decode_f2.0000.flr"), "its recording")
    finally:
        shutil.rmtree(keep)


def a_batch_that_does_not_come_out_differs(tmp):
    """The tap of the replay can't store it: that it was not compared is told, and is no success."""
    run = record(tmp, edges="tiles,decode")
    os.mkdir(tmp + "/stages")
    with open(tmp + "/stages/record", "w") as f:           # files of no more than a megabyte: room for one batch
        f.write("#!/bin/sh\nulimit -f 2000\ntrap '' XFSZ\nexec '%s/stages/record' \"$@\"\n" % BUILD)
    os.chmod(tmp + "/stages/record", 0o700)
    out = flowrun("replay", run, "--stage", "decode", "--diff", want=1, env=dict(os.environ, FLOWRUN_STAGES=tmp + "/stages"))[1]
    holds(re.fullmatch(r"decode: 1 batches came out, want 8\ndifferent: 1 batches compared\n", out), out)


def what_is_refused(tmp):
    os.mkdir(tmp + "/o")
    g = write_graph(tmp + "/g.json", flow.chain(tmp + "/o", TILES + "/*11.jpg", batch=4))
    flowrun(g, "--run", tmp + "/run", "-q", "--record", "decode")
    for args, want in [
        ([tmp + "/run", "--stage", "nett"], "no stage called nett; did you mean net?"),
        ([tmp + "/run", "--stage", "net"], "edge augment was not recorded"),
        ([tmp + "/run", "--stage", "augment", "--batch", "99"], "batch 99 was not recorded on edge decode"),
        ([tmp + "/run", "--stage", "augment", "--batch", "x"], "want numbers from 0 up"),
        ([tmp + "/run"], "want --stage NAME"),
        ([tmp + "/run", "--from", "net", "--to", "decode"], "net doesn't come to decode"),
        ([tmp + "/o", "--stage", "net"], "belongs to no run"),
        ([tmp + "/nothing", "--stage", "net"], "no run directory, recording or archive is there"),
        ([tmp + "/run/recordings/decod", "--stage", "augment"], "no run directory, recording or archive is there"),
        ([tmp + "/g.json", "--stage", "augment"], "and is no archive"),
        ([tmp + "/run", "--stage", "augment", "--with", tmp + "/nothing"], "--with %s/nothing: No such file" % tmp),
        ([tmp + "/run", "--stage", "augment", "--with", BUILD + "/stages/decode"], "augment: want a build of stage augment: %s/stages/decode is stage decode" % BUILD),
        ([tmp + "/run", "--stage", "augment", "--with", "/bin/false"], "augment: want a build of stage augment: "),
        ([tmp + "/run", "--stage", "augment", "--keep", tmp + "/run"], "--keep %s/run: File exists" % tmp),
    ]:
        _, _, err = flowrun("replay", *args, want=2)
        holds(want in err, "%r: %s" % (args, err))
    rc, out, _ = flowrun("replay", tmp + "/run", "--stage", "augment", "--diff", want=1)
    holds("nothing to compare" in out, out)
    os.mkdir(tmp + "/t")
    flowrun("replay", tmp + "/run", "--stage", "augment", "--diff", want=1, env=dict(os.environ, TMPDIR=tmp + "/t"))
    same(os.listdir(tmp + "/t"), [], "folders left behind")


if __name__ == "__main__":
    sys.exit(flow.run_cases([every_stage_of_a_quiet_run, every_stage_of_a_run_with_kills, joins_are_fed_from_several_recordings, a_wrong_build_is_caught,
                             under_a_debugger, a_recording_is_a_source, no_gap_is_waited_for_when_it_is_interrupted, what_was_recorded_is_listed, a_contact_sheet, the_sheet_tells_the_sink_it_was_asked_for, why_a_tile_got_its_labels, sixteen_bits_are_stretched,
                             a_reproducer_is_one_file, second_files_of_tiles_are_in_an_archive, names_are_those_of_the_folder_it_was_started_in, a_damaged_record_is_left_out, what_was_killed_is_swept, what_came_out_can_be_kept,
                             a_batch_that_does_not_come_out_differs, what_is_refused]))
