"""What is done with a request about a Dict or a Queue: a script on Redis, or a wait and then one.

One callback for each reply, no task for a request: this is on the way of every operation. Knows
nothing of sockets; a request's ``answer`` does.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rekindle.background_tasks import BackgroundTasks
from rekindle.controller.objects import scripts
from rekindle.controller.objects.catalog import Catalog, Shared
from rekindle.controller.objects.scripts import Caller
from rekindle.controller.objects.waiting import Place, Waiting, Waitings
from rekindle.controller.storage.redis_link import RedisLink
from rekindle.controller.storage.redis_pipe import RedisPipe
from rekindle.exception import (
    Error,
    InternalFailure,
    InvalidError,
    NotFoundError,
    RequestSizeError,
    ResourceExhaustedError,
    ServiceError,
)
from rekindle.wire.logs import kv
from rekindle.wire.object_frames import OPTION, Op, Request, Status, pack_list, unpack_list

log = logging.getLogger(__name__)

#: Gets status and body, or the error, of a request; once.
Answer = Callable[[int, bytes | Error], None]

_SWEEP_S = 3600.0
#: Few at a time: each may have its 100 MiB.
_SWEEP_COUNT = 20
_OF_DICT = frozenset(range(Op.DICT_GET, Op.DICT_SCAN + 1))
_OF_QUEUE = frozenset(range(Op.QUEUE_PUT, Op.QUEUE_RETURN + 1))
_MAX_PARTITION_BYTES = 64
_MAX_TTL_S = 7 * 24 * 3600


@dataclass(eq=False)
class Session:
    """One connection of a program."""

    name: bytes = b""
    closed: bool = False
    #: By slot: what is tried, or waits.
    attempts: dict[int, _Attempt] = field(default_factory=dict)
    holds: set[bytes] = field(default_factory=set)


class ObjectService:
    """All Dicts and Queues of an instance."""

    def __init__(
        self,
        link: RedisLink,
        url: str,
        instance: str,
        *,
        patience_s: float,
        grace_s: float,
        tasks: BackgroundTasks,
    ) -> None:
        self.catalog = Catalog(link, instance, grace_s, self._gone)
        #: Whether programs must wait before they send more; set by who has the sockets.
        self.on_pressure: Callable[[bool], None] = lambda _: None
        self._pipe = RedisPipe(url, patience_s, scripts.LOAD, lambda on: self.on_pressure(on))
        self._tasks = tasks
        self._tickets = itertools.count()
        self.for_items = Waitings()
        self.for_room = Waitings()
        #: Who looks at a Queue without taking.
        self.watching = Waitings()

    async def start(self) -> None:
        """Read back what there is. Raises ServiceError when Redis is away."""
        await self.catalog.load()
        await self._pipe.open()
        self._tasks.spawn(self._sweep(), "sweep expired entries")

    async def stop(self) -> None:
        """Requests that wait are not answered: their programs ask the next controller."""
        await self.catalog.close()
        await self._pipe.close()

    # ---- requests ------------------------------------------------------------------------------

    def handle(
        self, session: Session, slot: int, number: bytes, request: Request, answer: Answer
    ) -> None:
        """Do it, or have it wait."""
        op = request.op
        try:
            if op in _OF_DICT or op in _OF_QUEUE:
                one = self.catalog.by_id.get(request.object_id)
                if one is None or (one.kind == "dict") != (op in _OF_DICT):
                    one = self._missing(request)
                caller = Caller(session.name, slot, number)
                if op in _OF_DICT:
                    self.send(one, request, caller, lambda reply: _tell(answer, reply))
                else:
                    self._queue(session, one, request, caller, answer)
            elif op == Op.CANCEL:
                attempt = session.attempts.get(slot)
                if attempt is not None:
                    attempt.abandon()
            elif op == Op.HOLD:
                self._hold(session, request.object_id)
                answer(Status.DONE, b"")
            else:
                work = self._administer(request, answer)
                self._tasks.spawn(work, "answer about an object")
        except Error as error:
            answer(Status.ERROR, error)
        except Exception as error:  # whoever asked must not wait for ever
            log.exception("a request about an object failed")
            answer(Status.ERROR, InternalFailure(f"{type(error).__name__}: {error}"))

    def _missing(self, request: Request) -> Shared:
        one = self.catalog.get(request.object_id)
        raise InvalidError(f"{one.object_id} is a {one.kind}")

    def send(
        self, one: Shared, request: Request, caller: Caller, on_reply: Callable[[Any], None]
    ) -> None:
        again = partial(scripts.command_again, one, request, caller)
        self._pipe.send(scripts.command(one, request, caller), again, on_reply)

    def _queue(
        self, session: Session, one: Shared, request: Request, caller: Caller, answer: Answer
    ) -> None:
        if len(request.partition) > _MAX_PARTITION_BYTES:
            raise InvalidError("the name of a partition has 1 to 64 bytes")
        if request.op == Op.QUEUE_PUT and not 0 < request.quantity <= _MAX_TTL_S:
            raise InvalidError("partition_ttl is 1 second to 7 days")
        attempt = _Attempt(self, session, one, request, caller, answer)
        session.attempts[caller.slot] = attempt
        attempt.try_it()

    def ticket(self) -> int:
        """A place in the line."""
        return next(self._tickets)

    def changed(self, request: Request) -> None:
        """A request has changed a Queue: try those again that waited for that."""
        place = place_of(request)
        if request.op in (Op.QUEUE_PUT, Op.QUEUE_RETURN):
            self.for_items.wake(place, _count(request.body))
            self.watching.wake(place, 1 << 30)
        elif request.op == Op.QUEUE_GET:
            self.for_room.wake(place, request.quantity)
        elif request.op == Op.QUEUE_CLEAR:
            self.for_room.wake_all(place[0])

    def put_back(self, one: Shared, asked: Request, caller: Caller, items: list[bytes]) -> None:
        """Items that were taken for one who has gone; its answer is forgotten with that."""
        request = asked._replace(op=Op.QUEUE_RETURN, body=pack_list(items))

        def replied(reply: Any) -> None:
            if isinstance(reply, bytes):
                self.changed(request)
            else:
                log.error("items were not put back", extra=kv(queue=one.object_id, reason=reply))

        self.send(one, request, caller._replace(number=bytes(8)), replied)

    def _hold(self, session: Session, object_id: bytes) -> None:
        self.catalog.get(object_id)
        if object_id not in session.holds:
            session.holds.add(object_id)
            self.catalog.hold(object_id)

    def ended(self, session: Session) -> None:
        """A connection is gone: nothing waits for it any more."""
        session.closed = True
        for attempt in list(session.attempts.values()):
            attempt.abandon()
        for object_id in session.holds:
            self.catalog.release(object_id)

    def _gone(self, one: Shared) -> None:
        object_id = one.object_id.encode()
        for line in (self.for_items, self.for_room, self.watching):
            line.wake_all(object_id)

    # ---- administration ------------------------------------------------------------------------

    async def _administer(self, request: Request, answer: Answer) -> None:
        try:
            found = await self._administered(request)
        except Error as error:
            answer(Status.ERROR, error)
        else:
            answer(Status.DONE, json.dumps(found).encode())

    async def _administered(self, request: Request) -> Any:
        catalog = self.catalog
        try:
            asked = json.loads(request.body or b"{}")
            kind, environment = str(asked.get("kind", "")), str(asked.get("environment", ""))
            name, by = str(asked.get("name", "")), str(asked.get("by", ""))
        except (ValueError, AttributeError):
            raise InvalidError("what is asked about objects is no JSON object") from None
        if request.op == Op.CREATE:
            keep = bool(request.flags & OPTION)
            return (await catalog.create(kind, environment, name, by, keep=keep)).record()
        if request.op == Op.LIST:
            return [one.record() for one in catalog.listed(kind, environment)]
        if request.op not in (Op.LOOKUP, Op.DELETE):
            raise InvalidError(f"nothing of number {request.op} can be asked about objects")
        if name:
            found = catalog.find(kind, environment, name)
            if found is None and request.op == Op.DELETE and request.flags & OPTION:
                return None
            if found is None:
                raise NotFoundError(
                    f"there is no {kind.capitalize()} {name!r} in the environment "
                    f"{environment!r}; create_if_missing=True makes it"
                )
        else:
            found = catalog.get(request.object_id)
        if request.op == Op.DELETE:
            await catalog.delete(found)
        return found.record()

    async def _sweep(self) -> None:
        """Now and then drop what no one has used for its time."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            for one in list(self.catalog.by_id.values()):
                try:
                    await self._swept(one)
                except ServiceError as error:
                    log.warning("old entries were not dropped", extra=kv(reason=error))

    async def _swept(self, one: Shared) -> None:
        """Look at all of an object; the scripts drop what has had its time."""
        if one.kind == "queue":
            await self._reply(one, Request(Op.QUEUE_LEN, flags=OPTION))
            return
        cursor = b"0"
        while True:
            request = Request(Op.DICT_SCAN, cursor, flags=OPTION, quantity=_SWEEP_COUNT)
            cursor = unpack_list(await self._reply(one, request))[-1]
            if cursor == b"0":
                return

    async def _reply(self, one: Shared, request: Request) -> bytes:
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def replied(reply: Any) -> None:
            if future.done():
                return
            if isinstance(reply, bytes):
                future.set_result(reply)
            else:
                future.set_exception(reply)

        self.send(one, request, Caller(b"", 0, b""), replied)
        return await future


