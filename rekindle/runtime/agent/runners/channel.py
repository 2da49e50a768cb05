"""A connected template or runner: frames to it, and frames from it as they arrive."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence

from rekindle.wire.frames import (
    MAX_HEADER_BYTES,
    FrameError,
    Header,
    frame_prefix,
    pack_frame,
    send_with_fds,
)
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_UCRED = struct.Struct("3i")
_PREFIX_BYTES = 12
#: Where bytes arrive, of any channel: they are taken out before the next ones come.
_ARRIVAL = memoryview(bytearray(1 << 18))


class Channel(asyncio.BufferedProtocol):
    """One connection. Frames go to ``receive``, or to whoever has subscribed."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        #: The process as this agent sees it, from the kernel.
        self.pid: int = _UCRED.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        )[0]
        self._transport: asyncio.Transport | None = None
        self._incoming = bytearray()
        self._needed = _PREFIX_BYTES
        self._arrived: deque[tuple[Header, bytes]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._on_frame: Callable[[Header, bytes], None] | None = None
        self._on_end: Callable[[], None] | None = None
        self._ended = False

    async def open(self, first: Header | None = None, fds: Sequence[int] = ()) -> None:
        """Send ``first`` with descriptors, then go on as a stream."""
        if first is not None:
            send_with_fds(self._sock, first, fds)
        transport, _self = await asyncio.get_running_loop().create_unix_connection(
            lambda: self, sock=self._sock
        )
        self._transport = transport

    # ---- to the process

    def send(self, header: Header, body: bytes | Sequence[bytes] = b"") -> None:
        """Queue one frame; a body may be given in pieces. Raises FrameError when the process is
        known to be gone."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise FrameError("the process closed the connection")
        if isinstance(body, bytes):
            head = pack_frame(header, len(body))
            if len(body) > 1 << 16:
                transport.write(head)
                transport.write(body)
            else:
                transport.write(head + body)
            return
        pieces = [pack_frame(header, sum(map(len, body))), *body]
        transport.write(b"".join(pieces))

    def send_with_fds(self, header: Header, fds: Sequence[int]) -> None:
        """Send a small frame with descriptors on an open channel.

        Raises FrameError when the process is gone, or has not read what was sent before.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise FrameError("the process closed the connection")
        if transport.get_write_buffer_size():
            raise FrameError("the process does not read what it is sent")
        try:
            send_with_fds(self._sock, header, fds)
        except OSError as error:
            raise FrameError(f"the process closed the connection: {error}") from error

    def close(self) -> None:
        """Close; the process reads the end of its stream."""
        self._on_frame = self._on_end = None
        if self._transport is not None:
            self._transport.close()
        else:
            self._sock.close()

    # ---- from the process

    async def receive(self) -> tuple[Header, bytes]:
        """The next frame. Raises FrameError at the end."""
        while not self._arrived:
            if self._transport is None:
                raise FrameError("the channel is not open")
            if self._ended or self._transport.is_closing():
                raise FrameError("the process closed the connection")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
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

    def drain(self) -> None:
        """Take in, now, what the process has sent; for one that is being ended."""
        if self._ended or self._sock.fileno() < 0:
            return
        try:
            while count := self._sock.recv_into(_ARRIVAL):
                self.buffer_updated(count)
        except OSError:
            return  # nothing is there, or nothing more will come

    # ---- asyncio.BufferedProtocol

    def get_buffer(self, _sizehint: int) -> memoryview:
        return _ARRIVAL

    def buffer_updated(self, nbytes: int) -> None:
        incoming = self._incoming
        incoming += _ARRIVAL[:nbytes]
        while len(incoming) >= self._needed:
            header_bytes, body_bytes = frame_prefix(incoming)
            if header_bytes > MAX_HEADER_BYTES:
                self._out_of_step(f"a frame header of {header_bytes} bytes")
                return
            end = _PREFIX_BYTES + header_bytes + body_bytes
            if len(incoming) < end:
                self._needed = end
                return
            with memoryview(incoming) as view:
                raw = bytes(view[_PREFIX_BYTES : _PREFIX_BYTES + header_bytes])
                body = bytes(view[_PREFIX_BYTES + header_bytes : end])
            del incoming[:end]
            self._needed = _PREFIX_BYTES
            try:
                header: Header = json.loads(raw)
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
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        # A failed write drops what was not read yet.
        self.drain()
        self._ended = True
        self._wake()
        self._report_end()

    def _report_end(self) -> None:
        if self._on_end is not None:
            on_end, self._on_end = self._on_end, None
            on_end()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
