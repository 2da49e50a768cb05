"""Which Dicts and Queues there are, by id and by name; kept in Redis, and here for quick look-ups.

One controller serves an instance, and it alone writes here. Ephemeral ones go when no connection
holds them any more.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from functools import partial

from rekindle.background_tasks import BackgroundTasks
from rekindle.controller import names
from rekindle.controller.storage import keys
from rekindle.controller.storage.damage import WRONG_TYPE, Damage, Record, text
from rekindle.controller.storage.redis_link import FOREVER, Command, RedisLink
from rekindle.controller.storage.typed import checked
from rekindle.exception import AlreadyExistsError, InvalidError, NotFoundError, ServiceError
from rekindle.wire import object_keys
from rekindle.wire.logs import kv
from rekindle.wire.object_commands import Target, target

log = logging.getLogger(__name__)

#: Kind -> what its ids begin with.
KINDS = {"dict": "di-", "queue": "qu-"}
_KIND_OF = {begin.encode(): kind for kind, begin in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Shared:
    """A Dict or a Queue; without a name where it is ephemeral."""

    object_id: str
    kind: str
    name: str
    environment: str
    created_ns: int
    #: Who made it: user and program, as that said it.
    created_by: str = ""
    #: The same for commands.
    target: Target = field(default=Target(*[b""] * len(Target._fields)), compare=False, repr=False)

    def record(self) -> dict[str, object]:
        """What is kept, and what programs are told."""
        found = asdict(self)
        del found["target"]
        return found


def _shared(record: dict[str, object]) -> Shared:
    made = target(str(record["kind"]), str(record["object_id"]))
    return Shared(**record, target=made)  # type: ignore[arg-type]  # it is a record of asdict


def _read(object_id: str, raw: bytes) -> Shared:
    made: Shared = checked(_shared(json.loads(raw)))
    if made.object_id != object_id or made.kind not in KINDS:
        raise ValueError(f"it is that of {made.kind} {made.object_id!r}")
    return made


class Catalog:
    """All of an instance."""

    def __init__(
        self,
        link: RedisLink,
        instance: str,
        grace_s: float,
        on_gone: Callable[[Shared], Awaitable[None]],
        damage: Damage,
    ) -> None:
        """``on_gone`` is called with what was deleted, before its values go: no one uses them when
        it returns.
        """
        self._link = link
        self._key = keys.objects(instance)
        self._going = keys.objects_going(instance)
        self._grace_s = grace_s
        self._on_gone = on_gone
        self._damage = damage
        #: By the bytes of the id, as they come in requests.
        self.by_id: dict[bytes, Shared] = {}
        self._by_name: dict[tuple[str, str, str], Shared] = {}
        self._held: Counter[bytes] = Counter()
        self._changing = asyncio.Lock()
        self._tasks = BackgroundTasks()

    async def load(self) -> None:
        """Read back what there is. Ephemeral ones have the grace to be held again."""
        for field_, raw in (await self._link.command("HGETALL", self._key)).items():
            kind = _KIND_OF.get(field_[:3], "object").capitalize()
            record = Record(kind, text(field_), self._key, field_)
            if (one := self._damage.read(record, partial(_read, record.name, raw))) is None:
                continue
            self._know(one)
            if not one.name:
                self._end_later(one)

    def _know(self, one: Shared) -> None:
        self.by_id[one.object_id.encode()] = one
        if one.name:
            self._by_name[one.kind, one.environment, one.name] = one

    def find(self, kind: str, environment: str, name: str) -> Shared | None:
        """By its name. Raises InternalFailure where it may be one whose record is damaged."""
        found = self._by_name.get((kind, environment, name))
        if found is None:
            for one in self._damage.of(kind.capitalize()):
                raise one.error()
        return found

    def get(self, object_id: bytes) -> Shared:
        """By its id. Raises NotFoundError; InternalFailure where its record is damaged."""
        found = self.by_id.get(object_id)
        if found is None:
            for kind in KINDS:
                self._damage.check(kind.capitalize(), object_id.rstrip(bytes(1)).decode("latin-1"))
            raise NotFoundError(
                f"there is no Dict or Queue {object_id.rstrip(bytes(1)).decode(errors='replace')!r}"
                f" (any more): it was deleted, or is another instance's"
            )
        return found

    def ids(self) -> set[str]:
        """Of all, those whose records are damaged included."""
        damaged = (one for kind in KINDS for one in self._damage.of(kind.capitalize()))
        known = {one.object_id for one in self.by_id.values()}
        return known | {one.record.name for one in damaged}

    def listed(self, kind: str, environment: str) -> list[Shared]:
        """Named ones of an environment, the newest first."""
        found = [
            one
            for one in self._by_name.values()
            if one.kind == kind and one.environment == environment
        ]
        return sorted(found, key=lambda one: -one.created_ns)

    async def create(
        self, kind: str, environment: str, name: str, by: str, *, keep: bool
    ) -> Shared:
        """Make one; ephemeral without a name. With ``keep``, the one that is there otherwise.

        Raises AlreadyExistsError, InvalidError.
        """
        if kind not in KINDS:
            raise InvalidError(f"no objects of kind {kind!r}; there are {', '.join(KINDS)}")
        for one in (environment, name) if name else (environment,):
            names.check_object_name(one)
        async with self._changing:
            found = self.find(kind, environment, name) if name else None
            if found is not None:
                if keep:
                    return found
                raise AlreadyExistsError(
                    f"there is a {kind} {name!r} already; use from_name, or allow_existing=True"
                )
            made = _shared(
                {
                    "object_id": KINDS[kind] + secrets.token_hex(11),
                    "kind": kind,
                    "name": name,
                    "environment": environment,
                    "created_ns": time.time_ns(),
                    "created_by": by[:200],
                }
            )
            record = json.dumps(made.record())
            await self._link.command("HSET", self._key, made.object_id, record, durable=True)
            self._know(made)
        if not name:
            self._end_later(made)
        return made

    def environments(self) -> Counter[tuple[str, str]]:
        """How many named ones there are, by kind and environment."""
        return Counter((one.kind, one.environment) for one in self._by_name.values())

    async def rename_environment(self, name: str, new_name: str) -> None:
        """Have all of an environment lie in another one; their ids stay."""
        async with self._changing:
            for one in [one for one in self.by_id.values() if one.environment == name]:
                moved = _shared({**one.record(), "environment": new_name})
                record = json.dumps(moved.record())
                await self._link.command("HSET", self._key, moved.object_id, record, durable=True)
                self._by_name.pop((one.kind, name, one.name), None)
                self._know(moved)

    async def forget_environment(self, name: str) -> None:
        """Delete all of an environment."""
        for one in [one for one in self._by_name.values() if one.environment == name]:
            await self.delete(one)

    async def delete(self, one: Shared) -> None:
        """Forget one, and all that is in it."""
        async with self._changing:  # not while it is given another environment
            known = self.by_id.pop(one.object_id.encode(), one)
            self._by_name.pop((known.kind, known.environment, known.name), None)
        # In one step: what is in it is found again by a controller after this one.
        gone: list[Command] = [
            ("SADD", self._going, one.object_id),
            ("HDEL", self._key, one.object_id),
        ]
        await self._link.commands(gone, patience_s=FOREVER, durable=True, atomic=True)
        await self._on_gone(one)
        await self._remove(one.kind, one.object_id)

    async def go_on(self) -> None:
        """Remove what a controller that was killed had begun to; nobody reaches it any more."""
        for raw in await self._link.command("SMEMBERS", self._going, patience_s=FOREVER):
            if (kind := _KIND_OF.get(raw[:3])) is None:
                continue
            try:
                await self._remove(kind, text(raw))
            except ServiceError as error:
                log.warning("what was deleted is there yet", extra=kv(of=text(raw), reason=error))

    async def _remove(self, kind: str, object_id: str) -> None:
        gone: list[str | bytes] = [object_keys.operations(kind, object_id)]
        if kind == "dict":
            gone.append(object_keys.dict_entries(object_id))
        else:
            gone += await self._partitions(object_id)
            gone += [object_keys.queue_waiting(object_id), object_keys.queue_partitions(object_id)]
        for at in range(0, len(gone), 1000):
            await self._link.command("UNLINK", *gone[at : at + 1000], patience_s=FOREVER)
        await self._link.command("SREM", self._going, object_id, patience_s=FOREVER)

    async def _partitions(self, object_id: str) -> list[str | bytes]:
        """The keys of a Queue's partitions."""
        index = object_keys.queue_partitions(object_id)
        (found,) = await self._link.commands(
            [("ZRANGE", index, 0, -1)], patience_s=FOREVER, harmless=WRONG_TYPE
        )
        if isinstance(found, Exception):  # damaged: they are found by what they begin with
            pattern = object_keys.patterns("queue", object_id)[0]
            return [key async for page in self._link.scan(pattern) for key in page]
        partitions = [raw.decode(errors="surrogateescape") for raw in found]
        of = (object_keys.queue_items, object_keys.queue_state)
        return [key(object_id, partition) for partition in partitions for key in of]

    # ---- ephemeral ones ------------------------------------------------------------------------

    def hold(self, object_id: bytes) -> None:
        """A connection holds it."""
        self._held[object_id] += 1

    def release(self, object_id: bytes) -> None:
        """A connection that held it is gone."""
        self._held[object_id] -= 1
        one = self.by_id.get(object_id)
        if self._held[object_id] <= 0:
            del self._held[object_id]
            if one is not None and not one.name:
                self._end_later(one)

    def _end_later(self, one: Shared) -> None:
        async def end() -> None:
            await asyncio.sleep(self._grace_s)
            object_id = one.object_id.encode()
            if object_id in self.by_id and not self._held[object_id]:
                await self.delete(one)

        self._tasks.spawn(end(), f"end {one.object_id}")

    async def close(self) -> None:
        """End what waits."""
        await self._tasks.cancel()
