"""The frames of direct calls: a client and the runner that it leases, over a connected socket.

Small and of fixed shape, since making and reading them is most of what a small call costs. Values
travel inline or by a memfd (wire/shared.py) whose descriptor rides along. Standard library only:
runners import this. Both ends block; one call at a time is on its way.
"""

from __future__ import annotations

import array
import os
import socket
import struct
import sys
from dataclasses import dataclass

from rekindle.wire.shared import Packed

#: Length of what follows, flags, length of the call id, length of the method.
_CALL = struct.Struct("=IBBH")
#: Length of what follows, status, flags; when the call arrived, was unpickled, had run.
_REPLY = struct.Struct("=IBBqqq")

#: What a client reads once its connection is its runner's.
WELCOME = b"+"

#: Flags of a call.
SHARED = 1  # its value is in the memfd that rides along
#: Flag of a reply, beside SHARED.
PRINTED = 2  # something was printed: a mark in the log tells when all of it has come

#: Statuses of a reply.
OK, FAILED, CANCELLED = 0, 1, 2

_READ_BYTES = 1 << 16
_FD_SPACE = socket.CMSG_SPACE(4)
_NO_SIGNAL = socket.MSG_NOSIGNAL
_ORDER = sys.byteorder


@dataclass(slots=True)
class Call:
    """A call as a runner receives it."""

    call_id: str
    method: str
    data: memoryview
    fd: int


@dataclass(slots=True)
class Reply:
    """A runner's answer; times on CLOCK_REALTIME."""

    status: int
    printed: bool
    received_ns: int
    loaded_ns: int
    executed_ns: int
    data: memoryview
    fd: int


def send_call(sock: socket.socket, call_id: str, method: str, packed: Packed) -> None:
    """Send a call. Raises OSError when not all of it was accepted: then it will not run."""
    raw_id, raw_method = call_id.encode(), method.encode()
    flags = SHARED if packed.fd >= 0 else 0
    data = packed.data
    size = len(raw_id) + len(raw_method) + len(data)
    _send(
        sock,
        _CALL.pack(size, flags, len(raw_id), len(raw_method)) + raw_id + raw_method + data,
        packed.fd,
    )


def receive_call(sock: socket.socket) -> Call | None:
    """The next call; None when the client is done, or a call was cut short. Raises OSError."""
    got = _receive(sock, _CALL.size)
    if got is None:
        return None
    data, fd = got
    _size, _flags, id_bytes, method_bytes = _CALL.unpack_from(data)
    method_at = _CALL.size + id_bytes
    value_at = method_at + method_bytes
    return Call(
        str(data[_CALL.size : method_at], "utf-8"),
        str(data[method_at:value_at], "utf-8"),
        data[value_at:],
        fd,
    )


def send_reply(
    sock: socket.socket, status: int, times: tuple[int, int, int], packed: Packed, *, printed: bool
) -> None:
    """Answer a call. Raises OSError when the client is gone."""
    flags = (PRINTED if printed else 0) | (SHARED if packed.fd >= 0 else 0)
    data = packed.data
    _send(sock, _REPLY.pack(len(data), status, flags, *times) + data, packed.fd)


def receive_reply(sock: socket.socket) -> Reply | None:
    """The answer; None when the runner is gone. Raises OSError."""
    got = _receive(sock, _REPLY.size)
    return None if got is None else parse_reply(*got)


def parse_reply(data: memoryview, fd: int) -> Reply:
    """A whole reply frame."""
    _size, status, flags, received_ns, loaded_ns, executed_ns = _REPLY.unpack_from(data)
    return Reply(
        status,
        bool(flags & PRINTED),
        received_ns,
        loaded_ns,
        executed_ns,
        data[_REPLY.size :],
        fd,
    )


def reply_bytes(data: bytes | bytearray) -> int:
    """How long the reply frame is that begins with ``data``; 0 while that cannot be told."""
    return _REPLY.size + int(_REPLY.unpack_from(data)[0]) if len(data) >= _REPLY.size else 0


def read_some(sock: socket.socket, flags: int = 0) -> tuple[bytes, int]:
    """What is there, and the descriptor that came with it, or -1. Raises OSError."""
    data, ancillary, _flags, _address = sock.recvmsg(
        _READ_BYTES, _FD_SPACE, flags | socket.MSG_CMSG_CLOEXEC
    )
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


def _send(sock: socket.socket, frame: bytes, fd: int) -> None:
    if fd < 0:
        sock.sendall(frame, _NO_SIGNAL)
        return
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
    # A frame with a descriptor is small: the socket takes it whole, or not at all.
    sent = sock.sendmsg([frame], rights, _NO_SIGNAL)
    if sent < len(frame):
        sock.sendall(frame[sent:], _NO_SIGNAL)


def _receive(sock: socket.socket, head: int) -> tuple[memoryview, int] | None:
    """One frame, most often in one read."""
    first, fd = read_some(sock)
    if len(first) >= head:
        size = head + int.from_bytes(first[:4], _ORDER)
        if len(first) == size:
            return memoryview(first), fd
    elif not first:
        return None
    return _receive_rest(sock, head, first, fd)


def _receive_rest(
    sock: socket.socket, head: int, first: bytes, fd: int
) -> tuple[memoryview, int] | None:
    frame = bytearray(first)
    while len(frame) < head:
        piece = sock.recv(head - len(frame))
        if not piece:
            return None
        frame += piece
    size = head + int.from_bytes(frame[:4], _ORDER)
    have = len(frame)
    frame.extend(bytes(size - have))
    view = memoryview(frame)
    while have < size:
        got = sock.recv_into(view[have:])
        if not got:
            if fd >= 0:
                os.close(fd)
            return None
        have += got
    return view, fd
