"""Dict and Queue in the instance's Redis itself, without the controller between.

The controller gives a program a user of Redis for each object that it may use; what that user may
not, or a server that cannot be reached, is the controller's to do, as is all that waits. Standard
library only. ``link.py`` decides; ``aio_direct.py`` is the same on an event loop.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from time import perf_counter_ns
from types import MappingProxyType
from typing import Any, NamedTuple

from rekindle.linux.arrivals import Arrivals
from rekindle.wire.object_commands import (
    WOULD_WAIT,
    Caller,
    Commands,
    Target,
    counted,
    outcome,
    target,
)
from rekindle.wire.object_frames import (
    AGAIN,
    OPTION,
    Op,
    Reply,
    Request,
    Status,
    pack_list,
    unpack_list,
)
from rekindle.wire.resp import Incomplete, Refusal, bulk, ending, packed, parsed, strings

_READ_BYTES = 1 << 18
_CONNECT_S = 2.0
#: From so many items on they are not taken through Lua.
_MANY = 16
#: An entry that was not used for so long is brought up to date when it is read (dict_get.lua).
_FRESH_S = 3600
_KEEP_EVERY_S = 1800.0
#: What was done is told after so many entries or items, and about so often.
_COUNT_AT, _COUNT_EVERY_S = 4096, 1.0
#: Between two attempts to reach a server that could not be reached; it doubles, up to the second.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
#: What was taken for one who is interrupted has so long to arrive, to be put back.
_PUT_BACK_S = 1.0
_OF_OBJECTS = frozenset(
    (*range(Op.DICT_GET, Op.DICT_SCAN + 1), *range(Op.QUEUE_PUT, Op.QUEUE_RETURN + 1))
)
#: Answers of a server that does not know this user (any more).
_STRANGER = ("WRONGPASS", "NOAUTH", "NOPERM")


class Gone(Exception):
    """The connection broke, or no one listens."""


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
            words = commands.put_entries(about, request, caller, keep=keep)
            return Exchange(words, _stored, replies=5 if keep else 4, known=_STORED)
        elif op == Op.QUEUE_PUT and request.parts is not None and len(request.parts) >= _MANY:
            return Exchange(commands.push(about, request, caller), _pushed, replies=4)
        elif op == Op.QUEUE_GET and request.quantity >= _MANY:
            words = commands.drain(about, request, caller) + self._ping
            return Exchange(words, _drained, mark=self._mark)
        elif op == Op.DICT_SCAN and request.body not in (b"", b"0"):
            count = b"%d" % request.quantity
            words = packed(b"HSCAN", self._entries, request.body, b"COUNT", count) + self._ping
            return Exchange(words, _page, mark=self._mark)
        return Exchange(commands.command(about, request, caller), _said)

    def _keeps(self) -> bool:
        """Whether it is time to say that the Dict is used."""
        now = time.monotonic()
        if now < self._kept_until:
            return False
        self._kept_until = now + _KEEP_EVERY_S
        return True

    def count(self, request: Request, reply: Reply) -> bytes:
        """Note what was done; a command that tells Redis of it, now and then."""
        name, number = counted(request, reply)
        if not number:
            return b""
        counts = self._counts
        total = counts[name] = counts.get(name, 0) + number
        now = time.monotonic()
        if total < _COUNT_AT and now < self._count_next:
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


class Plainly:
    """A shorter way came to nothing: the script of the request is to be run."""


_PLAINLY = Plainly()


def _said(replies: list[Any]) -> object:
    return replies[0]


def _entry(replies: list[Any]) -> object:
    """An entry that is read; one that has not been used for an hour is the script's."""
    entry = replies[0]
    if entry is None:
        return b""
    if isinstance(entry, bytes) and entry[:4] < (int(time.time()) - _FRESH_S).to_bytes(4, "big"):
        return _PLAINLY
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
        return _PLAINLY
    return Reply(Status.DONE, b"", strings(data, at)) if said == b"I" else said


def _page(data: bytes) -> object:
    """Entries, and the next cursor."""
    if not data.startswith(b"*2\r\n"):
        return _refusal_in(data)
    cursor, at = parsed(data, 4)
    return Reply(Status.DONE, b"", [*strings(data, at), cursor])


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


