"""Files of predictions between programs: h5py, pandas and NumPy write and read them; assembly out of folds; as a graph's source."""
import gzip
import json
import os
import subprocess
import sys
import warnings

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import flow
from flow import flowrun, holds, same

warnings.filterwarnings("ignore")
NAMES = ["agriculture", "artisinal_mine", "bare_ground", "blooming", "blow_down", "clear", "cloudy", "conventional_mine", "cultivation",
         "habitation", "haze", "partly_cloudy", "primary", "road", "selective_logging", "slash_burn", "water"]


def libraries():
    try:
        import h5py
        import pandas
        import tables  # noqa: F401
    except ImportError as why:
        raise flow.Skip(str(why))
    return h5py, pandas


def values(n, seed=1):
    return np.random.default_rng(seed).random((n, 17), dtype=np.float32)


def ids(n, name="train_%d"):
    return [name % i for i in range(n)]


def own(path, names, prob, **attrs):
    h5py, _ = libraries()
    with h5py.File(path, "w") as f:
        f["image_name"] = np.array(names, "S")
        f["prob"] = prob
        f.attrs["labels"] = NAMES
        for key, value in attrs.items():
            f.attrs[key] = value


def read(path):
    h5py, _ = libraries()
    with h5py.File(path) as f:
        return [x.decode() for x in f["image_name"][:]], f["prob"][:], dict(f.attrs)


def convert(source, out, *more):
    flowrun("assemble", source, "--split", "test", "--out", out, *more)
    return out


# ---- other programs' files ----

def what_pandas_writes_is_read(tmp):
    _, pandas = libraries()
    p = values(50)
    frame = pandas.DataFrame(p, index=ids(50), columns=NAMES)
    for name, options in (("plain", {}), ("zlib", {"complib": "zlib", "complevel": 4})):
        for turned in (frame, frame[NAMES[::-1]], frame.astype("f8"), frame.astype({n: "f8" for n in NAMES[3:9]})):
            path = tmp + "/" + name + ".h5"
            turned.to_hdf(path, "prob", mode="w", **options)
            names, got, _ = read(convert(path, tmp + "/out.h5"))
            order = np.argsort(ids(50))
            same(names, sorted(ids(50)), "ids")
            same(got.tobytes(), p[order].tobytes(), "values")
    frame.to_hdf(tmp + "/other.h5", "elsewhere", mode="w")
    convert(tmp + "/other.h5", tmp + "/out.h5")
    frame.to_hdf(tmp + "/other.h5", "prob2", mode="a")
    _, _, err = flowrun("assemble", tmp + "/other.h5", "--split", "test", "--out", tmp + "/x.h5", want=1)
    holds("E_INPUT" in err and "one group" in err, err)
    convert(tmp + "/other.h5", tmp + "/out.h5", "--group", "prob2")


def what_pandas_writes_in_other_ways_is_refused(tmp):
    _, pandas = libraries()
    frame = pandas.DataFrame(values(5), index=ids(5), columns=NAMES)
    cases = []
    frame.to_hdf(tmp + "/table.h5", "prob", mode="w", format="table")
    cases.append(("table.h5", "fixed format"))
    frame.reset_index(drop=True).to_hdf(tmp + "/numbers.h5", "prob", mode="w")
    cases.append(("numbers.h5", "ids as texts"))
    frame.astype("i8").to_hdf(tmp + "/whole.h5", "prob", mode="w")
    cases.append(("whole.h5", "floating-point"))
    frame["rain"] = 0.5
    frame.astype("f4").to_hdf(tmp + "/rain.h5", "prob", mode="w")
    cases.append(("rain.h5", "rain is no label"))
    for name, why in cases:
        _, _, err = flowrun("assemble", tmp + "/" + name, "--split", "test", "--out", tmp + "/x.h5", want=1)
        holds(name in err and why in err, err)


