"""What is done with a request about a Dict or a Queue: a script on Redis, or a wait and then one.

Programs that reach Redis run the scripts themselves, by what access.py grants; here come the rest:
whatever waits, and all that is about the objects as such. One callback for each reply, no task for
a request. Knows nothing of sockets; a request's ``answer`` does.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from rekindle.background_tasks import BackgroundTasks
from rekindle.controller.objects import scripts
from rekindle.controller.objects.access import DirectAccess
from rekindle.controller.objects.attempts import Answer, Attempt, Means, Session
from rekindle.controller.objects.catalog import Catalog, Shared
from rekindle.controller.objects.census import Census
from rekindle.controller.objects.waiting import Lines, Place
from rekindle.controller.storage import tables
from rekindle.controller.storage.damage import Damage
from rekindle.controller.storage.redis_link import RedisLink
from rekindle.controller.storage.redis_pipe import Listening, RedisPipe
from rekindle.exception import Error, InternalFailure, InvalidError, NotFoundError, ServiceError
from rekindle.guarded_loops import Retries
from rekindle.wire import object_keys
from rekindle.wire.logs import kv
from rekindle.wire.object_commands import Caller
from rekindle.wire.object_frames import (
    AGAIN,
    OPTION,
    Op,
    Request,
    Status,
    pack_list,
    unpack_list,
)
from rekindle.wire.resp import packed

log = logging.getLogger(__name__)

_SWEEP_S = 3600.0
_PUT_BACK = "items are not put back yet", "items are put back"
#: Few at a time: each may have its 100 MiB.
_SWEEP_COUNT = 20
_OF_DICT = frozenset(range(Op.DICT_GET, Op.DICT_SCAN + 1))
_OF_QUEUE = frozenset(range(Op.QUEUE_PUT, Op.QUEUE_RETURN + 1))
_MAX_PARTITION_BYTES = 64
_MAX_TTL_S = 7 * 24 * 3600


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
        direct: bool,
        tasks: BackgroundTasks,
        damage: Damage,
    ) -> None:
        """``direct``: whether programs may speak to Redis themselves."""
        self.catalog = Catalog(link, instance, grace_s, self._gone, damage)
        self.access = DirectAccess(link, url, instance, allowed=direct)
        #: Whether programs must wait before they send more; set by who has the sockets.
        self.on_pressure: Callable[[bool], None] = lambda _: None
        self._link = link
        self._instance = instance
        self._channels = len(object_keys.channels(instance))
        pattern = f"{object_keys.channels(instance)}*".encode()
        self.lines = Lines(self._nobody_waits)
        listening = Listening(pattern, self._published, self.lines.wake_everyone)
        self._pipe = RedisPipe(
            url, patience_s, scripts.LOAD, lambda on: self.on_pressure(on), listening
        )
        self.census = Census(link, self.catalog, self.lines, self.access, damage)
        self._means = Means(self.lines, self.catalog.get, self.send, self.put_back)
        self._tasks = tasks
        #: Where items could not be put back when that was tried last.
        self._not_back: dict[Place, Retries] = {}

    async def start(self) -> None:
        """Read back what there is. Raises ServiceError when Redis is away."""
        await self.catalog.load()
        await self._pipe.open()
        known = [one.object_id for one in self.catalog.by_id.values() if one.kind == "queue"]
        for at in range(0, len(known), 1000):  # of a controller that was killed
            notes = map(object_keys.queue_waiting, known[at : at + 1000])
            await self._link.command("UNLINK", *notes)
        await self.access.tidy(self.catalog.ids())
        self._tasks.spawn(self.catalog.go_on(), "remove what was deleted")
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
                told = self.census.counting(one, request, answer)
                if op in _OF_DICT:
                    self.send(one, request, caller, lambda reply: _tell(told, reply))
                else:
                    self._queue(session, one, request, caller, told)
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
        """Run the script of a request."""
        make = partial(scripts.COMMANDS.command, one.target, caller=caller)
        again = partial(make, request=request._replace(flags=request.flags | AGAIN))
        self._pipe.send(make(request=request), again, on_reply)

    def _queue(
        self, session: Session, one: Shared, request: Request, caller: Caller, answer: Answer
    ) -> None:
        if len(request.partition) > _MAX_PARTITION_BYTES:
            raise InvalidError("the name of a partition has 1 to 64 bytes")
        if request.op == Op.QUEUE_PUT and not 0 < request.quantity <= _MAX_TTL_S:
            raise InvalidError("partition_ttl is 1 second to 7 days")
        if request.wait_s:
            channel = object_keys.channel(self._instance, one.object_id)
            caller = caller._replace(waits=channel.encode())
        attempt = Attempt(self._means, session, one, request, caller, answer)
        session.attempts[caller.slot] = attempt
        attempt.try_it()

    def _published(self, channel: bytes, message: bytes) -> None:
        self.lines.notify(channel[self._channels :], message)

    def _nobody_waits(self, kind: str, place: Place) -> None:
        object_id, partition = place
        key = object_keys.queue_waiting(object_id.decode()).encode()
        command = packed(b"HDEL", key, kind.encode() + partition)
        self._pipe.send(command, lambda: command, lambda _: None)

    def put_back(
        self,
        one: Shared,
        asked: Request,
        caller: Caller,
        items: list[bytes],
        done: Callable[[], None],
    ) -> None:
        """Items that a get took for one who has gone; tried until Redis takes them."""
        request = asked._replace(op=Op.QUEUE_RETURN, body=pack_list(items), quantity=caller.slot)
        place = request.object_id, request.partition

        def replied(reply: Any) -> None:
            if isinstance(reply, bytes) or one.object_id.encode() not in self.catalog.by_id:
                if (retries := self._not_back.pop(place, None)) is not None:
                    retries.worked(queue=one.object_id)
                done()
                return
            retries = self._not_back.setdefault(place, Retries(log, *_PUT_BACK))
            wait_s = retries.failed(reply, queue=one.object_id)
            asyncio.get_running_loop().call_later(wait_s, send)

        def send() -> None:
            self.send(one, request, caller, replied)

        send()

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

    async def _gone(self, one: Shared) -> None:
        self.lines.wake_all(one.object_id.encode())
        self.census.forget(one)
        await self.access.revoke(one)
        # Behind all that was sent before.
        last: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def answered(_: object) -> None:
            if not last.done():
                last.set_result(None)

        ping = packed(b"PING")
        self._pipe.send(ping, lambda: ping, answered)
        await last

    # ---- administration ------------------------------------------------------------------------

    async def _administer(self, request: Request, answer: Answer) -> None:
        try:
            found = await self._administered(request)
        except Error as error:
            answer(Status.ERROR, await tables.behind(self._link, self._instance, error))
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
        if reason := str(asked.get("barred", "")):
            self.access.barred(reason)
        if request.op == Op.CREATE:
            keep = bool(request.flags & OPTION)
            made = await catalog.create(kind, environment, name, by, keep=keep)
            return await self._described(made, asked)
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
        return await self._described(found, asked)

    async def _described(self, one: Shared, asked: dict[str, Any]) -> dict[str, Any]:
        """What a program is told of an object; with the way to Redis where it asks for that."""
        if not asked.get("access"):
            return one.record()
        granted = await self.access.grant(one)
        if one.object_id.encode() not in self.catalog.by_id:
            await self.access.revoke(one)  # deleted meanwhile
        return one.record() | {"access": granted}

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
