"""How protobuf writes fields: numbers of variable length, tags, scalars. Standard library only.

Knows no message; plain_messages.py has these.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_OF_KINDS = {"double": FIXED64, "string": BYTES, "bytes": BYTES, "message": BYTES, "map": BYTES}
_DOUBLE = struct.Struct("<d")
_ALL_BITS = (1 << 64) - 1


def wire_of(kind: str) -> int:
    """The type on the wire of a kind of field."""
    return _OF_KINDS.get(kind, VARINT)


def varint(value: int) -> bytes:
    """A number; the fewer bytes the smaller it is."""
    made = bytearray()
    value &= _ALL_BITS
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def put_tag(made: bytearray, number: int, wire: int) -> None:
    """Write what stands before a field."""
    made += varint(number << 3 | wire)


def scalar(kind: str, value: Any) -> bytes:
    """A value that is no bytes."""
    if kind == "double":
        return _DOUBLE.pack(value)
    if kind == "sint32":
        return varint(value << 1 if value >= 0 else (-value << 1) - 1)
    return varint(int(value))


def fields_in(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Number, type on the wire, and what is there: an int, or bytes. Raises ValueError."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _read_varint(data, at)
            yield number, wire, value
            continue
        if wire == BYTES:
            size, at = _read_varint(data, at)
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"no message: type {wire}")
        if at + size > len(data):
            raise ValueError("no message: it is cut short")
        yield number, wire, bytes(data[at : at + size])
        at += size


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("no message: it is cut short")


def value_of(kind: str, raw: Any) -> Any:
    """A scalar, from what is on the wire."""
    if kind == "string":
        return raw.decode()
    if kind == "bytes":
        return raw
    if kind == "double":
        return _DOUBLE.unpack(raw)[0]
    if kind == "bool":
        return bool(raw)
    if kind == "sint32":
        return raw >> 1 if not raw & 1 else -((raw + 1) >> 1)
    if kind.startswith("uint"):
        return raw
    return raw - (1 << 64) if raw >> 63 else raw


def unpacked(kind: str, raw: bytes) -> Iterator[Any]:
    """Many scalars that stand together. Raises ValueError."""
    if kind == "double":
        if len(raw) % _DOUBLE.size:
            raise ValueError("no message: it is cut short")
        yield from (one[0] for one in _DOUBLE.iter_unpack(raw))
        return
    data, at = memoryview(raw), 0
    while at < len(data):
        value, at = _read_varint(data, at)
        yield value_of(kind, value)