def what_h5py_writes_is_read(tmp):
    h5py, _ = libraries()
    p = values(7)
    with h5py.File(tmp + "/a.h5", "w") as f:
        f.create_dataset("prob", data=p.astype("f8"), chunks=(3, 5), compression="gzip", shuffle=True, fletcher32=True)
        f.create_dataset("image_name", data=ids(7), dtype=h5py.string_dtype())
        f["prob"].attrs["labels"] = NAMES
    names, got, attrs = read(convert(tmp + "/a.h5", tmp + "/out.h5"))
    same(names, ids(7), "ids")
    same(got.tobytes(), p.tobytes(), "values")
    same([x.decode() for x in attrs["labels"]], NAMES, "labels")
    for n in (6, 8):
        own(tmp + "/n.h5", ids(n), p)
        _, _, err = flowrun("assemble", tmp + "/n.h5", "--split", "test", "--out", tmp + "/x.h5", want=1)
        holds("n.h5: image_name: %d rows, the probabilities have 7" % n in err, err)


def no_form_hides_a_bad_row(tmp):
    """Not a number, outside [0,1], an id twice, a label too few: refused in every form, with the file's name and the tile or label."""
    h5py, pandas = libraries()

    def table(names, p, labels):
        t = np.zeros(len(names), [("image_name", "S63")] + [(n, "<f4") for n in labels])
        t["image_name"] = names
        for i, n in enumerate(labels):
            t[n] = p[:, i]
        return t

    def text(path, names, p, labels):
        with (gzip.open if path.endswith(".gz") else open)(path, "wt") as f:
            f.write("image_name," + ",".join(labels) + "\n" + "".join("%s,%s\n" % (n, ",".join(str(float(v)) for v in row)) for n, row in zip(names, p)))

    def h5(path, names, p, labels):
        with h5py.File(path, "w") as f:
            f["prob"] = p.astype("f4")
            f.create_dataset("image_name", data=names, dtype=h5py.string_dtype())
            f["prob"].attrs["labels"] = labels

    def packed(path, names, p, labels):
        with gzip.open(path, "wb") as f:
            np.save(f, table(names, p, labels))

    forms = {
        "a.h5": h5, "b.h5": lambda path, names, p, labels: pandas.DataFrame(p.astype("f4"), index=names, columns=labels).to_hdf(path, "prob", mode="w"),
        "a.npy": lambda path, names, p, labels: np.save(path, table(names, p, labels)), "a.npy.gz": packed, "a.csv": text, "a.csv.gz": text,
    }
    turn = NAMES[3:] + NAMES[:3]
    for name, make in forms.items():
        path, p = tmp + "/" + name, values(6)
        make(path, ids(6), p[:, [NAMES.index(n) for n in turn]], turn)
        names, got, _ = read(convert(path, tmp + "/out.h5"))
        same((names, got.tobytes()), (ids(6), p.tobytes()), name + ": columns in another order")
        for value, code in ((np.nan, "E_NUM"), (np.inf, "E_NUM"), (-1e-3, "E_NUM"), (1.001, "E_NUM")):
            bad = p.astype("f8")
            bad[4, 13] = value
            make(path, ids(6), bad, NAMES)
            _, _, err = flowrun("assemble", path, "--split", "test", "--out", tmp + "/x.h5", want=1)
            holds(code in err and name in err and ("road" in err or "train_4" in err), "%s, %r: %s" % (name, value, err))
        make(path, ids(5) + ["train_2"], p, NAMES)
        _, _, err = flowrun("assemble", path, "--split", "test", "--out", tmp + "/x.h5", want=1)
        holds("E_LABEL" in err and name in err and "train_2 is there twice" in err, "%s: %s" % (name, err))
        make(path, ids(6), p[:, 1:], NAMES[1:])
        with open(tmp + "/g.yaml", "w") as f:
            json.dump({"stages": {"tiles": {"stage": "predictions", "options": {"files": path}}, "decode_f2": {"from": "tiles"}, "sink": {"from": "decode_f2"}}}, f)
        _, _, err = flowrun("check", tmp + "/g.yaml", want=2)
        holds("no column for the label agriculture" in err and name in err, "%s: %s" % (name, err))


