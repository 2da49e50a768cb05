"""The frames of direct calls: a client and the runner that it leases, over a connected socket.

Small and of fixed shape, since making and reading them is most of what a small call costs. Values
travel inline or by a memory file (wire/shared.py) whose descriptor rides along. Every frame says
which memory files of the other end are no longer seen here (wire/reuse.py). Standard library only:
runners import this. Both ends block; one call at a time is on its way.
"""

from __future__ import annotations

import array
import os
import select
import socket
import struct
import sys
from collections import deque
from dataclasses import dataclass

from rekindle.wire.shared import Packed

#: Length of what follows, flags, numbers of memory files, length of the call id, of the method.
_CALL = struct.Struct("=IBBBH")
#: Length of what follows, status, flags, numbers of memory files; when the call arrived, was
#: unpickled, had run.
REPLY = struct.Struct("=IBBBqqq")
_NUMBER = struct.Struct("=Q")
#: More of them than a peer can keep; the rest goes with the next frame.
_NUMBERS = 64
#: In the number of memory files of a call: its items are wanted one by one (direct_stream.py).
_STREAM = 0x80

#: What a client reads once its connection is its runner's.
WELCOME = b"+"

#: Flags of a call. Those above SHARED are its depth (execution/nesting.py).
SHARED = 1  # its value is in the memory file whose descriptor rides along
_DEPTH_SHIFT = 1
#: Flag of a reply, next to SHARED.
PRINTED = 2  # something was printed: a mark in the log says when all of it has come

#: Statuses of a reply. The last two come before it, of a call whose items are wanted one by one.
OK, FAILED, CANCELLED, ITEM, CREDIT = 0, 1, 2, 3, 4

_READ_BYTES = 1 << 16
_FD_SPACE = socket.CMSG_SPACE(4)
#: Numbers: an enum's ``|`` takes as long as the system call.
#: Do not wait for what is not there.
DONTWAIT = int(socket.MSG_DONTWAIT)
_NO_SIGNAL, _CLOEXEC = int(socket.MSG_NOSIGNAL), int(socket.MSG_CMSG_CLOEXEC)
_ORDER = sys.byteorder


@dataclass(slots=True)
class CallFrame:
    """A call as a runner receives it."""

    call_id: str
    method: str
    gone: tuple[int, ...]
    data: memoryview
    fd: int
    #: How many calls it was made inside of.
    depth: int = 0
    #: Whether its items are wanted one by one.
    stream: bool = False


@dataclass(slots=True)
class ReplyFrame:
    """A runner's answer; times on CLOCK_REALTIME. Its descriptor is whose ``take_fd`` got it."""

    status: int
    printed: bool
    received_ns: int
    loaded_ns: int
    executed_ns: int
    gone: tuple[int, ...]
    data: memoryview
    fd: int

    def take_fd(self) -> int:
        """The descriptor, or -1; it is the caller's to close."""
        fd, self.fd = self.fd, -1
        return fd

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)  # an interrupt came before it was taken


def send_call(
    sock: socket.socket,
    call_id: str,
    method: str,
    packed: Packed,
    gone: deque[int] | None = None,
    depth: int = 0,
    *,
    stream: bool = False,
) -> None:
    """Send a call. Raises OSError when not all of it was accepted: then it will not run.

    ``gone``: memory files of the runner that are no longer seen here; what is sent is taken out.
    """
    _send(sock, call_frame(call_id, method, packed, gone, depth, stream=stream), packed)


def call_frame(
    call_id: str,
    method: str,
    packed: Packed,
    gone: deque[int] | None = None,
    depth: int = 0,
    *,
    stream: bool = False,
) -> bytes:
    """The bytes of a call; the descriptor of its value, where it has one, is to go with them."""
    raw_id, raw_method = call_id.encode(), method.encode()
    flags = depth << _DEPTH_SHIFT | (0 if packed.file is None else SHARED)
    count, numbers = _take_numbers(gone) if gone else (0, b"")
    data = packed.data
    size = len(numbers) + len(raw_id) + len(raw_method) + len(data)
    counts = count | _STREAM if stream else count
    head = _CALL.pack(size, flags, counts, len(raw_id), len(raw_method))
    return head + numbers + raw_id + raw_method + data


def receive_call(sock: socket.socket) -> CallFrame | None:
    """The next call; None when the client is done, or a call was cut short. Raises OSError."""
    got = _receive(sock, _CALL.size)
    return None if got is None else parse_call(*got)


def parse_call(data: bytes | bytearray, fd: int) -> CallFrame:
    """A whole call frame."""
    _size, flags, counts, id_bytes, method_bytes = _CALL.unpack_from(data)
    count = counts & ~_STREAM
    id_at = _CALL.size + count * _NUMBER.size
    method_at = id_at + id_bytes
    value_at = method_at + method_bytes
    return CallFrame(
        data[id_at:method_at].decode(),
        data[method_at:value_at].decode() if method_bytes else "",
        _numbers(data[_CALL.size : id_at]) if count else (),
        memoryview(data)[value_at:],
        fd,
        flags >> _DEPTH_SHIFT,
        bool(counts & _STREAM),
    )


