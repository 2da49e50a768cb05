"""Direct calls: the runners that this process leases, and calls on them past the controller.

A lease is a socket to one runner, held for one caller at a time and kept for the next one. What
becomes of a call that could not be made directly, calls/invoke.py decides. A forked child has no
part in its parent's leases.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import socket
import sys
import time
import weakref
from collections import deque
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from rekindle import paths
from rekindle.exception import Error
from rekindle.linux.arrivals import Arrivals
from rekindle.sdk.calls import records
from rekindle.sdk.connection.background import background
from rekindle.wire import direct_frames as wire
from rekindle.wire import reuse
from rekindle.wire.frames import FrameSocket, pack_frame
from rekindle.wire.shared import Packed

if TYPE_CHECKING:
    from rekindle.sdk.connection.client import Client
    from rekindle.sdk.running import RunningApp
    from rekindle.wire import rekindle_pb2 as pb

#: After a refusal no lease is asked for, for this long; doubled up to the maximum.
_PAUSE_S, _PAUSE_MAX_S = 0.02, 1.0
#: A controller that cannot lease this function, or answers at all: look again after this long.
_NEVER_S = 30.0
#: A lease that was granted is there at once, or its agent is in trouble.
_TAKE_UP_S = 2.0
#: What became of a lease is asked for this long: an agent answers at once.
_FATE_S = 10.0
#: With more parameters than this it is the controller that is asked.
_MOST_PARAMS_BYTES = 1024
#: How often it is looked whether memory files lie idle, while there are some.
_LOOK_S = 1.0


class NotRunError(Exception):
    """The call was not accepted by the runner: it has not run, and will not."""


class NoRunnerError(Exception):
    """No runner could be started for the call: what it comes to."""

    def __init__(self, result: pb.Result) -> None:
        super().__init__(result.message)
        self.result = result


@dataclass(frozen=True)
class Fate:
    """Why a runner gave no answer: ``timeout`` or ``lost``, in words."""

    kind: str
    message: str


class Lease:
    """A lease that this process holds."""

    def __init__(self, sock: socket.socket, reply: pb.LeaseReply) -> None:
        self._sock = sock
        self._arrivals = Arrivals(sock.fileno())
        self._path = reply.socket
        self._token = reply.token
        self.id = reply.lease_id
        self.runner_id = reply.runner_id
        #: The start of its runner, for the record of the first call: that waited for it.
        self.began = reply.began if reply.HasField("began") else None
        #: For one call alone: its runner ends with it.
        self.once = reply.once
        #: What arguments may have: more goes through the controller, which has the error.
        self.limit_bytes = reply.max_payload_bytes or sys.maxsize
        #: What arguments for this runner are packed into.
        self.files = reuse.MemoryFiles()
        #: Memory files of its results that nothing here sees any more.
        self.gone: deque[int] = deque()

    @classmethod
    def of(cls, sock: socket.socket, reply: pb.LeaseReply) -> Lease:
        """A lease whose connection is its runner's already."""
        lease = cls(sock, reply)
        _all[id(lease)] = lease
        return lease

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
        return cls.of(sock, reply)

    def call(
        self, call_id: str, method: str, packed: Packed, depth: int = 0
    ) -> wire.ReplyFrame | None:
        """Run a call and wait. None where the runner is gone. Raises NotRunError.

        Whatever else is raised here (an interrupt) ends the lease, and with it the call.
        """
        try:
            self._send(call_id, method, packed, depth)
            since_ns = perf_counter_ns()
            looked = self._arrivals.look(since_ns)
            reply = _receive(self._sock)
            if not looked:
                self._arrivals.slept(since_ns)
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

    def _received(self, reply: wire.ReplyFrame | None) -> None:
        if reply is None:
            self.close()
        elif reply.gone:
            self.files.came_back(reply.gone)

    def _send(self, call_id: str, method: str, packed: Packed, depth: int) -> None:
        try:
            wire.send_call(self._sock, call_id, method, packed, self.gone, depth)
        except OSError as error:
            raise NotRunError from error
        if packed.file is not None:
            packed.close()
            _look_for_idle()

    def fate(self) -> Fate:
        """What became of the runner, from its agent."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_FATE_S)
            try:
                sock.connect(self._path)
                asked = FrameSocket(sock)
                asked.send({"fate": self.id, "token": self._token})
                header, _body, _fds = asked.receive()
            except OSError as error:  # a FrameError is one too
                return Fate("lost", f"its agent is gone ({error})")
        return Fate(str(header.get("fate", "lost")), str(header.get("message", "")))

    def is_over(self) -> bool:
        """Whether an idle lease was taken back meanwhile."""
        try:
            return not self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Give the lease back; a call that runs is cancelled."""
        with contextlib.suppress(OSError):
            # Not only closed: a process that was forked meanwhile may hold a copy.
            self._sock.shutdown(socket.SHUT_RDWR)
        self.abandon()

    def abandon(self) -> None:
        """Let go of the descriptors alone: the lease is another process's."""
        self._sock.close()
        self.files.close()
        _all.pop(id(self), None)