def what_lies_elsewhere_is_not_read(tmp):
    h5py, _ = libraries()
    with open(tmp + "/secret", "wb") as f:
        f.write(b"\0" * 4096)
    own(tmp + "/whole.h5", ids(5), values(5))

    def made(name, fill):
        with h5py.File(tmp + "/" + name, "w") as f:
            f["image_name"] = np.array(ids(5), "S")
            f.attrs["labels"] = NAMES
            fill(f)
        return name

    def virtual(f):
        layout = h5py.VirtualLayout((5, 17), "f4")
        layout[:] = h5py.VirtualSource(tmp + "/whole.h5", "prob", (5, 17))
        f.create_virtual_dataset("prob", layout)

    def soft(f):
        f["hidden"] = values(5)
        f["prob"] = h5py.SoftLink("/hidden")

    names = [
        made("external.h5", lambda f: f.create_dataset("prob", (5, 17), "f4", external=[(tmp + "/secret", 0, 340)])),
        made("virtual.h5", virtual),
        made("linked.h5", lambda f: f.__setitem__("prob", h5py.ExternalLink(tmp + "/whole.h5", "prob"))),
        made("soft.h5", soft),
    ]
    for name in names:
        _, _, err = flowrun("assemble", tmp + "/" + name, "--split", "test", "--out", tmp + "/x.h5", want=1)
        holds(name in err and "E_" in err, err)


def others_read_what_is_written(tmp):
    h5py, pandas = libraries()
    p = values(40)
    own(tmp + "/a.h5", ids(40), p, model="m", seed=7)
    order = np.argsort(ids(40))
    convert(tmp + "/a.h5", tmp + "/b.npy")
    convert(tmp + "/a.h5", tmp + "/b.csv")
    convert(tmp + "/b.npy", tmp + "/b.h5")
    table = np.load(tmp + "/b.npy")
    same([x.decode() for x in table["image_name"]], sorted(ids(40)), "ids of .npy")
    same(np.stack([table[n] for n in NAMES], 1).tobytes(), p[order].tobytes(), "values of .npy")
    frame = pandas.read_csv(tmp + "/b.csv", index_col="image_name")
    same(list(frame.columns), NAMES, "columns of .csv")
    same(frame.values.astype("f4").tobytes(), p[order].tobytes(), "values of .csv")
    names, got, attrs = read(tmp + "/b.h5")
    same((names, got.tobytes()), (sorted(ids(40)), p[order].tobytes()), ".h5 by way of .npy")
    same(int(attrs["format_version"]), 1, "format_version")
    own(tmp + "/u.h5", ids(40), p[:, :2], labels=["wälder", "b"])
    convert(tmp + "/u.h5", tmp + "/u.npy", "--names", "wälder,b")
    same(np.load(tmp + "/u.npy").dtype.names, ("image_name", "wälder", "b"), "a label that is not ASCII, in .npy")
    convert(tmp + "/u.npy", tmp + "/v.h5", "--names", "wälder,b")
    same(read(tmp + "/v.h5")[1].tobytes(), p[order][:, :2].tobytes(), "and back")
    try:
        said = subprocess.run(["h5dump", "-H", tmp + "/b.h5"], stdout=subprocess.PIPE, check=True).stdout.decode()
    except FileNotFoundError:
        return
    holds('DATASET "prob"' in said and "H5T_IEEE_F32LE" in said and "STRPAD H5T_STR_NULLPAD" in said and "H5T_CSET_UTF8" in said, said)


# ---- assembly ----

def folds(tmp, n, K, name="folds.csv"):
    with open(tmp + "/" + name, "w") as f:
        f.write("image_name,fold\n" + "".join("train_%d,%d\n" % (i, i % K) for i in range(n)))
    return tmp + "/" + name


def model(tmp, n=30, K=3, change=None, split="val", test=11):
    """fold_k/val_d4.h5 with the tiles of fold k, and test_d4.h5 with all test tiles; change(k, names, prob, attrs) may spoil one."""
    p = values(n)
    t = np.stack([values(test, 100 + k) for k in range(K)])
    for k in range(K):
        os.makedirs(tmp + "/m/fold_%d" % k, exist_ok=True)
        names, prob = (ids(n)[k::K], p[k::K]) if split == "val" else (ids(test, "test_%d"), t[k])
        attrs = {"fold": k, "split": split, "model": "m", "tta": "d4", "snapshots": ["%064x" % (2 * k), "%064x" % (2 * k + 1)]}
        if change:
            names, prob = change(k, list(names), prob, attrs)
        own(tmp + "/m/fold_%d/%s_d4.h5" % (k, split), names, prob, **attrs)
    return p if split == "val" else t


