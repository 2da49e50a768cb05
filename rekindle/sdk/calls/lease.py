"""A lease: this process's connection to one runner, for direct calls.

It is held for one caller at a time. Which leases there are and when more are asked for is
leases.py's to know. A forked child has no part in its parent's.
"""

from __future__ import annotations

import atexit
import os
import socket
import sys
import weakref
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NamedTuple

from rekindle import lazily
from rekindle.linux.arrivals import Arrivals
from rekindle.linux.plain_descriptors import close_all
from rekindle.sdk.calls.until_readable import until_readable
from rekindle.sdk.connection.background import background
from rekindle.wire import direct_frames as wire
from rekindle.wire import reuse
from rekindle.wire.direct_stream import ItemReader
from rekindle.wire.frames import FrameSocket, pack_frame
from rekindle.wire.granted import Began, Granted
from rekindle.wire.shared import Packed, unpack
from rekindle.wire.usercode import came_by_signal

if TYPE_CHECKING:
    import asyncio

    from rekindle.wire import rekindle_pb2 as pb
else:
    asyncio = lazily.module("asyncio")

#: A lease that was granted is there at once, or its agent is in trouble.
_TAKE_UP_S = 2.0
#: What became of a lease is asked for this long: an agent answers at once.
_FATE_S = 10.0
#: How often it is looked whether memory files lie idle, while there are some.
_LOOK_S = 1.0


_PEEK = int(socket.MSG_PEEK) | wire.DONTWAIT


class NotRunError(Exception):
    """The call was not accepted by the runner: it has not run, and will not."""


class Fate(NamedTuple):
    """Why a runner gave no answer: ``timeout``, ``lost``, or ``unknown`` to its agent; in words."""

    kind: str
    message: str


class Lease:
    """A lease that this process holds, whose connection is its runner's.

    ``arrivals``: of that connection; ``came``, ``fd``: what of an answer was read from it already.
    """

    def __init__(
        self,
        sock: socket.socket,
        granted: Granted,
        arrivals: Arrivals | None = None,
        came: bytes = b"",
        fd: int = -1,
    ) -> None:
        self._sock = sock
        self._came, self._came_fd = came, fd
        self._arrivals = arrivals or Arrivals(sock.fileno())
        self._path = granted.socket
        self._token = granted.token
        self.id = granted.lease_id
        self.runner_id = granted.runner_id
        #: The start of its runner, for the record of the first call: that waited for it.
        self.began = granted.began
        #: Whether its runner has a call already, which was sent with the request.
        self.has_call = False
        #: For one call alone: its runner ends with it.
        self.once = granted.once
        #: What arguments may have: more goes through the controller, which has the error.
        self.limit_bytes = granted.max_payload_bytes or sys.maxsize
        #: What arguments for this runner are packed into, and its results come in.
        self.files = reuse.MemoryFiles()
        held[id(self)] = self

    @classmethod
    async def take_up(cls, reply: pb.LeaseReply) -> Lease:
        """Connect to the runner of a lease that was granted. Raises OSError where it is gone."""
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            async with asyncio.timeout(_TAKE_UP_S):
                await loop.sock_connect(sock, reply.socket)
                hello = pack_frame({"lease": reply.lease_id, "token": reply.token})
                await loop.sock_sendall(sock, hello)
                if await loop.sock_recv(sock, 1) != wire.WELCOME:
                    raise ConnectionRefusedError("the lease has ended")
            sock.setblocking(True)
        except BaseException:
            sock.close()
            raise
        return cls(sock, _granted(reply))

    def call(
        self, call_id: str, method: str, packed: Packed, depth: int = 0
    ) -> wire.ReplyFrame | None:
        """Run a call and wait. None where the runner is gone. Raises NotRunError.

        Whatever else is raised here (an interrupt) ends the lease, and with it the call.
        """
        try:
            self._send(call_id, method, packed, depth)
            self._arrivals.wait(perf_counter_ns())
            reply = _receive(self._sock)
        except BaseException:
            self.close()
            raise
        self._received(reply)
        return reply

    async def answer(self, *, blocks: bool) -> wire.ReplyFrame | None:
        """Wait for the answer to a call that was sent with the request for this lease.

        ``blocks``: the thread waits, otherwise its event loop. None where the runner is gone.
        """
        try:
            came, fd, self._came, self._came_fd = self._came, self._came_fd, b"", -1
            if blocks:
                if came:
                    reply = _receive_rest(self._sock, came, fd)
                else:
                    self._arrivals.wait(perf_counter_ns())
                    reply = _receive(self._sock)
                self._arrivals.likely()
            else:
                reply = await _receive_aio(self._sock, came, fd)
        except BaseException:
            self.close()
            raise
        self._received(reply)
        return reply

    async def call_aio(
        self, call_id: str, method: str, packed: Packed, depth: int = 0
    ) -> wire.ReplyFrame | None:
        """The same on an event loop."""
        try:
            self._send(call_id, method, packed, depth)
            reply = await _receive_aio(self._sock)
        except BaseException:
            self.close()
            raise
        self._received(reply)
        return reply

    def stream(self, call_id: str, method: str, packed: Packed, depth: int = 0) -> ItemReader:
        """Have a generator run; its items are read from what this gives. Raises NotRunError.

        The lease is in use until its reply has been read; to ``close`` it before ends the call.
        """
        try:
            self._send(call_id, method, packed, depth, stream=True)
        except NotRunError:
            self.close()
            raise
        return ItemReader(self._sock)

    def value(self, reply: wire.ReplyFrame) -> Any:
        """What an answer brings. Raises OSError or what unpickling raises."""
        fd = reply.take_fd()
        value = unpack(reply.data, fd, self.files)
        if fd >= 0:
            _look_for_idle()
        return value

    async def until_readable(self) -> None:
        """Return when something has come from the runner, or its end."""
        await until_readable(self._sock.fileno())

    def _received(self, reply: wire.ReplyFrame | None) -> None:
        if reply is None:
            self.close()
        elif reply.gone:
            self.files.came_back(reply.gone)

    def _send(
        self, call_id: str, method: str, packed: Packed, depth: int, *, stream: bool = False
    ) -> None:
        try:
            gone = self.files.gone
            wire.send_call(self._sock, call_id, method, packed, gone, depth, stream=stream)
        except OSError as error:
            if came_by_signal(error):
                raise
            raise NotRunError from error
        if packed.file is not None:
            packed.close()
            _look_for_idle()

    def fate(self) -> Fate:
        """What became of the runner, from its agent."""
        return fate_of(self.id, self._token, self._path)

    def is_over(self) -> bool:
        """Whether an idle lease was taken back meanwhile."""
        try:
            return not self._sock.recv(1, _PEEK)
        except BlockingIOError:  # as a rule: to ask where it is from would take longer than a call
            return False
        except OSError as error:
            if came_by_signal(error):
                raise
            return True

    def close(self) -> None:
        """Give the lease back; a call that runs is cancelled."""
        try:
            # Not only closed: a process that was forked meanwhile may hold a copy.
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if came_by_signal(error):
                raise
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let go of the descriptors alone: the lease is another process's."""
        if self._came_fd >= 0:
            os.close(self._came_fd)
            self._came_fd = -1
        self._sock.close()
        self.files.close()
        held.pop(id(self), None)


