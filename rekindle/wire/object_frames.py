"""Frames between a program and the controller about Dict and Queue: a socket, requests, replies.

The way of one operation is one frame there and one back, so it is kept short: fixed headers, and
lists of bytes that no one between the program and Redis takes apart. A reply names the slot of its
request, so many may be on their way at once. Standard library only: runners load this.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from itertools import accumulate, chain, pairwise, repeat
from struct import Struct, unpack_from
from typing import NamedTuple

from rekindle import exception
from rekindle.wire.error_names import public_name
from rekindle.wire.version import PROTOCOL

#: The first bytes of a connection, so that what speaks another language is told so.
GREETING = b"rekindle-objects %d\n" % PROTOCOL
#: Length of what follows, slot, number, op, flags, seconds to wait (below 0: for ever), count,
#: object id, length of the partition; then partition and body.
_REQUEST = Struct("!IIQBBdI25sH")
#: Length of what follows, slot, status; then the body.
_REPLY = Struct("!IIB")
_SIZE = Struct("!I")
REPLY_HEAD_BYTES = _REPLY.size
SESSION_BYTES = 16
#: The largest value of a Dict.
MAX_VALUE_BYTES = 100 << 20
#: The largest frame: one such value with its key.
MAX_FRAME_BYTES = MAX_VALUE_BYTES + (1 << 20)
#: A request is sent with about so much at most, where it can be divided.
PART_BYTES = 8 << 20
#: The same in entries or items.
PART_COUNT = 5000

#: It was sent before, and its answer did not arrive.
AGAIN = 1
#: What it means depends on the op: keep what is there, keys alone, all partitions, may be missing.
OPTION = 2
#: The page behind this one is asked for next, so it may be asked of Redis already.
AHEAD = 4


class Op(IntEnum):
    """What is asked for."""

    HELLO = 0
    DICT_GET = 1
    DICT_PUT = 2
    DICT_POP = 3
    DICT_LEN = 4
    DICT_CLEAR = 5
    DICT_SCAN = 6
    QUEUE_PUT = 16
    QUEUE_GET = 17
    QUEUE_LEN = 18
    QUEUE_CLEAR = 19
    QUEUE_PEEK = 20
    #: Items that were taken for one who no longer wants them, back to the front, by who took them
    #: in the slot that ``quantity`` says; without a body those that its get of this number took.
    QUEUE_RETURN = 21
    #: Bodies of these are JSON.
    CREATE = 32
    LOOKUP = 33
    LIST = 34
    DELETE = 35
    #: Keep an ephemeral object as long as this connection is there.
    HOLD = 36
    #: Whoever made the request of this slot no longer waits; it is answered all the same.
    CANCEL = 37


class Status(IntEnum):
    """How it ended."""

    DONE = 0
    #: The body is the name of an exception of rekindle, NUL, and its text.
    ERROR = 1
    #: There was nothing within the time to wait.
    EMPTY = 2
    #: There was no room within the time to wait.
    FULL = 3


class Request(NamedTuple):
    """One operation."""

    op: int
    body: bytes = b""
    object_id: bytes = b""  # of one that came
    partition: bytes = b""
    flags: int = 0
    #: How many are wanted, or seconds that a partition stays.
    quantity: int = 0
    wait_s: float = 0.0
    #: In place of a body, of which it is made where that is needed.
    parts: list[bytes] | None = None

    def packed(self) -> bytes:
        """The body."""
        return self.body if self.parts is None else pack_list(self.parts)

    def pack(self, object_id: bytes, slot: int, number: int) -> bytes:
        """The frame, about an object. ``number``: of this request among those of its slot."""
        body = self.packed()
        size = _REQUEST.size - 4 + len(self.partition) + len(body)
        head = _REQUEST.pack(
            *(size, slot, number, self.op, self.flags, self.wait_s, self.quantity),
            *(object_id, len(self.partition)),
        )
        return b"".join((head, self.partition, body))


class Reply(NamedTuple):
    """What came back; never an error."""

    status: int
    body: bytes
    #: In place of a body, of a list that Redis gave itself.
    parts: list[bytes] | None = None


def frame_bytes(buffer: bytes | bytearray, at: int = 0) -> int:
    """How long the frame at ``at`` is; 0 while that cannot be told."""
    if len(buffer) - at < 4:
        return 0
    return int(_SIZE.unpack_from(buffer, at)[0]) + 4


def parse_request(frame: bytes) -> tuple[int, bytes, Request]:
    """Slot, number (as it came) and request of a whole frame. Raises ValueError."""
    if len(frame) < _REQUEST.size:
        raise ValueError("a frame is too short")
    _size, slot, _number, op, flags, wait_s, count, object_id, length = _REQUEST.unpack_from(frame)
    at = _REQUEST.size + length
    if at > len(frame):
        raise ValueError("a frame is shorter than its partition")
    partition = frame[_REQUEST.size : at]
    return slot, frame[8:16], Request(op, frame[at:], object_id, partition, flags, count, wait_s)


def pack_reply(slot: int, status: int, body: bytes = b"") -> bytes:
    """The frame of a reply."""
    return _REPLY.pack(_REPLY.size - 4 + len(body), slot, status) + body


def parse_reply(frame: bytes | bytearray | memoryview) -> tuple[int, Reply]:
    """Slot and reply of a whole frame. Raises what an error reply carries."""
    _size, slot, status = _REPLY.unpack_from(frame)
    return slot, Reply(status, bytes(frame[REPLY_HEAD_BYTES:]))


def result_of(reply: Reply) -> Reply:
    """The same reply. Raises what it carries where it is an error."""
    if reply.status == Status.ERROR:
        name, _, text = reply.body.decode(errors="replace").partition("\0")
        kind = getattr(exception, name, exception.ServiceError)
        raise kind(text)
    return reply


def pack_error(slot: int, error: exception.Error) -> bytes:
    """A reply that raises ``error`` at the other end."""
    return pack_reply(slot, Status.ERROR, f"{public_name(error)}\0{error}".encode())


# ---- lists of bytes ----------------------------------------------------------------------------

_COUNT = Struct(">BI").pack


def pack_list(parts: Sequence[bytes]) -> bytes:
    """A list, as the scripts on Redis read it: MessagePack, an array of strings."""
    heads = map(_COUNT, repeat(0xDB), map(len, parts))
    return _COUNT(0xDD, len(parts)) + b"".join(chain.from_iterable(zip(heads, parts, strict=True)))


def unpack_list(data: bytes, at: int = 0) -> list[bytes]:
    """A list, as those scripts write it: how many, how long each is, then all of them."""
    (count,) = _SIZE.unpack_from(data, at)
    at += 4 + 4 * count
    ends = list(accumulate(unpack_from(f">{count}I", data, at - 4 * count), initial=at))
    return [data[begin:end] for begin, end in pairwise(ends)]