def out_of_fold(tmp):
    p = model(tmp)
    table = folds(tmp, 30, 3)
    flowrun("assemble", tmp + "/m", "--split", "val", "--folds", table, "--out", tmp + "/oof.h5")
    names, got, attrs = read(tmp + "/oof.h5")
    order = np.argsort(ids(30))
    same(names, sorted(ids(30)), "ids")
    same(got.tobytes(), p[order].tobytes(), "values")
    same((attrs["split"].decode(), attrs["model"].decode(), "fold" in attrs, len(attrs["snapshots"])), ("val", "m", False, 6), "attributes")
    flowrun("assemble", tmp + "/oof.h5", "--split", "val", "--folds", table, "--out", tmp + "/again.csv")
    parts = [tmp + "/m/fold_%d/val_d4.h5" % k for k in (2, 0, 1)]
    flowrun("assemble", *parts, "--split", "val", "--folds", table, "--out", tmp + "/files.h5")
    same(flow.slurp(tmp + "/files.h5"), flow.slurp(tmp + "/oof.h5"), "the same from files in any order")


def leaks_are_refused(tmp):
    table = folds(tmp, 30, 3)

    def swap(k, names, prob, attrs):                   # a tile of fold 1 stands in fold 2 and the other way round
        if k == 1:
            names[0] = "train_2"
        elif k == 2:
            names[0] = "train_1"
        return names, prob

    def drop(k, names, prob, attrs):
        return (names[:-1], prob[:-1]) if k == 2 else (names, prob)

    def twice(k, names, prob, attrs):
        return (names + ["train_0"], np.concatenate([prob, prob[:1]])) if k == 1 else (names, prob)

    def stranger(k, names, prob, attrs):
        return (names + ["train_99"], np.concatenate([prob, prob[:1]])) if k == 1 else (names, prob)

    def attribute(key, value):
        def change(k, names, prob, attrs):
            if k == 1:
                attrs[key] = value
            return names, prob
        return change

    cases = [
        (swap, "train_2 is of fold 2, but stands in the file of fold 1"), (drop, "the first is train_29 of fold 2"),
        (twice, "train_0 is of fold 0, but stands in the file of fold 1"), (stranger, "train_99 is not in the fold table"),
        (attribute("fold", 2), "states fold 2, but lies in fold_1"), (attribute("split", "test"), "states the split test"),
        (attribute("model", "x"), "is of the model m"), (attribute("tta", "flips"), "test-time views"),
        (attribute("snapshots", ["%064x" % 0]), "the same snapshot"),
    ]
    for change, why in cases:
        model(tmp, change=change)
        _, _, err = flowrun("assemble", tmp + "/m", "--split", "val", "--folds", table, "--out", tmp + "/x.h5", want=1)
        holds("E_LABEL" in err and why in err, "%s in %s" % (why, err))
        holds(not os.path.exists(tmp + "/x.h5"), "a file was written")
    model(tmp)
    _, _, err = flowrun("assemble", tmp + "/m", "--split", "val", "--folds", folds(tmp, 30, 4, "other.csv"), "--out", tmp + "/x.h5", want=1)
    holds("3 folds, the fold table has 4" in err, err)
    os.remove(tmp + "/m/fold_1/val_d4.h5")
    _, _, err = flowrun("assemble", tmp + "/m", "--split", "val", "--folds", table, "--out", tmp + "/x.h5", want=1)
    holds("fold_1: no file val_" in err, err)
    flowrun("assemble", tmp + "/m", "--split", "val", "--out", tmp + "/x.h5", want=2)


