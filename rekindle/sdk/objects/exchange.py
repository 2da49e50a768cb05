"""How a request about a Dict or Queue is asked of Redis itself, and what comes back is understood.

Knows nothing of connections: ``direct.py`` and ``aio_direct.py`` have these. Standard library only.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from rekindle.wire.object_commands import (
    WOULD_WAIT,
    Caller,
    Commands,
    Target,
    counted,
    outcome,
)
from rekindle.wire.object_frames import (
    AGAIN,
    OPTION,
    PART_COUNT,
    Op,
    Reply,
    Request,
    Status,
)
from rekindle.wire.resp import Incomplete, Refusal, bulk, ending, packed, parsed, strings

#: From so many items on they are not taken through Lua.
_MANY = 16
#: An entry that was not used for so long is brought up to date when it is read (dict_get.lua).
_FRESH_S = 3600
_KEEP_EVERY_S = 1800.0
#: What was done is told after so many entries or items, and about so often.
_COUNT_AT, _COUNT_EVERY_S = 1 << 16, 1.0
_OF_OBJECTS = frozenset(
    (*range(Op.DICT_GET, Op.DICT_SCAN + 1), *range(Op.QUEUE_PUT, Op.QUEUE_RETURN + 1))
)
#: Answers of a server that does not know this user (any more).
_STRANGER = ("WRONGPASS", "NOAUTH", "NOPERM")


class Stranger(Exception):
    """The server does not know the user."""


def is_direct(request: Request) -> bool:
    """Whether Redis itself can do it."""
    return request.op in _OF_OBJECTS


class Way:
    """How one object is reached."""

    def __init__(self, granted: Mapping[str, Any], commands: Commands, about: Target) -> None:
        self._unix = str(granted.get("unix", ""))
        self._host, self._port = str(granted.get("host", "")), int(granted.get("port", 0))
        words = (b"AUTH", granted["user"].encode(), granted["password"].encode())
        #: What a connection begins with.
        self.greeting = [packed(*words)]
        if granted.get("db"):
            self.greeting.append(packed(b"SELECT", b"%d" % granted["db"]))
        self._commands = commands
        self._target = about
        self._entries = about.main.split(b"\r\n")[1]
        mark = os.urandom(12).hex().encode()
        self._ping, self._mark = packed(b"PING", mark), ending(mark)
        self._counts: dict[str, int] = {}
        self._count_next = self._kept_until = 0.0
        #: Whether a get of many is likely to leave nothing: then it is tried to take all at once.
        self._drains = True

    def socket(self) -> tuple[socket.socket, Any]:
        """A new one, and the address for it."""
        if self._unix:
            return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), self._unix
        family, kind, protocol, _, address = socket.getaddrinfo(
            self._host, self._port, type=socket.SOCK_STREAM
        )[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made, address

    def exchange(
        self, request: Request, session: bytes, slot: int, number: int, *, plain: bool
    ) -> Exchange:
        """What is sent for a request, and comes back.

        ``number``: of the request among those of its session and slot. ``plain``: by its script,
        where a shorter way came to nothing.
        """
        about, commands, op = self._target, self._commands, request.op
        waits = WOULD_WAIT if request.wait_s else b""
        caller = Caller(session, slot, number.to_bytes(8, "big"), waits)
        if plain or request.flags & (AGAIN | OPTION):
            pass
        elif op == Op.DICT_GET:
            field = request.body
            words = b"*3\r\n$4\r\nHGET\r\n%b$%d\r\n%b\r\n" % (about.main, len(field), field)
            return Exchange(words, _entry)
        elif op == Op.DICT_PUT and request.parts is not None:
            keep = self._keeps()
            pieces = commands.put_entries(about, request, caller, keep=keep)
            replies = 5 if keep else 4
            return Exchange(next(pieces), _stored, replies, known=_STORED, more=pieces)
        elif op == Op.QUEUE_PUT and request.parts is not None and len(request.parts) >= _MANY:
            pieces = commands.push(about, request, caller)
            return Exchange(next(pieces), _pushed, replies=4, more=pieces)
        elif op == Op.QUEUE_GET and self._may_drain(request.quantity):
            words = commands.drain(about, request, caller) + self._ping
            return Exchange(words, _drained, mark=self._mark)
        elif op == Op.DICT_SCAN:
            return self._page(request.body, request.quantity)
        return Exchange(commands.command(about, request, caller), said_alone)

    def following(self, request: Request, data: bytes) -> Exchange | None:
        """What asks for the page behind one that has come; None where that is the last."""
        if not data.startswith(b"*2\r\n"):
            return None
        cursor, _ = parsed(data, 4)
        return None if cursor == b"0" else self._page(cursor, request.quantity)

    def _page(self, cursor: bytes, quantity: int) -> Exchange:
        words = packed(b"HSCAN", self._entries, cursor, b"COUNT", b"%d" % quantity) + self._ping
        return Exchange(words, _page, mark=self._mark)

    def _may_drain(self, quantity: int) -> bool:
        """Whether to try to take all at once; no partition has more than PART_COUNT items."""
        return quantity >= PART_COUNT or (quantity >= _MANY and self._drains)

    def left_some(self) -> None:
        """There was more than was asked for."""
        self._drains = False

    def _keeps(self) -> bool:
        """Whether it is time to say that the Dict is used."""
        now = time.monotonic()
        if now < self._kept_until:
            return False
        self._kept_until = now + _KEEP_EVERY_S
        return True

    def count(self, request: Request, reply: Reply, *, later: bool = False) -> bytes:
        """Note what was done; a command that tells Redis of it, now and then, unless ``later``."""
        name, number = counted(request, reply)
        if request.op == Op.QUEUE_GET and number < request.quantity:
            self._drains = True
        if not number:
            return b""
        counts = self._counts
        total = counts[name] = counts.get(name, 0) + number
        now = time.monotonic()
        if later or (total < _COUNT_AT and now < self._count_next):
            return b""
        self._count_next = now + _COUNT_EVERY_S
        self._counts = {}
        return b"".join(
            b"*4\r\n$7\r\nHINCRBY\r\n%b" % self._target.operations
            + bulk(one.encode())
            + bulk(b"%d" % many)
            for one, many in counts.items()
        )


class Exchange(NamedTuple):
    """What is sent, and how what comes back is understood."""

    data: bytes
    #: Gets the replies, or all bytes where there is a mark; gives what settled() takes.
    finish: Callable[[Any], object]
    replies: int = 1
    #: What the bytes end with.
    mark: bytes = b""
    #: Bytes that come often, and the replies that they are.
    known: Mapping[bytes, list[Any]] = MappingProxyType({})
    #: What is sent behind ``data``, each made while the server reads what came before.
    more: Iterable[bytes] = ()


class Plainly:
    """A shorter way came to nothing: the script of the request is to be run."""


PLAINLY = Plainly()


def said_alone(replies: list[Any]) -> object:
    """The only reply."""
    return replies[0]


def _entry(replies: list[Any]) -> object:
    """An entry that is read; one that has not been used for an hour is the script's."""
    entry = replies[0]
    if entry is None:
        return b""
    if isinstance(entry, bytes) and entry[:4] < (int(time.time()) - _FRESH_S).to_bytes(4, "big"):
        return PLAINLY
    return entry


