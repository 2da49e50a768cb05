"""The safetensors format: a length, a JSON table of tensors, their bytes.

Reads and checks the table alone; the bytes are copied from the file to the device without being
unpacked first. Standard library only.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from rekindle.exception import GpuError

#: As the format's own library has it.
MAX_HEADER_BYTES = 100_000_000

#: Of each type: bytes of an element, and torch's name for it.
TYPES = {
    "BOOL": (1, "bool"),
    "U8": (1, "uint8"),
    "I8": (1, "int8"),
    "F8_E5M2": (1, "float8_e5m2"),
    "F8_E4M3": (1, "float8_e4m3fn"),
    "F8_E8M0": (1, "float8_e8m0fnu"),
    "I16": (2, "int16"),
    "U16": (2, "uint16"),
    "F16": (2, "float16"),
    "BF16": (2, "bfloat16"),
    "I32": (4, "int32"),
    "U32": (4, "uint32"),
    "F32": (4, "float32"),
    "I64": (8, "int64"),
    "U64": (8, "uint64"),
    "F64": (8, "float64"),
    "C64": (8, "complex64"),
}


@dataclass(frozen=True)
class Stored:
    """One tensor in a file: where its bytes are."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int  # in the file
    size: int  # bytes


def read_table(fd: int) -> list[Stored]:
    """The tensors of an open file, in the order of their bytes.

    Raises GpuError for what is no such file, or a truncated one.
    """
    path, whole = os.readlink(f"/proc/self/fd/{fd}"), os.fstat(fd).st_size
    head = os.pread(fd, 8, 0)
    length = int.from_bytes(head, "little")
    if len(head) < 8 or length > min(MAX_HEADER_BYTES, whole - 8):
        raise GpuError(f"{path} is no safetensors file, or is truncated")
    try:
        table = json.loads(os.pread(fd, length, 8))
        found = [
            _stored(name, entry, 8 + length)
            for name, entry in table.items()
            if name != "__metadata__"
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise GpuError(f"{path}: the table of its tensors cannot be read: {error}") from error
    found.sort(key=lambda one: one.offset)
    end = 8 + length
    for one in found:
        if one.offset < end or one.offset + one.size > whole:
            raise GpuError(
                f"{path}: tensor {one.name!r} is at {one.offset}, {one.size} bytes, in a file of "
                f"{whole}: it is truncated or damaged"
            )
        end = one.offset + one.size
    return found


def _stored(name: str, entry: dict[str, Any], data: int) -> Stored:
    dtype, shape = str(entry["dtype"]), entry["shape"]
    first, last = (int(at) for at in entry["data_offsets"])
    if dtype not in TYPES:
        raise ValueError(f"tensor {name!r} is of a type that is not known: {dtype}")
    if not isinstance(shape, list) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError(f"tensor {name!r} has the shape {shape!r}")
    count = 1
    for one in shape:
        count *= one
    if not 0 <= first <= last or last - first != count * TYPES[dtype][0]:
        raise ValueError(f"tensor {name!r}: {last - first} bytes for {count} elements of {dtype}")
    return Stored(name, dtype, tuple(shape), data + first, last - first)
