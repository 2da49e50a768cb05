"""The same on an event loop: one connection for all tasks of a loop, many requests on their way.

One to the controller, that is, and one to Redis for each object (``aio_direct.py``).

A task that is cancelled while it waits takes nothing: the controller is told, and what was taken
for it already is put back (``giving_back.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
import weakref
from typing import Any

from rekindle import paths
from rekindle.exception import Error
from rekindle.sdk.objects.aio_direct import AioDirect
from rekindle.sdk.objects.aio_socket import READ_BYTES, AioSocket
from rekindle.sdk.objects.answers import heard
from rekindle.sdk.objects.direct import Gone
from rekindle.sdk.objects.exchange import Stranger, Way, is_direct, settled
from rekindle.sdk.objects.giving_back import Owed, goes_on, returning
from rekindle.sdk.objects.link import ACCESS, CONTACT_S, MOST_OBJECTS, Link, later
from rekindle.sdk.objects.slots import Slot, Slots, Where
from rekindle.sdk.objects.taking import OF_ITEMS, Taking
from rekindle.wire import object_frames as wire
from rekindle.wire.object_frames import AGAIN, Op, Reply, Request, Status
from rekindle.wire.resp import Refusal
from rekindle.wire.usercode import came_by_signal

_DELAY_S = 0.05


class AioLink:
    """For one loop."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loop = weakref.ref(asyncio.get_running_loop())
        self._name = os.urandom(wire.SESSION_BYTES)
        self._said_name = self._name.hex().encode()
        self._directs: dict[bytes, AioDirect] = {}
        self._slots = Slots()
        #: By slot: who waits for the controller's answer.
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._connection: AioSocket | None = None
        self._opening = asyncio.Lock()
        self._buffer = bytearray()

    async def ask(self, object_id: bytes, request: Request, taking: Taking | None = None) -> Reply:
        """Have a request done. Raises what the controller raises. ``taking``: as link.py has it."""
        slot, taking = self._slots.take(), taking or Taking()
        if request.op == Op.QUEUE_RETURN:
            request = request._replace(quantity=slot.index)
            self._notes(taking, object_id, slot, request)
        began = time.monotonic()
        try:
            if is_direct(request):
                done = await self._directly(object_id, slot, request, taking)
                if isinstance(done, Request) and self._link.ways.unsaid:
                    await self.ask(b"", self._link.saying())
            else:
                done = request
            if isinstance(done, Request):
                request = done
                done = await self._by_controller(object_id, slot, request, taking, began)
            reply = wire.result_of(done)
            if request.op in OF_ITEMS:
                taking.answered(object_id, request, reply)
        except BaseException as error:
            self._left(object_id, slot, taking.owed(error), error)
            taking.is_left()
            if goes_on(request, error):
                return Reply(Status.DONE, b"1")
            raise
        slot.move(Where.FREE)
        return heard(self._link.ways, request, reply)

    def _notes(self, taking: Taking, object_id: bytes, slot: Slot, request: Request) -> None:
        """The request is about to be sent."""
        if request.op in OF_ITEMS:
            back = returning(request, slot.index)
            taking.asks(Owed(object_id, self._name, slot.number, back), self._link)

    # ---- a request whose caller has gone -------------------------------------------------------

    def _left(self, object_id: bytes, slot: Slot, owed: Owed | None, error: BaseException) -> None:
        """Nobody waits for a request any more. Its slot is free once what is ``owed`` is back."""
        was = slot.where
        slot.move(Where.LEFT)
        told, back = self._tell(object_id, slot, was, owed, error)
        waiting = set(told)

        def over(one: asyncio.Future[Any] | None = None) -> None:
            waiting.discard(one)
            if waiting:
                return
            # All are looked at: asyncio tells of an error that nobody has asked for.
            failed = [one for one in told if one.cancelled() or one.exception() is not None]
            if owed is None or (back is not None and not failed and _is_back(back.result())):
                slot.move(Where.FREE)
            else:
                slot.move(Where.OWED)
                self._link.give_back(owed, error, blocks=False)

        for one in told:
            one.add_done_callback(over)
        if not told:
            over()

    def _tell(
        self, object_id: bytes, slot: Slot, was: Where, owed: Owed | None, error: BaseException
    ) -> tuple[list[asyncio.Future[Any]], asyncio.Future[Any] | None]:
        """Say so where the request ``was``: what is answered to that, and to what is owed.

        At once, behind the request on its connection: the loop may end now.
        """
        told: list[asyncio.Future[Any]] = []
        if isinstance(error, Error):  # they said so
            return told, None
        if not self._loop_runs():  # nobody can hear what is answered
            if was is Where.AT_CONTROLLER:
                self._ended(None)
            return told, None
        with contextlib.suppress(OSError, Gone):
            if was is Where.AT_CONTROLLER and slot.index in self._waiting:
                cancel = Request(Op.CANCEL)
                told.append(self._send(object_id, slot.index, cancel, slot.number))
            if owed is not None and was is not Where.HERE:
                back = self._send_back(was, owed)
                return [*told, back], back
        return told, None

    def _loop_runs(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop()
        except RuntimeError:
            return False

    def _send_back(self, was: Where, owed: Owed) -> asyncio.Future[Any]:
        """Have it put back where its get was sent to. Raises OSError, Gone."""
        if was is Where.AT_CONTROLLER:
            other = self._slots.take()
            try:
                said = self._send(owed.object_id, other.index, owed.back, owed.number)
            except BaseException:
                other.move(Where.FREE)
                raise
            said.add_done_callback(lambda _: other.move(Where.FREE))
            return said
        direct, way = self._directs.get(owed.object_id), self._link.ways.find(owed.object_id)
        if direct is None or not isinstance(way, Way):
            raise Gone("the way to Redis is not known any more")
        return direct.undo(way, owed.back, owed.number)

    # ---- Redis ---------------------------------------------------------------------------------

    async def _way_to(self, object_id: bytes) -> Way | None:
        ways = self._link.ways
        found = ways.find(object_id)
        if found is None:
            await self.ask(object_id, ACCESS)
            found = ways.find(object_id)
        return found if isinstance(found, Way) else None

    def _direct_to(self, object_id: bytes) -> AioDirect:
        found = self._directs.get(object_id)
        if found is None:
            if len(self._directs) >= MOST_OBJECTS:
                for one in [one for one, direct in self._directs.items() if direct.is_idle]:
                    self._directs.pop(one).broke(Gone("it was not used"))
            found = self._directs[object_id] = AioDirect(self._said_name)
        return found

    async def _directly(
        self, object_id: bytes, slot: Slot, request: Request, taking: Taking
    ) -> Reply | Request:
        """The reply, or what is to be asked of the controller; as link.py does it."""
        ways, tried = self._link.ways, 0
        while tried < 3:
            way = await self._way_to(object_id)
            if way is None:
                break
            tried += 1
            direct = self._direct_to(object_id)
            was_open = direct.connection is not None
            connection = direct.connection
            try:
                if not was_open:
                    await direct.open(way)
                    ways.reached()
                was_open, connection = True, direct.connection
                slot.move(Where.AT_REDIS)
                self._notes(taking, object_id, slot, request)
                said = await direct.ask(way, request, slot.index, slot.number)
                done = settled(request, said)
            except Stranger:
                direct.hang_up(connection)
                ways.forget(object_id)
            except (OSError, Gone, ValueError) as error:
                if came_by_signal(error):
                    raise
                if was_open:
                    request = request._replace(flags=request.flags | AGAIN)
                if not was_open or tried > 1:
                    ways.failed(error)
                    break
            else:
                if done is not None:
                    direct.count(way, request, done)
                    return done
                if isinstance(said, Refusal):
                    return request._replace(flags=request.flags | AGAIN)
                taking.took_nothing()
                slot.move(Where.HERE)  # it was answered: this is to wait
                return request
        return request

    # ---- the controller ------------------------------------------------------------------------

    async def _by_controller(
        self, object_id: bytes, slot: Slot, request: Request, taking: Taking, began: float
    ) -> Reply:
        since = sent = began
        again = request
        while True:
            was_open = False
            try:
                if self._connection is None:
                    await self._open()
                was_open, sent = True, time.monotonic()
                slot.move(Where.AT_CONTROLLER)
                self._notes(taking, object_id, slot, request)
                reply = await self._send(object_id, slot.index, again, slot.number)
            except (OSError, Gone) as error:
                if came_by_signal(error):
                    raise
                if was_open and time.monotonic() - sent > CONTACT_S:
                    since = time.monotonic()
                self._link.away(since, error)
                await asyncio.sleep(_DELAY_S)
                again = later(request, began)
            else:
                return reply

    def _send(
        self, object_id: bytes, slot: int, request: Request, number: int
    ) -> asyncio.Future[Reply]:
        """Send it; what comes for its slot. Raises OSError, Gone."""
        if self._connection is None:
            raise Gone("it closed the connection")
        self._connection.send(request.pack(object_id, slot, number))
        future = self._waiting[slot] = asyncio.get_running_loop().create_future()
        return future

    # ---- the connection ------------------------------------------------------------------------

    async def _open(self) -> None:
        while self._connection is None:
            opening = self._opening
            async with opening:
                # Who waited for a lock that was replaced waits for the one that there is now.
                if opening is self._opening and self._connection is None:
                    await self._connect()
                    self._opening = asyncio.Lock()  # one that was waited for keeps its loop alive

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        greeting = self._link.greeting(self._name)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, str(paths.objects_socket(self._link.instance)))
            await loop.sock_sendall(sock, greeting)
            await self._welcomed(loop, sock)
        except BaseException:
            sock.close()
            raise
        self._buffer = bytearray()
        self._connection = AioSocket(sock, self._received, self._ended)

    async def _welcomed(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        data = bytearray()
        while not (size := wire.frame_bytes(data)) or len(data) < size:
            piece = await loop.sock_recv(sock, READ_BYTES)
            if not piece:
                raise Gone("it closed the connection")
            data += piece
        wire.result_of(wire.parse_reply(data)[1])

    def _received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at = 0
        while (size := wire.frame_bytes(buffer, at)) and len(buffer) - at >= size:
            with memoryview(buffer) as view:
                slot, reply = wire.parse_reply(view[at : at + size])
            at += size
            future = self._waiting.get(slot)
            if future is not None and not future.done():
                future.set_result(reply)
            self._waiting.pop(slot, None)
        del buffer[:at]

    def _ended(self, error: OSError | None) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.close()
        why = str(error or "it closed the connection")
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done() and not future.get_loop().is_closed():
                future.set_exception(Gone(why))


def _is_back(said: object) -> bool:
    """Whether that says that items are back."""
    return said == b"1" or (isinstance(said, Reply) and said.status == Status.DONE)


_of_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Link, AioLink]] = (
    weakref.WeakKeyDictionary()
)


def aio_link(link: Link) -> AioLink:
    """The connection of the running loop; another one in a forked child."""
    loop = asyncio.get_running_loop()
    known = _of_loop.setdefault(loop, {})
    found = known.get(link)
    if found is None:
        found = known[link] = AioLink(link)
    return found


def _forget_in_child() -> None:
    _of_loop.clear()


os.register_at_fork(after_in_child=_forget_in_child)
