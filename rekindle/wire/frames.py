"""Frames between an agent and its templates and runners, over a Unix stream socket.

A frame is a JSON header and a body of bytes; file descriptors may ride along. Standard library
only: templates and runners import this. The agent's asyncio side is
runtime/agent/runners/channel.py.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any

Header = dict[str, Any]

_PREFIX = struct.Struct("!IQ")  # length of the header, length of the body
PREFIX_BYTES = _PREFIX.size

#: A header larger than this means that the two ends are out of step.
MAX_HEADER_BYTES = 64 << 20
#: A body up to this is read together with its header.
_TOGETHER_BYTES = 1 << 16
_GONE = "the agent closed the connection"
_CUT = "the agent closed the connection inside a frame"
#: No frame carries more descriptors than this.
MAX_FDS = 32
_FDS_BYTES = socket.CMSG_LEN(4 * MAX_FDS)
#: Numbers: an enum's value is found by a dozen steps.
_CLOEXEC, _RIGHTS = int(socket.MSG_CMSG_CLOEXEC), (int(socket.SOL_SOCKET), int(socket.SCM_RIGHTS))


# The standard library's: what user code has in its place (a proxy's, a loop's) is for its own.
_Socket = socket.socket


def own_socket(fd: int) -> socket.socket:
    """The Unix socket behind a descriptor of ours, which waits for as long as it takes: a timeout
    that user code sets for all sockets (``setdefaulttimeout``) is for its own."""
    # Its kind is said, as three system calls find it out.
    sock = _Socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd)
    _take_time(sock)
    return sock


def _take_time(sock: socket.socket) -> None:
    if sock.gettimeout() is not None:
        sock.settimeout(None)


# One encoder and one scanner for all, as far down as they can be reached: a new process runs each
# line of Python for the first time, on pages of memory that are copied for it.
_encoder = json.JSONEncoder(separators=(",", ":"))
_scan: Any = getattr(json.JSONDecoder(), "scan_once")  # noqa: B009 - it has no annotation
_make: Any = getattr(json.encoder, "c_make_encoder", None)  # absent where there is no C
_pieces: Any = _make and _make(
    *(None, _encoder.default, json.encoder.encode_basestring_ascii, None, ":", ","),
    *(False, False, True),
)


def _encode(header: Header) -> str:
    return _encoder.encode(header) if _pieces is None else "".join(_pieces(header, 0))


def decode_header(raw: bytes) -> Header:
    """What ``pack_frame`` made of a header. Raises ValueError."""
    try:
        header, end = _scan(raw.decode(), 0)
    except StopIteration as error:
        raise ValueError("no JSON") from error
    if end != len(raw) or not isinstance(header, dict):  # it is ASCII
        raise ValueError("not one JSON object")
    return header


class FrameError(ConnectionError):
    """The other end closed the connection, or sent something that is not a frame."""


def pack_frame(header: Header, body_bytes: int = 0) -> bytes:
    """Everything of a frame but its body."""
    raw = _encode(header).encode()
    return _PREFIX.pack(len(raw), body_bytes) + raw


def frame_prefix(data: bytes | bytearray) -> tuple[int, int]:
    """The lengths of header and body, from the first ``PREFIX_BYTES`` of a frame."""
    header_bytes, body_bytes = _PREFIX.unpack_from(data)
    return header_bytes, body_bytes


class HeaderStream:
    """Frames without a body that come in parts, on a connection that is not waited for."""

    def __init__(self) -> None:
        self._came = bytearray()

    def take(self, part: bytes) -> Iterator[Header]:
        """Those that have come whole with this part. Raises ValueError for what is none."""
        self._came += part
        while len(self._came) >= _PREFIX.size:
            header_bytes, body_bytes = frame_prefix(self._came)
            if header_bytes > MAX_HEADER_BYTES or body_bytes:
                raise ValueError("not a frame without a body")
            end = _PREFIX.size + header_bytes
            if len(self._came) < end:
                return
            header = decode_header(bytes(self._came[_PREFIX.size : end]))
            del self._came[:end]
            yield header


class FrameSocket:
    """The blocking end of a channel, for templates and runners."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    @classmethod
    def connect(cls, path: str) -> FrameSocket:
        """Connect to the agent's socket at ``path``."""
        sock = _Socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _take_time(sock)
            sock.connect(path)
        except OSError:
            sock.close()
            raise
        return cls(sock)

    def fileno(self) -> int:
        """The descriptor, for poll."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the connection; the other end sees it."""
        self._sock.close()

    def send(self, header: Header, body: bytes | memoryview = b"") -> None:
        """Send one frame, whole. Raises FrameError: nobody reads it."""
        head = pack_frame(header, len(body))
        try:
            if len(body) <= 1 << 16:
                self._sock.sendall(head + bytes(body))
            else:
                self._sock.sendall(head)
                self._sock.sendall(body)
        except ConnectionError as error:
            raise FrameError(_GONE) from error

    def send_with_fds(self, header: Header, fds: Sequence[int]) -> None:
        """Send a small frame without a body, with descriptors. Raises FrameError as ``send``."""
        data = pack_frame(header)
        try:
            sent = socket.send_fds(self._sock, [data], fds)
            if sent < len(data):
                self._sock.sendall(data[sent:])
        except ConnectionError as error:
            raise FrameError(_GONE) from error

    def receive(self) -> tuple[Header, bytes, list[int]]:
        """Wait for one frame: header, body, descriptors. Raises FrameError at the end."""
        prefix, fds = self._receive_prefix()
        header_bytes, body_bytes = _PREFIX.unpack(prefix)
        if header_bytes > MAX_HEADER_BYTES:
            raise FrameError(f"a frame header of {header_bytes} bytes: the ends are out of step")
        if body_bytes > _TOGETHER_BYTES:
            header = decode_header(self._receive_exactly(header_bytes))
            return header, self._receive_exactly(body_bytes), fds
        rest = self._receive_exactly(header_bytes + body_bytes)
        return decode_header(rest[:header_bytes]), rest[header_bytes:], fds

    def _receive_prefix(self) -> tuple[bytes, list[int]]:
        try:
            first, ancillary, _, _ = self._sock.recvmsg(_PREFIX.size, _FDS_BYTES, _CLOEXEC)
        except ConnectionError as error:  # with something unread at its end
            raise FrameError(_GONE) from error
        if not first:
            raise FrameError(_GONE)
        fds: list[int] = []
        for level, kind, data in ancillary:
            if (level, kind) == _RIGHTS:
                fds.extend(memoryview(data).cast("i"))
        if len(first) < _PREFIX.size:
            first += self._receive_exactly(_PREFIX.size - len(first))
        return first, fds

    def _receive_exactly(self, size: int) -> bytes:
        if size == 0:
            return b""
        first = self._sock.recv(min(size, 1 << 20))
        if len(first) == size:
            return first  # nearly always
        if not first:
            raise FrameError(_CUT)
        buffer = bytearray(size)
        buffer[: len(first)] = first
        view = memoryview(buffer)[len(first) :]
        while view:
            got = self._sock.recv_into(view, min(len(view), 1 << 20))
            if got == 0:
                raise FrameError(_CUT)
            view = view[got:]
        return bytes(buffer)


def send_with_fds(sock: socket.socket, header: Header, fds: Sequence[int]) -> None:
    """Send a small body-less frame with descriptors on a socket with an empty buffer."""
    data = pack_frame(header)
    sent = socket.send_fds(sock, [data], list(fds))
    if sent != len(data):
        raise FrameError("the socket took only a part of a small frame")