class Direct:
    """A connection for callers that block, one at a time."""

    def __init__(self, way: Way) -> None:
        """Raises OSError, Gone, Stranger."""
        self._way = way
        sock, address = way.socket()
        self._sock = sock
        try:
            sock.settimeout(_CONNECT_S)
            sock.connect(address)
            for words in way.greeting:
                sock.sendall(words)
                said = self._receive(Exchange(words, _said))[0]
                if isinstance(said, Refusal):
                    refused(said)
                    raise Gone(str(said))
            sock.settimeout(None)
        except BaseException:
            sock.close()
            raise
        self._arrivals = Arrivals(sock.fileno())

    def close(self) -> None:
        """End it."""
        self._sock.close()

    def ask(self, request: Request, session: bytes, number: int) -> object:
        """What the server says, for settled(). Raises OSError, Gone, ValueError."""
        said = self._exchange(request, session, number, plain=False)
        if said is _PLAINLY:
            said = self._exchange(request, session, number, plain=True)
        return said

    def count(self, request: Request, reply: Reply) -> None:
        """Note what was done. Raises OSError, Gone."""
        words = self._way.count(request, reply)
        if words:
            self._sock.sendall(words)
            self._receive(Exchange(words, _said, replies=words.count(b"HINCRBY")))

    def _exchange(self, request: Request, session: bytes, number: int, *, plain: bool) -> object:
        exchange = self._way.exchange(request, session, 0, number, plain=plain)
        self._sock.sendall(exchange.data)
        try:
            self._arrivals.wait(perf_counter_ns())
            return exchange.finish(self._receive(exchange))
        except (OSError, Gone):
            raise
        except BaseException:  # of a signal's handler: no one takes what comes
            if request.op == Op.QUEUE_GET:
                self._put_back(request, session, number, exchange)
            raise

    def _put_back(self, request: Request, session: bytes, number: int, exchange: Exchange) -> None:
        try:
            self._sock.settimeout(_PUT_BACK_S)
            items = taken(exchange.finish(self._receive(exchange)))
            if items:
                back = Request(Op.QUEUE_RETURN, pack_list(items), partition=request.partition)
                told = self._way.exchange(back, session, 0, number + 1, plain=True)
                self._sock.sendall(told.data)
                self._receive(told)
        except (OSError, Gone, ValueError):
            return  # the connection has gone, and with it what was on it

    def _receive(self, exchange: Exchange) -> Any:
        _, _, replies, mark, known = exchange
        data: bytes | bytearray = self._sock.recv(_READ_BYTES)
        if known and data in known:
            return known[bytes(data)]
        if replies == 1 and not mark and data[:1] == b"$":  # as most of them are
            end = data.find(b"\r\n")
            if end > 0 and len(data) == end + 4 + int(data[1:end]):
                return [data[end + 2 : -2]]
        if not data:
            raise Gone("Redis closed the connection")
        data = bytearray(data)
        while True:
            if mark:
                if data.endswith(mark):
                    return bytes(data[: -len(mark)])
            elif (found := some(data, replies)) is not None:
                return found[0]
            piece = self._sock.recv(_READ_BYTES)
            if not piece:
                raise Gone("Redis closed the connection")
            data += piece


def taken(said: object) -> list[bytes]:
    """The items of a get that nobody waits for any more."""
    if isinstance(said, Reply):
        return said.parts or []
    return unpack_list(said, 1) if isinstance(said, bytes) and said[:1] == b"I" else []


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


class Ways:
    """Which objects of an instance can be reached so, by id."""

    def __init__(self) -> None:
        #: Until when to ask the controller, where it is no Way.
        self._known: dict[bytes, Way | float] = {}
        self._commands: tuple[dict[str, str], Commands] | None = None
        self._not_before = 0.0
        self._pause_s = _FIRST_PAUSE_S
        #: Why the server could not be reached, for the controller to say to who operates it.
        self.unsaid = ""

    def find(self, object_id: bytes) -> Way | float | None:
        """A way; a number where there is none for now; None where the controller must be asked."""
        if self._not_before and time.monotonic() < self._not_before:
            return self._not_before
        found = self._known.get(object_id)
        if isinstance(found, float) and time.monotonic() > found:
            del self._known[object_id]
            return None
        return found

    def learn(self, object_id: bytes, granted: Mapping[str, Any]) -> None:
        """What the controller says of an object."""
        if "user" not in granted:
            self._known[object_id] = time.monotonic() + float(granted.get("again_s", 60))
            return
        digests = granted["scripts"]
        if self._commands is None or self._commands[0] != digests:
            self._commands = digests, Commands(digests)
        name = object_id.decode()
        about = target("dict" if name.startswith("di-") else "queue", name)
        self._known[object_id] = Way(granted, self._commands[1], about)

    def forget(self, object_id: bytes) -> None:
        """The server does not know the user of an object."""
        self._known.pop(object_id, None)

    def reached(self) -> None:
        """The server answers."""
        self._not_before, self._pause_s = 0.0, _FIRST_PAUSE_S

    def failed(self, reason: object) -> None:
        """It could not be reached: the controller is asked for a while."""
        if self._pause_s > _FIRST_PAUSE_S:  # not for the moment alone
            self.unsaid = f"{type(reason).__name__}: {reason}"
        self._not_before = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