def averaged(tmp):
    t = model(tmp, split="test")
    table = folds(tmp, 30, 3)
    order = np.argsort(ids(11, "test_%d"))
    clamped = np.clip(t.astype("f8"), 1e-7, 1 - 1e-7)
    logit = np.log(clamped / (1 - clamped)).mean(0)
    for how, want in (("mean", clamped.mean(0)), ("gmean", np.exp(np.log(clamped).mean(0))), ("logit_mean", 1 / (1 + np.exp(-logit)))):
        flowrun("assemble", tmp + "/m", "--split", "test", "--folds", table, "--merge", how, "--out", tmp + "/test.h5")
        names, got, attrs = read(tmp + "/test.h5")
        same(names, sorted(ids(11, "test_%d")), "ids")
        holds(np.abs(got - want[order]).max() < 1e-7, how)
        same(attrs["merge"].decode(), how, "merge")

    def short(k, names, prob, attrs):
        return (names[:-1], prob[:-1]) if k == 2 else (names, prob)

    def trained(k, names, prob, attrs):
        return ["train_3"] + names[1:], prob

    for change, why in ((short, "test_10 is in"), (trained, "train_3 is a tile of the fold table")):
        model(tmp, split="test", change=change)
        _, _, err = flowrun("assemble", tmp + "/m", "--split", "test", "--folds", table, "--out", tmp + "/x.h5", want=1)
        holds("E_LABEL" in err and why in err, err)


def arguments_of_assemble(tmp):
    model(tmp)
    for args, why in (
        ([tmp + "/m"], "--split"), ([tmp + "/m", "--split", "val"], "--out"), ([], "want a folder"), ([tmp + "/m", "--split", "all", "--out", "x.h5"], "val|test"),
        ([tmp + "/m", "--split", "test", "--out", tmp + "/x.txt"], "want .h5"), ([tmp + "/m", "--splitt", "val"], "did you mean --split"),
        ([tmp + "/m", "--split"], "wants a value"),
    ):
        _, _, err = flowrun("assemble", *args, want=2)
        holds(why in err, err)


# ---- as a source ----

def graph(tmp, source, sink, decode=None):
    stages = {"tiles": {"stage": "predictions", "options": source}}
    if decode is not None:
        stages["decode_f2"] = {"from": "tiles", "options": decode}
    stages["sink"] = {"from": "decode_f2" if decode is not None else "tiles", "options": sink}
    return flow.write_graph(tmp + "/graph.yaml", stages)


def from_file_to_submission(tmp):
    p = values(300)
    own(tmp + "/a.h5", ids(300), p)
    with open(tmp + "/truth.csv", "w") as f:
        f.write("image_name,tags\n" + "".join("train_%d,clear primary\n" % i for i in range(300)))
    g = graph(tmp, {"files": tmp + "/a.h5", "batch": 64, "labels": tmp + "/truth.csv"},
              {"submission": tmp + "/s.csv", "probabilities": tmp + "/p.h5", "about": {"model": "a", "fold": 2, "split": "val", "n_views": 8}}, {"method": "threshold"})
    flowrun(g, "--run", tmp + "/run", "-q")
    names, got, attrs = read(tmp + "/p.h5")
    order = np.argsort(ids(300))
    same((names, got.tobytes()), (sorted(ids(300)), p[order].tobytes()), "probabilities")
    same((attrs["model"].decode(), int(attrs["fold"]), int(attrs["n_views"]), int(attrs["seed"])), ("a", 2, 8, 42), "about")
    rows = dict(line.split(",") for line in flow.slurp(tmp + "/s.csv").decode().splitlines()[1:])
    for i in range(300):
        same(rows["train_%d" % i], " ".join(n for n, v in zip(NAMES, p[i]) if v > 0.2), "train_%d" % i)


