#!/usr/bin/python3
"""msgpack-python reads the headers and control messages that the C side writes. Argument: the build folder."""
import os
import subprocess
import sys
import tempfile

import msgpack

sys.path.insert(0, "tests/data/frame")
sys.dont_write_bytecode = True
import make  # noqa: E402  (the values both sides know)

sys.path.insert(0, "python")
from flowrun.header import Parser  # noqa: E402
from flowrun.msgpack import MessageError  # noqa: E402

passed = failed = 0


def check(name, got, want):
    global passed, failed
    if got == want:
        print("ok", name)
        passed += 1
    else:
        print("FAIL %s: got %r, want %r" % (name, got, want))
        failed += 1


def written_by(build, program, case):
    with tempfile.TemporaryDirectory() as to:
        subprocess.run([os.path.join(build, "tests/proto", program), case], check=True, stdout=subprocess.DEVNULL,
                       env=dict(os.environ, FL_WRITE_TO=to))
        out = []
        for name in sorted(os.listdir(to)):
            with open(os.path.join(to, name), "rb") as f:
                out.append(msgpack.unpackb(f.read(), raw=False, strict_map_key=True))
        return out


def read_by_the_package(name):
    """What the Python package makes of a committed vector: the numbers and the names of the tensors, or None for a refusal."""
    with open(os.path.join(make.HERE, name), "rb") as f:
        data = f.read()
    try:
        h = Parser().parse(data)
    except MessageError:
        return None
    return [h.run, h.batch, h.attempt, h.slot, h.gen, h.n, [[t.name, t.dtype, list(t.shape), t.place, t.off, t.bytes] for t in h.tensors.values()]]


def package():
    """The package reads and refuses what the C side does, but for tests of tiles, which never come to a trainer."""
    of = lambda h: [h[k] for k in ("run", "batch", "attempt", "slot", "gen", "n", "t")]      # noqa: E731
    many = make.header(t=[["t%d" % i, "u8", [], -1, i, 1] for i in range(200)])
    wants = {"ok_batch": make.header(), "ok_empty": make.FILES["ok_empty"], "ok_full": make.FULL, "ok_loose": make.header(), "ok_loose_wide": make.header(), "ok_probe": None}
    for name in sorted(n[:-4] for n in os.listdir(make.HERE) if n.endswith(".bin") and n.startswith(("ok_", "bad_"))):
        want = of(wants[name]) if wants.get(name) else None
        got = read_by_the_package(name + ".bin")
        if got != want:
            check("package: " + name, got, want)
    h = Parser().parse(msgpack.packb(many))
    check("package: 200 tensors", len(h.tensors), 200)


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    headers = written_by(build, "test_frame", "writes_for_other_readers")
    check("headers_written", len(headers), 2)
    check("a_plain_header", headers[0], make.header())
    check("a_full_header", headers[1], make.FULL)
    check("keys_in_order", [list(h) for h in headers], [list(make.header())] * 2)
    messages = written_by(build, "test_control", "writes_for_other_readers")
    check("control_messages", messages, [make.FILES["control_" + n] for n in ("ready", "ack", "result")])

    package()

    # The committed vectors are what make.py makes today.
    with tempfile.TemporaryDirectory() as to:
        subprocess.run([sys.executable, "-B", "tests/data/frame/make.py", to], check=True)
        names = sorted(os.listdir(to))
        check("same_vectors", sorted(n for n in os.listdir(make.HERE) if n.endswith(".bin")), names)
        for name in names:
            with open(os.path.join(to, name), "rb") as a, open(os.path.join(make.HERE, name), "rb") as b:
                if a.read() != b.read():
                    check(name, "another content", "as made")
    print("%d passed, %d failed" % (passed, failed))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
