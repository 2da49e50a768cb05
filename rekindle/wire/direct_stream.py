"""The items of a generator on their way: from a runner to the client that leases it.

An item is a frame like a reply (direct_frames.py), with a status of its own; the reply comes after
the last one. A generator may be ahead of its reader by AHEAD_BYTES, or 64 items, and one item more;
then it waits. The reader says what it has taken by an eventfd, which the runner sends it when it is
first about to wait: the connection would not do, as a runner's side of it is shut while the runner
is being taken back. Standard library only: runners import this.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from typing import TYPE_CHECKING

from rekindle.wire import direct_frames as wire
from rekindle.wire.shared import Packed
from rekindle.wire.usercode import came_by_signal

if TYPE_CHECKING:
    import asyncio

#: A generator goes on while no more than this is on its way. What lies in a memory file counts as
#: all of it, so that the next item waits until that one is taken.
AHEAD_BYTES = 64 << 10
#: What an item counts at least.
_LEAST_BYTES = AHEAD_BYTES // 64
#: The reader says what it has taken when it is this much: less than a writer waits for.
_TELL_BYTES = AHEAD_BYTES // 4
_READ_BYTES = 128 << 10
_HEAD_BYTES = wire.REPLY.size
_NO_TIMES = (0, 0, 0)


class ReaderGoneError(Exception):
    """Nobody reads the items any more."""


def _cost(data_bytes: int, *, shared: bool) -> int:
    """What an item counts, the same at both ends."""
    return AHEAD_BYTES + 1 if shared else max(data_bytes, _LEAST_BYTES)


class ItemWriter:
    """The runner's end: sends the items of one call. To be closed."""

    def __init__(self, sock: socket.socket, times: tuple[int, int]) -> None:
        """``times``: when the call was received and loaded; they go with the first item."""
        self._sock = sock
        self._times = times
        self._ahead = 0  # sent and, as far as is known, not taken
        self._credit = -1
        self._events: select.epoll | None = None
        self._stopped = False
        self.count = 0

    def send(self, packed: Packed, at_ns: int) -> None:
        """Send an item, yielded at ``at_ns``, once there is room for it. Raises ReaderGoneError."""
        try:
            if self._stopped:
                raise ReaderGoneError
            if self._ahead > AHEAD_BYTES:
                self._wait()
            if packed.file is None:
                self._sock.sendall(self._frame(packed, at_ns), socket.MSG_NOSIGNAL)
            else:
                wire.send_descriptor(self._sock, self._frame(packed, at_ns), packed.file.fd)
            self._sent(packed)
        except OSError as error:
            raise ReaderGoneError from error
        finally:
            packed.close()

    async def send_aio(self, packed: Packed, at_ns: int) -> None:
        """The same, while the event loop goes on."""
        try:
            if self._ahead > AHEAD_BYTES:
                await self._wait_aio()
            frame = self._frame(packed, at_ns)
            if packed.file is None:
                await self._send_aio(frame)
            else:  # a small frame, and nothing else is on its way
                wire.send_descriptor(self._sock, frame, packed.file.fd)
            self._sent(packed)
        except OSError as error:
            raise ReaderGoneError from error
        finally:
            packed.close()

    def stop(self) -> None:
        """Have ``send``, where it waits or when it is called, raise ReaderGoneError.

        From another thread, before ``close``.
        """
        self._stopped = True
        if self._credit >= 0:
            os.eventfd_write(self._credit, 1)  # a wait that looks again

    def close(self) -> None:
        """Let go of the eventfd."""
        if self._events is not None:
            self._events.close()
            self._events = None
        if self._credit >= 0:
            os.close(self._credit)
            self._credit = -1

    def _frame(self, packed: Packed, at_ns: int) -> bytes:
        if not self.count:
            return wire.reply_frame(wire.ITEM, (*self._times, at_ns), packed)
        data, flags = packed.data, 0 if packed.file is None else wire.SHARED
        return wire.REPLY.pack(len(data), wire.ITEM, flags, 0, 0, 0, 0) + data

    def _sent(self, packed: Packed) -> None:
        self.count += 1
        self._ahead += _cost(len(packed.data), shared=packed.file is not None)

    def _ask_for_credit(self) -> select.epoll:
        """What is readable once the reader has said something, or is gone."""
        if self._events is None:
            self._credit = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            frame = wire.reply_frame(wire.CREDIT, _NO_TIMES, Packed(b""))
            wire.send_descriptor(self._sock, frame, self._credit)
            self._events = select.epoll()
            self._events.register(self._credit, select.EPOLLIN)
            self._events.register(self._sock, 0)  # a hang-up, and no end of one direction
        return self._events

    def _take_credit(self, events: list[tuple[int, int]]) -> None:
        if any(fd != self._credit for fd, _events in events):
            raise ReaderGoneError
        if events:
            self._ahead -= os.eventfd_read(self._credit)

    def _wait(self) -> None:
        events = self._ask_for_credit()
        while self._ahead > AHEAD_BYTES:
            if self._stopped:
                raise ReaderGoneError
            self._take_credit(events.poll())

    async def _wait_aio(self) -> None:
        events = self._ask_for_credit()
        while self._ahead > AHEAD_BYTES:
            await _ready(events.fileno(), writable=False)
            self._take_credit(events.poll(0))

    async def _send_aio(self, frame: bytes) -> None:
        left = memoryview(frame)
        while left:
            try:
                sent = self._sock.send(left, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                await _ready(self._sock.fileno(), writable=True)
            else:
                left = left[sent:]


class ItemReader:
    """The client's end: reads the frames of one call, as many as there are. To be closed."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        #: A whole frame, whether it is an item, and the descriptor that came with it.
        self._frames: deque[tuple[memoryview, bool, int]] = deque()
        self._pieces: list[bytes] = []  # of a frame that is not whole yet
        self._have = self._need = 0
        self._fds: deque[int] = deque()
        self._credit = -1
        self._taken = 0
        #: Came with the first item: when the call was received and loaded, when that was yielded.
        self.times = _NO_TIMES
        #: Whether nothing more will come.
        self.ended = False

    @property
    def has_item(self) -> bool:
        """Whether an item is here, to be taken."""
        return bool(self._frames) and self._frames[0][1]

    def take_item(self) -> tuple[memoryview, int]:
        """The next item, which is here: its data, and the descriptor that came with it, or -1.

        It is in its reader's hands then: the generator may go on.
        """
        frame, _is_item, fd = self._frames.popleft()
        data_bytes = len(frame) - _HEAD_BYTES
        self._taken += _cost(data_bytes, shared=fd >= 0)
        if self._taken >= _TELL_BYTES:
            self._tell()
        return frame[_HEAD_BYTES:], fd

    def take_reply(self) -> wire.ReplyFrame | None:
        """The answer that follows the last item; None while neither is here."""
        if not self._frames:
            return None
        frame, _is_item, fd = self._frames.popleft()
        return wire.parse_reply(frame, fd)

    def read(self, flags: int = 0) -> None:
        """Take in what has come. Raises BlockingIOError where ``flags`` say so, and what a
        signal's handler raises."""
        try:
            data, fd = wire.read_some(self._sock, flags, _READ_BYTES)
        except OSError as error:
            if isinstance(error, BlockingIOError) or came_by_signal(error):
                raise
            data, fd = b"", -1  # its end was closed under what it had not read
        if fd >= 0:
            self._fds.append(fd)
        if not data:
            self.ended = True
            return
        self._pieces.append(data)
        self._have += len(data)
        if self._have >= max(self._need, _HEAD_BYTES):
            self._parse(b"".join(self._pieces) if len(self._pieces) > 1 else data)

    def close(self) -> None:
        """Let go of all descriptors."""
        for fd in (*(fd for *_, fd in self._frames), *self._fds, self._credit):
            if fd >= 0:
                os.close(fd)
        self._frames.clear()
        self._fds.clear()
        self._credit = -1

    def _parse(self, data: bytes) -> None:
        at, end, unpack, frames = 0, len(data), wire.REPLY.unpack_from, self._frames
        view, self._need = memoryview(data), 0
        while end - at >= _HEAD_BYTES:
            size, status, flags, _, *times = unpack(data, at)
            stop = at + _HEAD_BYTES + size
            if stop > end:
                self._need = stop - at
                break
            if status == wire.CREDIT:
                self._credit = self._fds.popleft()
                if self._taken >= _TELL_BYTES:
                    self._tell()
            else:
                # Descriptors come in the order of their frames.
                fd = self._fds.popleft() if flags & wire.SHARED else -1
                frames.append((view[at:stop], status == wire.ITEM, fd))
                if times[0] and status == wire.ITEM:
                    self.times = (times[0], times[1], times[2])
            at = stop
        self._have = end - at
        self._pieces = [data[at:]] if at < end else []

    def _tell(self) -> None:
        if self._credit >= 0:
            os.eventfd_write(self._credit, self._taken)
            self._taken = 0


async def _ready(fd: int, *, writable: bool) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    came: asyncio.Future[None] = loop.create_future()
    (loop.add_writer if writable else loop.add_reader)(fd, _settle, came)
    try:
        await came
    finally:
        (loop.remove_writer if writable else loop.remove_reader)(fd)


def _settle(came: asyncio.Future[None]) -> None:
    if not came.done():
        came.set_result(None)
