"""A connected template or runner: frames to it, and frames from it as they arrive."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from rekindle.linux.plain_descriptors import close_all, copies
from rekindle.runtime.agent import deadlines, readers
from rekindle.runtime.agent.deadlines import Deadline
from rekindle.wire.frames import (
    MAX_FDS,
    MAX_HEADER_BYTES,
    PREFIX_BYTES,
    FrameError,
    Header,
    decode_header,
    frame_prefix,
    pack_frame,
    send_with_fds,
)
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_UCRED = struct.Struct("3i")
#: Where bytes arrive, of any channel: they are taken out before the next ones come.
_ARRIVAL = memoryview(bytearray(1 << 18))
#: Room for the descriptors of one frame.
_FDS_BYTES = socket.CMSG_SPACE(MAX_FDS * 4)


def _pid_of_peer(sock: socket.socket) -> int:
    made: tuple[int, int, int] = _UCRED.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    )
    return made[0]


class Channel:
    """One connection. Frames go to ``receive``, or to whoever has subscribed.

    On readers of its own (readers.py): a transport of asyncio costs more than the rest of what the
    agent does for a start.
    """

    def __init__(self, sock: socket.socket, pid: int | None = None) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._fd = sock.fileno()  # the loop takes long to find out what a socket's is
        #: The process as this agent sees it; from the kernel, where it made the connection itself.
        self.pid: int = _pid_of_peer(sock) if pid is None else pid
        #: Descriptors that came with frames, in their order, where they are asked for.
        self.fds: deque[int] = deque()
        self._takes_fds = False
        self._loop = asyncio.get_running_loop()
        self._readers = readers.here()
        self._open = self._ended = False
        #: What there is no room for yet, in order: bytes, and the descriptors (this
        #: channel's own copies) that go with the first of them.
        self._outgoing: deque[tuple[memoryview, list[int]]] = deque()
        self._incoming = bytearray()
        self._needed = PREFIX_BYTES
        self._arrived: deque[tuple[Header, bytes]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        #: Until when nothing is taken in, where that is so now.
        self._rest: Deadline | None = None
        self._on_frame: Callable[[Header, bytes], None] | None = None
        self._on_end: Callable[[], None] | None = None

    def open(
        self, first: Header | None = None, fds: Sequence[int] = (), *, takes_fds: bool = False
    ) -> None:
        """Send ``first`` with descriptors, and take in what comes from now on. Raises OSError."""
        if first is not None:
            send_with_fds(self._sock, first, fds)
        self._takes_fds = takes_fds
        self._open = True
        self._readers.add(self._fd, self._readable)

    def rest(self, seconds: float) -> None:
        """Take nothing in for so long: what is said meanwhile does not wake this process, which
        would take a processor from who says it."""
        if self._open and self._rest is None:
            self._readers.remove(self._fd)
            self._rest = deadlines.here().add(seconds, self._end_rest)

    def end_rest(self) -> None:
        """Take in what comes again, now, where that is not so."""
        if self._rest is not None:
            self._rest.cancel()
            self._end_rest()

    def _end_rest(self) -> None:
        self._rest = None
        self._readers.add(self._fd, self._readable)

    def _unwatch(self) -> None:
        self._readers.remove(self._fd)
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    @property
    def is_open(self) -> bool:
        """Whether it takes in what comes."""
        return self._open

    # ---- to the process

    def send(self, header: Header, body: bytes | Sequence[bytes] = b"") -> None:
        """Queue one frame; a body may be given in pieces. Raises FrameError when the process is
        known to be gone."""
        if not self._open:
            raise FrameError("the process closed the connection")
        if isinstance(body, bytes):
            head = pack_frame(header, len(body))
            if len(body) > 1 << 16:
                self._write(head)
                self._write(body)
            else:
                self._write(head + body)
            return
        self._write(b"".join([pack_frame(header, sum(map(len, body))), *body]))

    def _write(self, data: bytes) -> None:
        sent = 0
        if not self._outgoing:
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                pass
            except OSError:
                self._loop.call_soon(self._end)  # what it said before is still to be read
                return
        if sent < len(data):
            self._hold_back(memoryview(data)[sent:], [])

    def _hold_back(self, data: memoryview, fds: list[int]) -> None:
        """Send it, and close ``fds``, once there is room for it."""
        if not self._outgoing:
            self._loop.add_writer(self._fd, self._writable)
        self._outgoing.append((data, fds))

    def _writable(self) -> None:
        while self._outgoing:
            data, fds = self._outgoing[0]
            try:
                sent = socket.send_fds(self._sock, [data], fds) if fds else self._sock.send(data)
            except BlockingIOError:
                return
            except OSError:
                if self._open:
                    self._end()
                else:  # it was closed, and nobody will read the rest
                    self._shut()
                return
            close_all(fds)
            if sent < len(data):
                self._outgoing[0] = data[sent:], []
            else:
                self._outgoing.popleft()
        self._loop.remove_writer(self._fd)
        if not self._open:
            self._sock.close()

    def send_with_fds(self, header: Header, fds: Sequence[int]) -> None:
        """Send a small frame with descriptors on an open channel.

        The caller closes its own. While there is no room for the frame, which is no sign that the
        process is gone, it is queued. Raises FrameError when the process is gone.
        """
        if not self._open:
            raise FrameError("the process closed the connection")
        data = memoryview(pack_frame(header))
        sent = 0
        try:
            if not self._outgoing:
                try:
                    sent = socket.send_fds(self._sock, [data], list(fds))
                except BlockingIOError:
                    pass
            kept = [] if sent else copies(fds)
        except OSError as error:
            raise FrameError(f"the process cannot be reached: {error}") from error
        if sent < len(data):
            self._hold_back(data[sent:], kept)

    def close(self) -> None:
        """Close; the process reads the end of its stream, after what was sent."""
        self._on_frame = self._on_end = None
        if self._open:
            self._open = False
            self._unwatch()
            self._wake()
        while self.fds:
            os.close(self.fds.popleft())
        if not self._outgoing:
            self._sock.close()

    # ---- from the process

    def take_fds(self, count: int) -> list[int]:
        """The descriptors that came with a frame, whose sender gave it so many; -1 for each that
        this process had no room for: the kernel closes those. The caller closes the others."""
        there = [self.fds.popleft() for _ in range(min(count, len(self.fds)))]
        return there + [-1] * (count - len(there))

    async def receive(self, timeout_s: float | None = None) -> tuple[Header, bytes]:
        """The next frame. Raises FrameError at the end, and TimeoutError."""
        late = None
        try:
            while not self._arrived:
                if not self._open:
                    raise FrameError("the process closed the connection")
                self._waiter = waiter = self._loop.create_future()
                if timeout_s is not None and late is None:
                    late = deadlines.here().add(timeout_s, partial(_too_late, waiter))
                await waiter
        finally:
            if late is not None:
                late.cancel()
        return self._arrived.popleft()

    def subscribe(
        self, on_frame: Callable[[Header, bytes], None], on_end: Callable[[], None]
    ) -> None:
        """Give every frame to ``on_frame`` from now on, and call ``on_end`` at the end."""
        self._on_frame, self._on_end = on_frame, on_end
        while self._arrived:
            on_frame(*self._arrived.popleft())
        if self._ended:
            asyncio.get_running_loop().call_soon(self._report_end)

    def unsubscribe(self) -> None:
        """Keep what comes for ``receive`` again."""
        self._on_frame = self._on_end = None

    def drain(self) -> None:
        """Take in, now, what the process has sent; for one that is being ended."""
        if self._ended or self._sock.fileno() < 0:
            return
        try:
            while count := self._receive():
                self._take(count)
        except OSError:
            return  # nothing is there, or nothing more will come

    # ---- what arrives

    def _readable(self) -> None:
        try:
            count = self._receive()
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if count:
            self._take(count)
        else:
            self._end()

    def _receive(self) -> int:
        """What is there, into the arrival; how many bytes. Raises OSError."""
        if not self._takes_fds:
            return self._sock.recv_into(_ARRIVAL)
        count, ancillary, _flags, _address = self._sock.recvmsg_into(
            [_ARRIVAL], _FDS_BYTES, socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.fds.extend(memoryview(data).cast("i"))
        return count

    def _take(self, count: int) -> None:
        incoming = self._incoming
        incoming += _ARRIVAL[:count]
        while len(incoming) >= self._needed:
            header_bytes, body_bytes = frame_prefix(incoming)
            if header_bytes > MAX_HEADER_BYTES:
                self._out_of_step(f"a frame header of {header_bytes} bytes")
                return
            end = PREFIX_BYTES + header_bytes + body_bytes
            if len(incoming) < end:
                self._needed = end
                return
            with memoryview(incoming) as view:
                raw = bytes(view[PREFIX_BYTES : PREFIX_BYTES + header_bytes])
                body = bytes(view[PREFIX_BYTES + header_bytes : end])
            del incoming[:end]
            self._needed = PREFIX_BYTES
            try:
                header = decode_header(raw)
            except ValueError as error:
                self._out_of_step(f"a frame header that is not JSON ({error})")
                return
            if self._on_frame is not None:
                self._on_frame(header, body)
            else:
                self._arrived.append((header, body))
                self._wake()

    def _out_of_step(self, reason: str) -> None:
        log.error("out of step", extra=kv(pid=self.pid, reason=reason))
        self._incoming.clear()
        self._end(read=False)

    def _end(self, *, read: bool = True) -> None:
        if not self._open:
            return
        self._open = False
        self._unwatch()  # now: who takes in the rest may close this channel
        if read:
            self.drain()  # a write failed, and something was not read yet
        if self._ended or self._sock.fileno() < 0:
            return  # closed by who took that in
        self._ended = True
        self._shut()
        self._wake()
        self._report_end()

    def _shut(self) -> None:
        """Close the socket; what it had no room for is dropped."""
        if self._outgoing:
            while self._outgoing:
                close_all(self._outgoing.popleft()[1])
            self._loop.remove_writer(self._fd)
        self._sock.close()

    def _report_end(self) -> None:
        if self._on_end is not None:
            on_end, self._on_end = self._on_end, None
            on_end()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _too_late(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
