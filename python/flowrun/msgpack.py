"""MessagePack as flowrun's headers and control messages use it: bounded, nothing but the standard library.

Reading never trusts a count: what is claimed must be there. Extension types are refused, and so is what stands behind the end.
"""
import struct
from typing import Any

MOST = 4096          # bytes of a message
DEPTH = 4            # maps and lists within each other


class MessageError(ValueError):
    """Bytes that are no message of flowrun's."""


_UINT = {0xCC: ("B", 1), 0xCD: (">H", 2), 0xCE: (">I", 4), 0xCF: (">Q", 8), 0xD0: ("b", 1), 0xD1: (">h", 2), 0xD2: (">i", 4), 0xD3: (">q", 8),
         0xCA: (">f", 4), 0xCB: (">d", 8)}
_LENGTH = {0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC4: 1, 0xC5: 2, 0xC6: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}


class Reader:
    """Takes values off the front of `data`."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def _take(self, n: int) -> bytes:
        at, self.at = self.at, self.at + n
        if self.at > len(self.data):
            raise MessageError("the message ends too early")
        return self.data[at:self.at]

    def _text(self, n: int, binary: bool) -> Any:
        raw = self._take(n)
        if binary:
            return raw
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise MessageError("a text that is not UTF-8") from None

    def value(self, depth: int = DEPTH) -> Any:
        code = self._take(1)[0]
        if code < 0x80:
            return code
        if code >= 0xE0:
            return code - 0x100
        if code in _UINT:
            form, n = _UINT[code]
            return struct.unpack(form, self._take(n))[0]
        if code in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[code]
        if 0xA0 <= code < 0xC0:
            return self._text(code & 31, False)
        if code in _LENGTH or code < 0xA0:
            n = int.from_bytes(self._take(_LENGTH[code]), "big") if code in _LENGTH else code & 15
            if code in (0xD9, 0xDA, 0xDB, 0xC4, 0xC5, 0xC6):
                return self._text(n, code < 0xD0)
            if depth == 0 or n > len(self.data) - self.at:
                raise MessageError("more within each other, or more members, than there can be")
            if code < 0x90 or code in (0xDE, 0xDF):
                return self._map(n, depth - 1)
            return [self.value(depth - 1) for _ in range(n)]
        raise MessageError(f"a value of code {code:#x}")

    def _map(self, n: int, depth: int) -> dict[Any, Any]:
        out: dict[Any, Any] = {}
        for _ in range(n):
            key = self.value(0)
            if isinstance(key, (list, dict)) or key in out:
                raise MessageError(f"the key {key!r} comes twice, or is none")
            out[key] = self.value(depth)
        return out

    def map_size(self) -> int:
        """The head of a map, for who reads its members by hand."""
        code = self._take(1)[0]
        if 0x80 <= code < 0x90:
            return code & 15
        if code not in (0xDE, 0xDF):
            raise MessageError("no map")
        return int.from_bytes(self._take(_LENGTH[code]), "big")


def unpack(data: bytes) -> Any:
    if len(data) > MOST:
        raise MessageError(f"a message of {len(data)} bytes, at most {MOST}")
    r = Reader(data)
    v = r.value()
    if r.at != len(data):
        raise MessageError("something stands behind the message")
    return v


def pack(v: Any) -> bytes:
    """None, booleans, integers, floats, texts, bytes, lists and maps of these."""
    if v is None or isinstance(v, bool):
        return b"\xc0" if v is None else b"\xc3" if v else b"\xc2"
    if isinstance(v, int):
        if 0 <= v < 128 or -32 <= v < 0:
            return struct.pack("b" if v < 0 else "B", v)
        return struct.pack(">Bq", 0xD3, v) if v < 0 else struct.pack(">BQ", 0xCF, v)
    if isinstance(v, float):
        return struct.pack(">Bd", 0xCB, v)
    if isinstance(v, (str, bytes)):
        raw = v.encode() if isinstance(v, str) else v
        if isinstance(v, str) and len(raw) < 32:
            return bytes([0xA0 | len(raw)]) + raw
        return struct.pack(">BH", 0xDA if isinstance(v, str) else 0xC5, len(raw)) + raw
    if isinstance(v, (list, tuple)):
        return struct.pack(">BH", 0xDC, len(v)) + b"".join(map(pack, v))
    if isinstance(v, dict):
        return struct.pack(">BH", 0xDE, len(v)) + b"".join(pack(k) + pack(x) for k, x in v.items())
    raise TypeError(f"{type(v).__name__} can't be packed")
