"""Finished inputs on their way from a runner to its agent: one record after another.

A runner keeps them in its page and sends many in one frame. Standard library only: runners import
this. Knows nothing of results as the controller sees them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple

_HEAD = struct.Struct("=iBxxxqqqI")  # number, ending, three times, bytes of data
_LENGTH = struct.Struct("=I")
HEAD_BYTES = _HEAD.size


class Ending(IntEnum):
    """How an input ended in its runner."""

    RETURNED = 1
    RAISED = 2
    CANCELLED = 3


class Finished(NamedTuple):
    """One record. Times are CLOCK_REALTIME in nanoseconds."""

    number: int  # the input's index in its call
    ending: int
    began_ns: int
    loaded_ns: int  # its arguments were there
    ended_ns: int
    data: bytes  # the pickled value, or what ``failure`` made


#: Everything of a record but its data: takes the fields of ``Finished``, with the size of ``data``.
head = _HEAD.pack


def read(records: bytes) -> Iterator[Finished]:
    """The records of a frame or of a page."""
    at, total = 0, len(records)
    while at < total:
        number, ending, began_ns, loaded_ns, ended_ns, size = _HEAD.unpack_from(records, at)
        start = at + HEAD_BYTES
        at = start + size
        yield Finished(number, ending, began_ns, loaded_ns, ended_ns, records[start:at])


def failure(description: dict[str, Any], data: bytes) -> bytes:
    """The data of an input that raised: a description in JSON, and the pickled exception."""
    raw = json.dumps(description, separators=(",", ":")).encode()
    return b"".join((_LENGTH.pack(len(raw)), raw, data))


def read_failure(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The inverse of ``failure``."""
    end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    description: dict[str, Any] = json.loads(data[_LENGTH.size : end])
    return description, data[end:]