def _receive(sock: socket.socket) -> wire.ReplyFrame | None:
    try:
        return wire.receive_reply(sock)
    except OSError:
        return None  # its end was closed under what it had not read


async def _receive_aio(sock: socket.socket) -> wire.ReplyFrame | None:
    frame, fd, size = bytearray(), -1, 0
    while not size or len(frame) < size:
        await _readable(sock)
        try:
            piece, came = wire.read_some(sock, socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        except OSError:
            piece, came = b"", -1
        fd = came if came >= 0 else fd
        if not piece:
            if fd >= 0:
                os.close(fd)
            return None
        frame += piece
        size = wire.reply_bytes(frame)
    return wire.parse_reply(frame, fd)


async def _readable(sock: socket.socket) -> None:
    """Return when there is something to read, or an end."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock.fileno(), _wake, readable)
    try:
        await readable
    finally:
        loop.remove_reader(sock.fileno())


def _wake(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)


# ---- the leases of this process ----------------------------------------------------------------


@dataclass(slots=True, eq=False)
class LeaseCache:
    """One function (and parameters) of one instance: its idle leases, and when to ask for more."""

    client: Client
    function_id: str
    params: bytes
    #: Used from several threads: list.append and list.pop are all that is done with it.
    idle: list[Lease] = field(default_factory=list)
    _ask_at: float = 0.0
    _ask_node_at: float = 0.0
    _pause_s: float = _PAUSE_S

    def take(self) -> Lease | None:
        """An idle lease."""
        try:
            return self.idle.pop()
        except IndexError:
            return None

    def give_back(self, lease: Lease) -> None:
        """Keep a lease for the next caller, or end one that was for a single call."""
        if lease.once:
            lease.close()
            return
        idle = self.idle
        if idle:
            self._look_at_oldest()
        idle.append(lease)

    def _look_at_oldest(self) -> None:
        """Let go of a lease that fewer callers than before have left unused, once it is over."""
        try:
            oldest = self.idle.pop(0)
        except IndexError:
            return
        if oldest.is_over():
            oldest.close()
        else:
            self.idle.insert(0, oldest)

    def refused(self) -> None:
        """No lease for a while."""
        self._ask_at = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _PAUSE_MAX_S)

    async def ask_node(
        self, depth: int = 0, strategy: str = "", *, blocks: bool = True
    ) -> Lease | None:
        """Ask the agent of this machine; the connection becomes that to the runner.

        ``blocks``: the thread waits for the answer, which can take as long as a start; otherwise
        its event loop does. None where there is no agent that knows the function: the controller
        is to be asked. Raises NoRunnerError as ``ask``.
        """
        from rekindle.wire import rekindle_pb2 as pb

        token = self.client.node_tokens.get(self.function_id, "")
        if (
            not token
            or len(self.params) > _MOST_PARAMS_BYTES
            or time.monotonic() < self._ask_node_at
        ):
            return None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(str(paths.direct_socket(self.client.instance)))
            frames = FrameSocket(sock)
            frames.send(
                {
                    "ask": self.function_id,
                    "params": self.params.hex(),
                    "depth": depth,
                    "token": token,
                    "strategy": strategy,
                    "measure": _to_measure(strategy),
                }
            )
            if not blocks:
                await _readable(sock)
            header, body, _fds = frames.receive()
            granted = pb.LeaseGranted.FromString(body)
        except OSError:  # a FrameError is one too
            sock.close()
            self._ask_node_at = time.monotonic() + _NEVER_S
            return None
        except BaseException:
            sock.close()
            raise
        if granted.ok:
            self._pause_s = _PAUSE_S
            reply = pb.LeaseReply(
                lease_id=header["lease"],
                socket=granted.socket,
                token=granted.token,
                runner_id=granted.runner_id,
                max_payload_bytes=header["limit"],
                once=granted.once,
            )
            if granted.HasField("began"):
                reply.began.CopyFrom(granted.began)
            return Lease.of(sock, reply)
        sock.close()
        if granted.HasField("failure"):
            raise NoRunnerError(granted.failure)
        self.refused()
        return None

    def may_ask(self) -> bool:
        """Whether it is time to ask the controller for a lease."""
        return time.monotonic() >= self._ask_at

    async def ask(self, depth: int = 0, strategy: str = "") -> Lease | None:
        """Ask for a lease, for calls at this depth; runs on the background thread.

        Raises NoRunnerError where a runner was to be started for it, and could not be.
        """
        try:
            reply = await self.client.lease(
                *(self.function_id, self.params, depth, strategy),
                measure=_to_measure(strategy),
            )
        except Error:
            # A function that cannot be leased, or no controller: it all works without.
            self._ask_at = time.monotonic() + _NEVER_S
            return None
        if reply.HasField("failure"):
            raise NoRunnerError(reply.failure)
        if not reply.granted:
            self.refused()
            return None
        try:
            lease = await Lease.take_up(reply)
        except OSError:
            self.refused()  # another machine's, or an agent that just went
            return None
        self._pause_s = _PAUSE_S
        return lease


def _to_measure(strategy: str) -> bool:
    """Whether the record of a call will say what memory its runner holds."""
    return bool(strategy) and records.collecting()


_caches: dict[tuple[Any, ...], LeaseCache] = {}
#: Every lease that is held, in use or idle.
_all: weakref.WeakValueDictionary[int, Lease] = weakref.WeakValueDictionary()


def cache_of(client: Client, function_id: str, params: bytes) -> LeaseCache:
    """Where leases of a function are."""
    key = (client, function_id, params)
    cache = _caches.get(key)
    if cache is None:
        cache = _caches[key] = LeaseCache(client, function_id, params)
    return cache


def give_back_of(app: RunningApp) -> None:
    """An app ends: no one will call its functions again."""
    function_ids = set(app.function_ids.values())
    for key, cache in list(_caches.items()):
        if cache.client is app.client and cache.function_id in function_ids:
            del _caches[key]
            while (lease := cache.take()) is not None:
                lease.close()


_looking = False


def _look_for_idle() -> None:
    """Close memory files that are not in use, also where there are no more calls."""
    global _looking
    if not _looking:
        _looking = True
        background().loop.call_soon_threadsafe(_look)


def _look() -> None:
    global _looking
    _looking = False  # before the look: who keeps something after it begins another
    if reuse.drop_idle():
        _looking = True
        asyncio.get_running_loop().call_later(_LOOK_S, _look)


def _forget_in_child() -> None:
    global _looking
    _looking = False
    for lease in list(_all.values()):
        lease.abandon()
    _all.clear()
    _caches.clear()


def _close_at_exit() -> None:
    for lease in list(_all.values()):
        lease.close()


os.register_at_fork(after_in_child=_forget_in_child)
atexit.register(_close_at_exit)
