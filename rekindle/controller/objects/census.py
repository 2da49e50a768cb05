"""How much is in Dicts and Queues, and what was done with them, for status, top and metrics.

Asked of Redis when somebody looks, all objects in one go, and told again to who looks within the
next moment. Programs that use Redis themselves tell it now and then what they did; what was done
for the others is known here.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rekindle.controller.objects import scripts
from rekindle.controller.objects.access import DirectAccess
from rekindle.controller.objects.attempts import Answer
from rekindle.controller.objects.catalog import Catalog, Shared
from rekindle.controller.objects.waiting import Lines
from rekindle.controller.storage.damage import WRONG_TYPE, Damage, Record, text
from rekindle.controller.storage.redis_link import Command, RedisLink
from rekindle.exception import Error, ServiceError
from rekindle.wire import object_keys as names
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.object_commands import counted
from rekindle.wire.object_frames import Reply, Request, Status

#: So many are described, those with names first; the others are counted.
_MOST = 500
_FRESH_S = 0.5
#: Partitions that one script looks at.
_PARTITIONS = 1000
_CONTENT = "content"
#: Errors of one object's commands: its scripts were flushed, and are back with the next request of
#: a program; or what lies there is damaged.
_OF_ONE = ("NOSCRIPT", WRONG_TYPE, "user_script")
#: Replies about one object.
_REPLIES = 3


@dataclass(eq=False)
class Census:
    """Takes it."""

    _link: RedisLink
    _catalog: Catalog
    _lines: Lines
    _access: DirectAccess
    _damage: Damage
    _taken: pb.ObjectsStatus | None = None
    _taken_at: float = 0.0
    _running: asyncio.Task[pb.ObjectsStatus] | None = None
    #: By object: what was done for programs that do not use Redis themselves.
    _done: dict[str, Counter[str]] = field(default_factory=dict)

    def counting(self, one: Shared, request: Request, answer: Answer) -> Answer:
        """``answer``, which also counts what was done."""

        def told(status: int, body: bytes | Error) -> None:
            if status == Status.DONE and isinstance(body, bytes):
                name, number = counted(request, Reply(status, body))
                if number:
                    self._done.setdefault(one.object_id, Counter())[name] += number
            answer(status, body)

        return told

    def forget(self, one: Shared) -> None:
        """Drop what is known of an object that is gone."""
        self._done.pop(one.object_id, None)
        self._damage.forget(_CONTENT, one.object_id)

    async def take(self, patience_s: float) -> pb.ObjectsStatus | None:
        """What there is; what there was a while ago, where Redis does not say so in time."""
        try:
            async with asyncio.timeout(patience_s):
                return await self._take()
        except (ServiceError, TimeoutError):
            return self._taken

    async def _take(self) -> pb.ObjectsStatus:
        if self._taken is not None and time.monotonic() - self._taken_at < _FRESH_S:
            return self._taken
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._make(), name="count what is in objects")
        return await asyncio.shield(self._running)

    async def _make(self) -> pb.ObjectsStatus:
        known = sorted(self._catalog.by_id.values(), key=lambda one: (not one.name, one.created_ns))
        shown = known[:_MOST]
        commands = [command for one in shown for command in _questions(one)]
        replies = await self._link.commands(commands, harmless=_OF_ONE)
        found = [
            await self._described(one, replies[i * _REPLIES : (i + 1) * _REPLIES])
            for i, one in enumerate(shown)
        ]
        self._taken = pb.ObjectsStatus(
            objects=found,
            more=len(known) - len(shown),
            through_controller=self._access.reason,
            barred=self._access.barred_count,
            barred_reason=self._access.barred_reason,
        )
        self._taken_at = time.monotonic()
        return self._taken

    async def _described(self, one: Shared, replies: list[Any]) -> pb.ObjectStatus:
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        damage = [error for error in errors if "NOSCRIPT" not in str(error)]
        if damage:
            replies = [{}, 0, 0]
            if one.object_id.encode() in self._catalog.by_id:  # else deleted as it was asked
                self._damage.note(_content(one), damage[0])
        else:
            self._damage.forget(_CONTENT, one.object_id)
        found, first, second = replies
        operations = Counter(self._done.get(one.object_id, ()))
        operations.update(
            {text(word): int(number) for word, number in found.items() if number.isdigit()}
        )
        made = pb.ObjectStatus(
            object_id=one.object_id,
            kind=one.kind,
            name=one.name,
            environment=one.environment,
            operations=operations,
        )
        if one.kind == "dict":
            made.count, made.size_bytes = int(first), int(second or 0)
            return made
        made.partitions = int(first)
        made.waiting = self._lines.waiting_for(one.object_id.encode())
        sizes = [second]
        for at in range(_PARTITIONS, made.partitions, _PARTITIONS):
            sizes += await self._link.commands([_size(one, at)], harmless=_OF_ONE)
        known = [size for size in sizes if isinstance(size, list)]
        made.count = sum(int(number) for number, _ in known)
        made.size_bytes = sum(int(size) for _, size in known)
        return made


def _content(one: Shared) -> Record:
    return Record(
        *(_CONTENT, one.object_id, names.operations(one.kind, one.object_id)),
        label=one.name,
        remedy="start from a backup of before (docs/operating.md), or delete it",
    )


def _questions(one: Shared) -> Iterable[Command]:
    yield "HGETALL", names.operations(one.kind, one.object_id)
    if one.kind == "dict":
        key = names.dict_entries(one.object_id)
        yield "HLEN", key
        yield "MEMORY", "USAGE", key
        return
    yield "ZCARD", names.queue_partitions(one.object_id)
    yield _size(one, 0)


def _size(one: Shared, at: int) -> Command:
    of = (names.queue_items(one.object_id), names.queue_state(one.object_id))
    index = names.queue_partitions(one.object_id)
    return "EVALSHA", scripts.DIGESTS[scripts.SIZE], 1, index, *of, at, _PARTITIONS
