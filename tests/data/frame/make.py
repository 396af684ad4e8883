#!/usr/bin/python3
"""Makes the byte vectors beside this file with msgpack-python, which shares no code with what they test.

tests/proto/test_frame.c and test_control.c know the values written here; ok_* must be read (and, but for ok_loose*,
be what the C side writes, byte for byte), bad_* refused with the text the tests name."""
import os
import struct
import sys

import msgpack

HERE = os.path.dirname(os.path.abspath(__file__))


def header(**changes):
    h = {
        "v": 1, "run": 0x0123456789ABCDEF, "batch": 70000, "attempt": 1, "slot": 3, "gen": 200, "n": 64, "crit": 0,
        "t": [
            ["id", "u8", [64, 64], 0, 0, 4096],
            ["image", "f32", [64, 8, 3, 224, 224], 2, 4096, 308281344],
            ["probs", "f64", [], -1, 1, 8],
        ],
    }
    h.update(changes)
    return h


def without(key):
    h = header()
    del h[key]
    return h


def tensor(*t):
    return header(t=[list(t)])


FULL = {
    "v": 1, "run": 2**64 - 1, "batch": 2**64 - 1, "attempt": 2**32 - 1, "slot": 2**32 - 1, "gen": 2**32 - 1, "n": 2**32 - 1, "crit": 0,
    "t": [["a" * 31, "bf16", [1, 2, 3, 4, 5, 6], 2**31 - 1, 2**64 - 2048, 1440]]
         + [["t%d" % i, "u16", [i], -1, i, 2 * i] for i in range(1, 48)],
}


def u32(code, n):
    return bytes([code]) + struct.pack(">I", n)


def deep(n):
    return b"\x91" * n + b"\x00"


FILES = {
    "ok_batch": header(),
    "ok_empty": {"v": 1, "run": 0, "batch": 0, "attempt": 0, "slot": 0, "gen": 0, "n": 0, "crit": 0, "t": []},
    "ok_full": FULL,
    # other order, unknown keys of every kind, among them maps and arrays to skip
    "ok_loose": {"x": [1, [2, {"y": None}]], **dict(reversed(list(header().items()))), "z": {"v": 9, "w": b"\0" * 300}, "f": 1.5, "b": True},
    "ok_probe": header(crit=1, probe=17),
    "bad_probe": header(probe=17),
    "bad_probe_none": header(crit=1),
    "bad_version": header(v=2),
    "bad_crit": header(crit=4),
    "bad_shape": tensor("id", "u8", [64, 64], 0, 0, 4095),
    "bad_overflow": tensor("id", "f64", [2**31, 2**31, 2**31], 0, 0, 0),
    "bad_dtype": tensor("id", "f8", [1], 0, 0, 1),
    "bad_dims": tensor("id", "u8", [1] * 7, 0, 0, 1),
    "bad_dim": tensor("id", "u8", [-1], 0, 0, 1),
    "bad_place": tensor("id", "u8", [1], -2, 0, 1),
    "bad_align": tensor("id", "u8", [1], 0, 1, 1),
    "bad_end": tensor("id", "u8", [65], 0, 2**64 - 64, 65),
    "bad_inline": tensor("id", "u8", [1], -1, 1000, 1),
    "bad_name": tensor("n" * 32, "u8", [1], 0, 0, 1),
    "bad_noname": tensor("", "u8", [1], 0, 0, 1),
    "bad_nul": tensor("a\0b", "u8", [1], 0, 0, 1),
    "bad_five": tensor("id", "u8", [1], 0, 0),
    "bad_many": header(t=[["a", "u8", [], 0, 0, 1]] * 300),
    "bad_slot": header(slot=2**32),
    "bad_negative": header(batch=-1),
    "bad_float": header(n=64.0),
    "bad_text": header(n="64"),
    "bad_key": {**header(), 7: 7},
    "bad_array": [1, 2],
    "control_ready": {"type": "ready"},
    "control_ack": {"type": "ack", "batch": 70000, "attempt": 2, "slot": 3, "gen": 9, "predicted": 60, "rejected": 4},
    "control_result": {"type": "result", "batches": 2**64 - 1, "tiles": 10**12, "code": 8, "name": "f2", "value": 0.93125, "text": "\u00e9t\u00e9"},
    "control_loose": {"new": {"a": [1]}, "value": 3, "type": "result", "tiles": 5},
    "control_bad_none": {"batch": 1},
    "control_bad_type": {"type": "t" * 16},
    "control_bad_text": {"type": "fail", "text": "x" * 600},
    "control_bad_u32": {"type": "ack", "attempt": 2**32},
    "control_bad_kind": {"type": "ack", "batch": "1"},
    "control_bad_value": {"type": "ack", "value": "1"},
    "control_bad_key": {1: "type"},
}
for key in header():
    FILES["bad_no_" + key] = without(key)

RAW = {
    # five bytes that ask for 4 G elements, and kin
    "bad_claim_array": u32(0xDD, 0xFFFFFFFF),
    "bad_claim_map": u32(0xDF, 0xFFFFFFFF),
    "bad_claim_str": u32(0xDB, 0xFFFFFFFF),
    "bad_claim_bin": u32(0xC6, 0xFFFFFFFF),
    "bad_claim_16m": u32(0xDD, 0x00FFFFFF),
    "bad_claim_within": b"\x81\xa1t" + u32(0xDD, 0xFFFFFFFF),
    "bad_deep": deep(5),
    "bad_deeper": deep(4000),
    "bad_ext": b"\x81\xa1x" + msgpack.packb(msgpack.ExtType(5, b"abcd")),
    "bad_code": b"\x81\xa1x\xc1",
    "bad_trailing": msgpack.packb(header()) + b"\xc0",
    "bad_twice": b"\x8a" + msgpack.packb(header())[1:] + msgpack.packb("v") + b"\x01",
    "bad_long": b"\xda\x10\x00" + b"x" * 4096,
    "bad_none": b"",
    # the same batch with the widest encoding of every number and length
    "ok_loose_wide": u32(0xDF, 9) + b"".join(
        u32(0xDB, len(k)) + k.encode() + (b"\xcf" + struct.pack(">Q", v) if k != "t" else u32(0xDD, 3) + b"".join(
            u32(0xDD, 6) + u32(0xDB, len(t[0])) + t[0].encode() + u32(0xDB, len(t[1])) + t[1].encode()
            + u32(0xDD, len(t[2])) + b"".join(b"\xd3" + struct.pack(">q", d) for d in t[2])
            + b"\xd3" + struct.pack(">q", t[3]) + b"\xcf" + struct.pack(">Q", t[4]) + b"\xd3" + struct.pack(">q", t[5])
            for t in v))
        for k, v in header().items()),
    "control_bad_twice": b"\x82" + (msgpack.packb("type") + msgpack.packb("ack")) * 2,
    "control_bad_nul": b"\x81" + msgpack.packb("type") + msgpack.packb("a\0"),
    "control_bad_claim": u32(0xDD, 0xFFFFFFFF),
    "control_loose_f32": b"\x82" + msgpack.packb("type") + msgpack.packb("result") + msgpack.packb("value") + b"\xca" + struct.pack(">f", 0.5),
}


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else HERE
    for name, value in FILES.items():
        RAW[name] = msgpack.packb(value, use_bin_type=True)
    for name, data in RAW.items():
        with open(os.path.join(out, name + ".bin"), "wb") as f:
            f.write(data)


if __name__ == "__main__":
    main()
