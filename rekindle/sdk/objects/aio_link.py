"""The same on an event loop: one connection for all tasks of a loop, many requests on their way.

One to the controller, that is, and one to Redis for each object (``aio_direct.py``).

A task that is cancelled while it waits takes nothing: the controller is told, and what was on its
way already is put back.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
import weakref

from rekindle import paths
from rekindle.sdk.objects.aio_direct import AioDirect
from rekindle.sdk.objects.aio_socket import READ_BYTES, AioSocket
from rekindle.sdk.objects.direct import Gone
from rekindle.sdk.objects.exchange import Stranger, Way, is_direct, settled
from rekindle.sdk.objects.link import ACCESS, CONTACT_S, MOST_OBJECTS, Link, heard, later
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
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._connection: AioSocket | None = None
        self._opening = asyncio.Lock()
        self._buffer = bytearray()

    async def ask(self, object_id: bytes, request: Request) -> Reply:
        """Have a request done. Raises what the controller raises."""
        slot = self._free.pop() if self._free else len(self._numbers)
        if slot == len(self._numbers):
            self._numbers.append(0)
        self._numbers[slot] += 1
        began = time.monotonic()
        if is_direct(request):
            try:
                done = await self._directly(object_id, slot, request)
            except BaseException:
                # Its answer may be on its way: the slot's next number is told from it.
                self._free.append(slot)
                raise
            if self._link.ways.unsaid:
                await self.ask(b"", self._link.saying())
            if isinstance(done, Reply):
                self._free.append(slot)
                return done
            request = done
        reply = await self._by_controller(object_id, slot, request, began)
        return heard(self._link, request, wire.result_of(reply))

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
            future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            try:
                if self._connection is None:
                    await self._open()
                was_open, sent = True, time.monotonic()
                self._waiting[slot] = future
                assert self._connection is not None
                self._connection.send(again.pack(object_id, slot, self._numbers[slot]))
                reply = await future
            except (OSError, Gone) as error:
                if was_open and time.monotonic() - sent > CONTACT_S:
                    since = time.monotonic()
                self._link.away(since, error)
                await asyncio.sleep(_DELAY_S)
                again = later(request, began)
            except asyncio.CancelledError:
                self._cancelled(slot, object_id, request, future, asked=was_open)
                raise
            else:
                self._free.append(slot)
                return reply

    def _cancelled(
        self,
        slot: int,
        object_id: bytes,
        request: Request,
        future: asyncio.Future[Reply],
        *,
        asked: bool,
    ) -> None:
        """The slot is free when the answer is there; items in it are put back."""
        if not asked:
            self._free.append(slot)
            return
        if future.done() and not future.cancelled():
            self._put_back(object_id, request, future)
            self._free.append(slot)
            return
        left: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[slot] = left

        def answered(_: asyncio.Future[Reply]) -> None:
            self._put_back(object_id, request, left)
            self._free.append(slot)

        left.add_done_callback(answered)
        if self._connection is not None:
            self._connection.send(Request(Op.CANCEL).pack(object_id, slot, self._numbers[slot]))

    def _put_back(self, object_id: bytes, request: Request, future: asyncio.Future[Reply]) -> None:
        if future.cancelled() or future.exception() is not None or request.op != Op.QUEUE_GET:
            return
        reply = future.result()
        if reply.status == Status.DONE:
            items = wire.pack_list(wire.unpack_list(reply.body, 1))
            back = Request(Op.QUEUE_RETURN, items, partition=request.partition)
            task = asyncio.get_running_loop().create_task(self.ask(object_id, back))
            _returning.add(task)
            task.add_done_callback(_returning.discard)

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


#: Items on their way back; a loop itself forgets what no one holds.
_returning: set[asyncio.Task[Reply]] = set()
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
