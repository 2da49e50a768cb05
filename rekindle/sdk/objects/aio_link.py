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
from rekindle.sdk.objects.aio_direct import AioDirect
from rekindle.sdk.objects.aio_socket import READ_BYTES, AioSocket
from rekindle.sdk.objects.answers import heard
from rekindle.sdk.objects.direct import Gone
from rekindle.sdk.objects.exchange import Stranger, Way, is_direct, settled
from rekindle.sdk.objects.giving_back import goes_on, is_open, returning
from rekindle.sdk.objects.link import ACCESS, CONTACT_S, MOST_OBJECTS, Link, later
from rekindle.wire import object_frames as wire
from rekindle.wire.object_frames import AGAIN, Op, Reply, Request, Status
from rekindle.wire.resp import Refusal

_DELAY_S = 0.05


class AioLink:
    """For one loop."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._name = os.urandom(wire.SESSION_BYTES)
        self._said_name = self._name.hex().encode()
        self._directs: dict[bytes, AioDirect] = {}
        self._numbers: list[int] = []
        self._free: list[int] = []
        #: By slot: where its request was sent last.
        self._asked: dict[int, AioDirect | AioLink] = {}
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._connection: AioSocket | None = None
        self._opening = asyncio.Lock()
        self._buffer = bytearray()

    async def ask(self, object_id: bytes, request: Request) -> Reply:
        """Have a request done. Raises what the controller raises."""
        slot = self._slot()
        if request.op == Op.QUEUE_RETURN:
            request = request._replace(quantity=slot)
        began = time.monotonic()
        try:
            if is_direct(request):
                done = await self._directly(object_id, slot, request)
                if isinstance(done, Reply):
                    self._free_again(slot)
                    return done
                request = done
                if self._link.ways.unsaid:
                    await self.ask(b"", self._link.saying())
            reply = wire.result_of(await self._by_controller(object_id, slot, request, began))
        except BaseException as error:
            self._left(object_id, slot, request, error)
            if goes_on(request, error):
                return Reply(Status.DONE, b"1")
            raise
        self._free_again(slot)
        return heard(self._link.ways, request, reply)

    def _slot(self) -> int:
        """One that no one has, and its next number."""
        slot = self._free.pop() if self._free else len(self._numbers)
        if slot == len(self._numbers):
            self._numbers.append(0)
        self._numbers[slot] += 1
        return slot

    def _free_again(self, slot: int) -> None:
        self._asked.pop(slot, None)
        self._free.append(slot)

    def _left(self, object_id: bytes, slot: int, request: Request, error: BaseException) -> None:
        """No one has what was asked for: what a get takes goes back. Then its slot is free.

        That is sent at once, behind the get on its connection: the loop may end now.
        """
        asked, number = self._asked.get(slot), self._numbers[slot]
        open_ = asked is not None or request.op == Op.QUEUE_RETURN
        open_ = open_ and is_open(request, error)
        back, slots = returning(request, slot), [slot]
        answers: list[asyncio.Future[Any]] = []
        sent = False
        if asked is not None and isinstance(error, asyncio.CancelledError):
            with contextlib.suppress(OSError, Gone):
                if isinstance(asked, AioDirect):
                    way = self._link.ways.find(object_id)
                    if open_ and isinstance(way, Way):
                        answers.append(asked.undo(way, back, number))
                        sent = True
                else:
                    if slot in self._waiting:
                        answers.append(self._send(object_id, slot, Request(Op.CANCEL), number))
                    if open_:
                        slots.append(self._slot())
                        answers.append(self._send(object_id, slots[1], back, number))
                        sent = True

        def over(_: object = None) -> None:
            if not all(one.done() for one in answers):
                return
            # All are looked at: asyncio tells of an error that nobody has asked for.
            failed = [one for one in answers if one.cancelled() or one.exception() is not None]
            if open_ and (failed or not sent or not _is_back(answers[-1].result())):
                # What the slot was answered is to stay: no one has it again.
                self._link.give_back(object_id, self._name, number, back, error, blocks=False)
                return
            for one in slots:
                self._free_again(one)

        for one in answers:
            one.add_done_callback(over)
        if not answers:
            over()

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

    async def _directly(self, object_id: bytes, slot: int, request: Request) -> Reply | Request:
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
                self._asked[slot] = direct
                said = await direct.ask(way, request, slot, self._numbers[slot])
                done = settled(request, said)
            except Stranger:
                direct.hang_up(connection)
                ways.forget(object_id)
            except (OSError, Gone, ValueError) as error:
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
                self._numbers[slot] += 1  # it was answered: this is to wait
                return request
        return request

    # ---- the controller ------------------------------------------------------------------------

    async def _by_controller(
        self, object_id: bytes, slot: int, request: Request, began: float
    ) -> Reply:
        since = sent = began
        again = request
        while True:
            was_open = False
            try:
                if self._connection is None:
                    await self._open()
                was_open, sent = True, time.monotonic()
                self._asked[slot] = self
                reply = await self._send(object_id, slot, again, self._numbers[slot])
            except (OSError, Gone) as error:
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
            future = self._waiting.pop(slot, None)
            if future is not None and not future.done():
                future.set_result(reply)
        del buffer[:at]

    def _ended(self, error: OSError | None) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.close()
        why = str(error or "it closed the connection")
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
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
