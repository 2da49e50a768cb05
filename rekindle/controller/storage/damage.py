"""Records in Redis that cannot be read: each is told of, and hides no others.

Who reads a record says what it is of. What depends on one that is damaged is refused; it stays as
it is until it is put back, or set aside by whoever keeps the instance. Knows nothing of what is in
them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.message import DecodeError

from rekindle.controller.storage import keys
from rekindle.controller.storage.redis_link import Command, RedisLink, RefusedError
from rekindle.exception import Error, InternalFailure, NotFoundError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

T = TypeVar("T")

#: In the error of a command about a key that is of another kind.
WRONG_TYPE = "WRONGTYPE"
#: What reading of what is damaged raises: of JSON, text, numbers, fields; of messages; our own.
UNREADABLE_PLAIN = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
UNREADABLE = (*UNREADABLE_PLAIN, DecodeError, Error)


@dataclass(frozen=True, slots=True)
class Record:
    """What a record is, and where it lies: a key, or a field of a hash.

    ``name``: what who depends on it knows. ``label``: what people do. ``app``: the id of the app
    that it is of.
    """

    kind: str
    name: str
    key: str
    field: str | bytes = ""
    app: str = ""
    label: str = ""
    #: What to do, where it cannot be set aside by itself.
    remedy: str = ""

    @property
    def shown(self) -> str:
        """It, for people."""
        return f"{self.label} ({self.name})" if self.label else self.name

    @property
    def id(self) -> str:
        """What names it for people."""
        of = self.field if isinstance(self.field, bytes) else self.field.encode()
        return "dr-" + hashlib.sha256(self.key.encode() + b"\n" + of).hexdigest()[:10]


@dataclass(frozen=True, slots=True)
class Damaged:
    """A record that cannot be read, and why."""

    record: Record
    reason: str

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return self.record.remedy or (
            "start from a backup of before (docs/operating.md), or set it aside: "
            f"`rekindle damaged rm {self.record.id}`"
        )

    def error(self) -> InternalFailure:
        """What is raised by whatever depends on it."""
        of = self.record
        return InternalFailure(
            f"what Redis has kept of the {of.kind} {of.shown!r} cannot be read ({self.reason}): "
            f"its files, or those of the backup that it was started from, are damaged; "
            f"{self.remedy}"
        )

    def message(self) -> pb.DamagedRecord:
        """As clients see it."""
        of = self.record
        return pb.DamagedRecord(
            id=of.id, kind=of.kind, name=of.shown, reason=self.reason, remedy=self.remedy
        )


@dataclass(eq=False)
class Damage:
    """All that is known of at an instance."""

    _link: RedisLink
    _instance: str
    _known: dict[str, Damaged] = field(default_factory=dict)

    # ---- reading

    def read(self, record: Record, parse: Callable[[], T]) -> T | None:
        """What ``parse`` makes of a record; None where it cannot be read, which is noted."""
        try:
            made = parse()
        except UNREADABLE as error:
            self.note(record, error)
            return None
        self._known.pop(record.id, None)  # it was put back, or written anew
        return made

    def required(self, record: Record, parse: Callable[[], T]) -> T:
        """The same; raises InternalFailure where it cannot be read."""
        made = self.read(record, parse)
        if made is None:
            raise self._known[record.id].error()
        return made

    async def answer(self, record: Record, asked: Awaitable[T], otherwise: T) -> T:
        """What Redis answers about a key; ``otherwise`` where something else lies there, which is
        noted.
        """
        try:
            found = await asked
        except RefusedError as error:
            if not error.is_of_damage:
                raise
            self.note(record, error)
            return otherwise
        self._known.pop(record.id, None)
        return found

    def note(self, record: Record, error: object) -> Damaged:
        """It cannot be read; logged, unless that is known."""
        reason = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else str(error)
        known = self._known.get(record.id)
        record = known.record if known is not None else record  # who found it first knew most
        found = Damaged(record, reason[:300])
        self._known[record.id] = found
        if known is None or known.reason != found.reason:
            why = kv(kind=record.kind, of=record.shown, reason=found.reason, todo=found.remedy)
            log.error("what is stored cannot be read", extra=why)
        return found

    def forget(self, kind: str, name: str) -> None:
        """It was written anew, or is gone with what it was of."""
        for one in self.of(kind, name):
            del self._known[one.record.id]
            log.info("what was damaged is not there any more", extra=kv(kind=kind, of=name))

    def forget_app(self, app_id: str) -> None:
        """The same of all that is an app's."""
        for one in list(self._known.values()):
            if one.record.app == app_id:
                self.forget(one.record.kind, one.record.name)

    # ---- what depends on it

    def of(self, kind: str, name: str = "", app: str = "") -> list[Damaged]:
        """What is known of a kind; of a name, or of an app's."""
        return [
            one
            for one in self._known.values()
            if one.record.kind == kind
            and name in ("", one.record.name)
            and app in ("", one.record.app)
        ]

    def check(self, kind: str, name: str) -> None:
        """Raise InternalFailure where what is kept of it cannot be read."""
        for one in self.of(kind, name):
            raise one.error()

    # ---- shown, set aside

    def messages(self) -> list[pb.DamagedRecord]:
        """All, for people."""
        return [one.message() for one in self._known.values()]

    async def set_aside(self, wanted: str) -> pb.DamagedRecord:
        """Take one out of its place, into one that nothing reads. Raises NotFoundError."""
        found = self._known.get(wanted)
        if found is None or found.record.remedy:
            known = [one for one, it in self._known.items() if not it.record.remedy]
            raise NotFoundError(
                f"there is no damaged record {wanted!r} that can be set aside; "
                f"there are {', '.join(known) or 'none'} (`rekindle status`)"
            )
        record, aside = found.record, keys.set_aside(self._instance)
        if record.field:
            raw = await self._link.command("HGET", record.key, record.field)
            commands: list[Command] = [("HDEL", record.key, record.field)]
            if raw is not None:
                commands.insert(0, ("HSET", aside, record.id, raw))
            await self._link.commands(commands, durable=True)
        else:
            # A reply that was lost: it is there already.
            to = f"{aside}:{record.key}"
            await self._link.commands(
                [("RENAME", record.key, to)], harmless="no such key", durable=True
            )
        self._known.pop(wanted, None)
        log.warning("set aside", extra=kv(kind=record.kind, of=record.name, id=record.id))
        return found.message()


def text(raw: bytes) -> str:
    """A name in Redis, also one that is no text."""
    return raw.decode(errors="backslashreplace")