def _granted(reply: pb.LeaseReply) -> Granted:
    """What the controller says of a lease."""
    began = None
    if reply.HasField("began"):
        start = reply.began
        marks = [(mark.phase, mark.at_ns) for mark in start.marks]
        began = Began(start.strategy, start.began_ns, marks, list(start.notes), start.printed)
    return Granted(
        *(reply.lease_id, reply.socket, reply.token, reply.runner_id),
        *(reply.max_payload_bytes, reply.once, began),
    )


def fate_of(lease_id: str, token: str, path: str) -> Fate:
    """What became of the runner of a lease, from the agent at ``path``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_FATE_S)
        try:
            sock.connect(path)
            asked = FrameSocket(sock)
            asked.send({"fate": lease_id, "token": token})
            header, _body, _fds = asked.receive()
        except OSError as error:  # a FrameError is one too
            if came_by_signal(error):
                raise
            return Fate("lost", f"its agent is gone ({error})")
    return Fate(str(header.get("fate", "lost")), str(header.get("message", "")))


def _receive(sock: socket.socket) -> wire.ReplyFrame | None:
    try:
        return wire.receive_reply(sock)
    except OSError as error:
        if came_by_signal(error):
            raise
        return None  # its end was closed under what it had not read


def _receive_rest(sock: socket.socket, came: bytes, fd: int) -> wire.ReplyFrame | None:
    """As ``_receive``, of an answer of which something was read already."""
    try:
        return wire.rest_of_reply(sock, came, fd)
    except OSError as error:
        if came_by_signal(error):
            raise
        return None


async def _receive_aio(
    sock: socket.socket, came: bytes = b"", fd: int = -1
) -> wire.ReplyFrame | None:
    frame, fds, size = bytearray(came), [fd] if fd >= 0 else [], wire.reply_bytes(came)
    try:
        while True:
            if size and len(frame) >= size:
                return wire.parse_reply(frame, fds.pop() if fds else -1)
            await until_readable(sock.fileno())
            try:
                piece, with_it = wire.read_some(sock, wire.DONTWAIT)
            except BlockingIOError:
                continue
            except OSError:
                return None
            if with_it >= 0:
                fds.append(with_it)
            if not piece:
                return None
            frame += piece
            size = wire.reply_bytes(frame)
    finally:
        close_all(fds)  # cut short, or cancelled


#: Every lease that this process has, in use or idle.
held: weakref.WeakValueDictionary[int, Lease] = weakref.WeakValueDictionary()
#: Whether it will be looked again; only the loop says so: whoever asks may be interrupted.
_looking = False


def _look_for_idle() -> None:
    """Close memory files that are not in use, also where there are no more calls."""
    if not _looking:
        background().loop.call_soon_threadsafe(_begin_looking)


def _begin_looking() -> None:
    if not _looking:
        _look()


def _look() -> None:
    global _looking
    _looking = False  # before the look: who keeps something after it begins another
    if reuse.drop_idle():
        _looking = True
        asyncio.get_running_loop().call_later(_LOOK_S, _look)


def _forget_in_child() -> None:
    global _looking
    _looking = False
    for lease in list(held.values()):
        lease.abandon()
    held.clear()


def _close_at_exit() -> None:
    for lease in list(held.values()):
        lease.close()


os.register_at_fork(after_in_child=_forget_in_child)
atexit.register(_close_at_exit)