def _tell(answer: Answer, reply: Any) -> None:
    if isinstance(reply, bytes):
        answer(Status.DONE, reply)
    else:
        answer(Status.ERROR, reply)


class _Attempt:
    """A request about a Queue, tried until it can be done or its time is over."""

    __slots__ = (
        *("_abandoned", "_answer", "_caller", "_expired", "_line", "_one", "_request"),
        *("_service", "_session", "_trying", "_waiting"),
    )

    def __init__(
        self,
        service: ObjectService,
        session: Session,
        one: Shared,
        request: Request,
        caller: Caller,
        answer: Answer,
    ) -> None:
        self._service = service
        self._session = session
        self._one = one
        self._request = request
        self._caller = caller
        self._answer = answer
        self._waiting: Waiting | None = None
        self._line: Waitings | None = None
        #: Whether it is on its way to Redis: then its reply says how it ended.
        self._trying = False
        self._expired = False
        #: No one wants what it takes.
        self._abandoned = False

    def try_it(self) -> None:
        """Send it, unless its Queue is gone."""
        try:
            self._service.catalog.get(self._request.object_id)
        except NotFoundError as error:
            self._end(Status.ERROR, error)
            return
        self._trying = True
        self._service.send(self._one, self._request, self._caller, self._replied)

    def abandon(self) -> None:
        """Whoever asked has gone, or was cancelled: what is taken all the same is put back."""
        self._abandoned = True
        self._over(Status.EMPTY)

    def _replied(self, reply: Any) -> None:
        self._trying = False
        if not isinstance(reply, bytes):
            self._end(Status.ERROR, reply)
            return
        first, op, service = reply[:1], self._request.op, self._service
        if first == b"E":
            line = service.for_items if op == Op.QUEUE_GET else service.watching
            self._wait(line, Status.EMPTY)
        elif first == b"F":
            self._wait(service.for_room, Status.FULL, int(reply[1:]))
        elif first == b"P":
            self._end(
                Status.ERROR,
                ResourceExhaustedError("the Queue has 100,000 partitions, and may have no more"),
            )
        elif first == b"B":
            self._end(
                Status.ERROR,
                RequestSizeError("a partition has room for 5,000 items and 64 MiB, not for these"),
            )
        elif self._abandoned and op == Op.QUEUE_GET:
            service.put_back(self._one, self._request, self._caller, unpack_list(reply, 1))
            self._end(Status.EMPTY, b"")
        else:
            self._end(Status.DONE, reply)
            service.changed(self._request)

    def _wait(self, line: Waitings, status: Status, left_ms: int = -1) -> None:
        """Until something changes; ``left_ms``: what is there goes by itself after that."""
        wait_s, waiting = self._request.wait_s, self._waiting
        if wait_s == 0 or self._expired:
            self._end(status, b"")
            return
        place = place_of(self._request)
        loop = asyncio.get_running_loop()
        self._line = line
        if waiting is None:
            waiting = self._waiting = Waiting(self._service.ticket(), self.try_it)
            if wait_s > 0:
                waiting.timer = loop.call_later(wait_s, self._over, status)
        if waiting.room is not None:
            waiting.room.cancel()
        if left_ms >= 0:
            waiting.room = loop.call_later(left_ms / 1000 + 0.001, line.wake, place, 1)
        line.add(place, waiting)

    def _over(self, status: Status) -> None:
        self._expired = True
        if not self._trying and self._waiting is not None and self._line is not None:
            self._line.forget(place_of(self._request), self._waiting)
            self._end(status, b"")

    def _end(self, status: int, body: bytes | Error) -> None:
        if self._waiting is not None:
            self._waiting.end()
        if self._session.attempts.get(self._caller.slot) is self:
            del self._session.attempts[self._caller.slot]
        self._answer(status, body)


def place_of(request: Request) -> Place:
    """The partition that a request is about."""
    return request.object_id, request.partition


def _count(items: bytes) -> int:
    """How many a packed list has."""
    return int.from_bytes(items[1:5], "big")