def what_the_check_of_a_graph_finds(tmp):
    own(tmp + "/a.h5", ids(5), values(5))
    own(tmp + "/b.h5", ids(5), values(5, 2))
    for source, sink, decode, why in (
        ({"files": tmp + "/absent.h5"}, {}, {}, "No such file"),
        ({"files": tmp + "/a.h5"}, {"submission": tmp + "/s.csv"}, None, "no tensor pred arrives, which its options ask for"),
        ({"files": tmp + "/a.h5"}, {"truth": flow.LABELS}, None, "no tensor pred arrives, which its options ask for"),
        ({"files": [tmp + "/a.h5", tmp + "/b.h5"]}, {}, {}, "no tensor prob arrives"),
        ({"files": [tmp + "/a.h5", tmp + "/b.h5"]}, {"probabilities": tmp + "/p.csv"}, None, "no tensor prob arrives, which its options ask for"),
        ({"files": tmp + "/a.h5"}, {"probabilities": tmp + "/p.csv", "about": {"fold": 1}}, {}, "want probabilities: NAME.h5"),
        ({"files": tmp + "/a.h5"}, {"probabilities": tmp + "/p.h5", "about": {"fould": 1}}, {}, "did you mean fold"),
        ({"files": tmp + "/a.h5", "labels": flow.LABELS}, {}, {}, "no row for the tile train_0"),
        ({"files": tmp + "/a.h5", "split": "val", "folds": folds(tmp, 300, 300)}, {}, {}, "fold 299, want numbers from 0 to 254"),
    ):
        g = graph(tmp, source, sink, decode)
        _, _, err = flowrun("check", g, want=2)
        holds(why in err, "%s in %s" % (why, err))


def models_must_have_the_same_tiles(tmp):
    own(tmp + "/a.h5", ids(5), values(5))
    own(tmp + "/b.h5", ids(6), values(6, 2))
    g = flow.write_graph(tmp + "/g.yaml", {"tiles": {"stage": "predictions", "options": {"files": tmp + "/[ab].h5"}}, "sink": {"from": "tiles"}})
    _, _, err = flowrun(g, "--run", tmp + "/run", "-q", want=1)
    holds("train_5 is in %s/b.h5, but not in" % tmp in err, err)


def many_models_are_stacked(tmp):
    p = [values(30, 1), values(30, 2), values(30, 3)]
    for name, v in zip("abc", p):
        own(tmp + "/%s.h5" % name, ids(30), v)
    stages = {"tiles": {"stage": "predictions", "options": {"files": [tmp + "/[ab].h5", tmp + "/c.h5"], "batch": 7}}, "stack": {"from": "tiles"},
              "sink": {"from": "stack", "options": {"probabilities": tmp + "/p.h5"}}}
    flowrun(flow.write_graph(tmp + "/g.yaml", stages), "--run", tmp + "/run", "-q")
    _, got, _ = read(tmp + "/p.h5")
    want = np.clip(np.stack(p).astype("f8"), 1e-7, 1 - 1e-7).mean(0)[np.argsort(ids(30))]
    holds(np.abs(got - want).max() < 1e-7, "the mean of three")
    stages["tiles"] = {"stage": "source", "options": {"files": flow.TILES}}
    _, _, err = flowrun("check", flow.write_graph(tmp + "/g.yaml", stages), want=2)
    holds("no tensor prob or models arrives" in err, err)


def a_run_goes_on_with_the_same_predictions_only(tmp):
    p = values(20)
    own(tmp + "/a.h5", ids(20), p)
    g = graph(tmp, {"files": tmp + "/a.h5"}, {"probabilities": tmp + "/p.npy"})
    flowrun(g, "--run", tmp + "/run", "-q")
    flowrun("--resume", tmp + "/run", "-q")
    p[3, 3] = 0.25
    own(tmp + "/a.h5", ids(20), p)
    _, _, err = flowrun("--resume", tmp + "/run", "-q", want=None)
    holds("other tiles" in err, err)


if __name__ == "__main__":
    sys.exit(flow.run_cases([
        what_pandas_writes_is_read, what_pandas_writes_in_other_ways_is_refused, what_h5py_writes_is_read, no_form_hides_a_bad_row, what_lies_elsewhere_is_not_read,
        others_read_what_is_written, out_of_fold, leaks_are_refused, averaged, arguments_of_assemble, from_file_to_submission,
        what_the_check_of_a_graph_finds, models_must_have_the_same_tiles, many_models_are_stacked, a_run_goes_on_with_the_same_predictions_only,
    ]))