def send_reply(
    sock: socket.socket,
    status: int,
    times: tuple[int, int, int],
    packed: Packed,
    gone: deque[int] | None = None,
    *,
    printed: bool,
    before: bytes = b"",
) -> None:
    """Answer a call; ``gone`` as in ``send_call``, ``before``: what is to be read before the
    answer. Raises OSError when the client is gone."""
    if before and packed.file is not None:
        sock.sendall(before, _NO_SIGNAL)  # a descriptor is read with the first byte it came with
        before = b""
    _send(sock, before + reply_frame(status, times, packed, gone, printed=printed), packed)


def reply_frame(
    status: int,
    times: tuple[int, int, int],
    packed: Packed,
    gone: deque[int] | None = None,
    *,
    printed: bool = False,
) -> bytes:
    """A reply without the descriptor that rides along."""
    flags = (PRINTED if printed else 0) | (0 if packed.file is None else SHARED)
    count, numbers = _take_numbers(gone) if gone else (0, b"")
    data = packed.data
    head = REPLY.pack(len(numbers) + len(data), status, flags, count, *times)
    return head + numbers + data


def receive_reply(sock: socket.socket) -> ReplyFrame | None:
    """The answer; None when the runner is gone. Raises OSError."""
    got = _receive(sock, REPLY.size)
    return None if got is None else parse_reply(*got)


def rest_of_reply(sock: socket.socket, first: bytes, fd: int) -> ReplyFrame | None:
    """As ``receive_reply``, where ``first`` of it has been read already, and the descriptor that
    came with that, or -1."""
    size = reply_bytes(first)
    if size and len(first) == size:
        return parse_reply(first, fd)
    got = _receive_rest(sock, REPLY.size, first, fd)
    return None if got is None else parse_reply(*got)


def parse_reply(data: bytes | bytearray | memoryview, fd: int) -> ReplyFrame:
    """A whole reply frame."""
    _size, status, flags, count, received_ns, loaded_ns, executed_ns = REPLY.unpack_from(data)
    value_at = REPLY.size + count * _NUMBER.size
    return ReplyFrame(
        status,
        bool(flags & PRINTED),
        received_ns,
        loaded_ns,
        executed_ns,
        _numbers(data[REPLY.size : value_at]) if count else (),
        memoryview(data)[value_at:],
        fd,
    )


def call_bytes(data: bytes | bytearray) -> int:
    """How long the call frame is that begins with ``data``; 0 while that is not known."""
    return _CALL.size + int(_CALL.unpack_from(data)[0]) if len(data) >= _CALL.size else 0


def reply_bytes(data: bytes | bytearray) -> int:
    """How long the reply frame is that begins with ``data``; 0 while that is not known."""
    return REPLY.size + int(REPLY.unpack_from(data)[0]) if len(data) >= REPLY.size else 0


def readable(sock: socket.socket, seconds: float) -> bool:
    """Wait for a frame, or the end."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def read_some(sock: socket.socket, flags: int = 0, most: int = _READ_BYTES) -> tuple[bytes, int]:
    """What is there, and the descriptor that came with it, or -1. Raises OSError."""
    data, ancillary, _flags, _address = sock.recvmsg(most, _FD_SPACE, flags | _CLOEXEC)
    return data, descriptor(ancillary) if ancillary else -1


def descriptor(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The one descriptor of a message; what else came is closed."""
    fds = array.array("i")
    for level, kind, raw in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
    for extra in fds[1:]:
        os.close(extra)
    return fds[0] if fds else -1


def _take_numbers(gone: deque[int]) -> tuple[int, bytes]:
    """What a frame can report of them; others are added on other threads meanwhile."""
    taken = [gone.popleft() for _ in range(min(len(gone), _NUMBERS))]
    return len(taken), b"".join(map(_NUMBER.pack, taken))


def _numbers(raw: bytes | bytearray | memoryview) -> tuple[int, ...]:
    return tuple(number for (number,) in _NUMBER.iter_unpack(raw))


def _send(sock: socket.socket, frame: bytes, packed: Packed) -> None:
    if packed.file is None:
        sock.sendall(frame, _NO_SIGNAL)
    else:
        send_descriptor(sock, frame, packed.file.fd)


def send_descriptor(sock: socket.socket, frame: bytes, fd: int) -> None:
    """Send a small frame and the descriptor that rides along. Raises OSError."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
    # A frame with a descriptor is small: the socket takes it whole, or not at all.
    sent = sock.sendmsg([frame], rights, _NO_SIGNAL)
    if sent < len(frame):
        sock.sendall(frame[sent:], _NO_SIGNAL)


def _receive(sock: socket.socket, head: int) -> tuple[bytes | bytearray, int] | None:
    """One frame, most often in one read."""
    first, fd = read_some(sock)
    if len(first) >= head:
        size = head + int.from_bytes(first[:4], _ORDER)
        if len(first) == size:
            return first, fd
    elif not first:
        return None
    return _receive_rest(sock, head, first, fd)


def _receive_rest(
    sock: socket.socket, head: int, first: bytes, fd: int
) -> tuple[bytearray, int] | None:
    frame, whole = bytearray(first), False
    try:
        while True:
            if len(frame) >= head:
                break
            piece = sock.recv(head - len(frame))
            if not piece:
                return None
            frame += piece
        size = head + int.from_bytes(frame[:4], _ORDER)
        have = len(frame)
        frame.extend(bytes(size - have))
        view = memoryview(frame)
        while True:
            if have >= size:
                break
            got = sock.recv_into(view[have:])
            if not got:
                return None
            have += got
        whole = True
        return frame, fd
    finally:
        if not whole and fd >= 0:  # cut short, or an interrupt
            os.close(fd)