def _transacted(replies: list[Any]) -> list[Any] | Refusal:
    """What the commands of a transaction said."""
    last = replies[-1]
    of = last if isinstance(last, list) else []
    refusals = [one for one in (*replies, *of) if isinstance(one, Refusal)]
    return refusals[0] if refusals else of


_STORED = {
    b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:%d\r\n+OK\r\n" % new: [b"OK", [new, b"OK"]]
    for new in (0, 1)
}


def _stored(replies: list[Any]) -> object:
    of = _transacted(replies)
    return of if isinstance(of, Refusal) else b"1"


def _pushed(replies: list[Any]) -> object:
    of = _transacted(replies)
    return of if isinstance(of, Refusal) else of[-1]


_QUEUED = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n"


def _drained(data: bytes) -> object:
    """All items of a partition."""
    if not data.startswith(_QUEUED):
        return _refusal_in(data)
    said, at = parsed(data, len(_QUEUED))
    if said == b"S":
        return PLAINLY
    return Reply(Status.DONE, b"", strings(data, at)) if said == b"I" else said


def _page(data: bytes) -> object:
    """Entries, and the next cursor."""
    if not data.startswith(b"*2\r\n"):
        return _refusal_in(data)
    cursor, at = parsed(data, 4)
    parts = strings(data, at)
    parts.append(cursor)
    return Reply(Status.DONE, b"", parts)


def _refusal_in(data: bytes) -> Refusal:
    """The first one."""
    at = 0
    while at < len(data):
        found, at = parsed(data, at)
        refusal = _transacted([found])
        if isinstance(refusal, Refusal):
            return refusal
    raise ValueError(f"Redis answered with {data[:20]!r}")


def settled(request: Request, said: object) -> Reply | None:
    """The reply; None where the controller is to be asked. Raises as wire.outcome does.

    Raises Stranger where the server does not know the user.
    """
    if isinstance(said, Reply):
        return said
    if isinstance(said, Refusal):
        refused(said)
    if not isinstance(said, bytes):
        return None
    done = outcome(request, said)
    if done is not None and done.status != Status.DONE:
        return None if request.wait_s else Reply(done.status, b"")
    return done


def refused(said: Refusal) -> None:
    """Raise Stranger where the server does not know the user; others are for the controller."""
    if str(said).startswith(_STRANGER):
        raise Stranger(str(said))


def some(data: bytearray, replies: int, at: int = 0) -> tuple[list[Any], int] | None:
    """So many replies, and where the next one begins; None while they have not all come."""
    found: list[Any] = []
    try:
        for _ in range(replies):
            one, at = parsed(data, at)
            found.append(one)
    except Incomplete:
        return None
    return found, at
