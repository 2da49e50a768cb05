"""Dict and Queue in the instance's Redis itself, without the controller between.

The controller gives a program a user of Redis for each object that it may use; what that user may
not, or a server that cannot be reached, is the controller's to do, as is all that waits. Standard
library only. ``link.py`` decides; ``aio_direct.py`` is the same on an event loop.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any

from rekindle.linux.arrivals import Arrivals
from rekindle.wire.object_commands import WOULD_WAIT, Caller, Commands, Target, outcome, target
from rekindle.wire.object_frames import (
    OPTION,
    Op,
    Reply,
    Request,
    Status,
    pack_list,
    unpack_list,
)
from rekindle.wire.resp import Incomplete, Refusal, ending, packed, parsed, strings

_READ_BYTES = 1 << 18
_CONNECT_S = 2.0
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
        self._ping = packed(b"PING", mark)
        #: What a reply ends with that is no single string.
        self.ending = ending(mark)

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

    def command(self, request: Request, session: bytes, slot: int, number: int) -> bytes:
        """What is sent. ``number``: of the request among those of its session and slot."""
        if is_page(request):
            count = b"%d" % request.quantity
            words = (b"HSCAN", self._entries, request.body, b"COUNT", count)
            return packed(*words) + self._ping
        waits = WOULD_WAIT if request.wait_s else b""
        caller = Caller(session, slot, number.to_bytes(8, "big"), waits)
        return self._commands.command(self._target, request, caller)


def is_page(request: Request) -> bool:
    """Whether the server's own list is asked for: a page of entries after the first one."""
    return (
        request.op == Op.DICT_SCAN
        and not request.flags & OPTION
        and request.body not in (b"", b"0")
    )


def page(data: bytes, way: Way) -> Reply | Refusal:
    """A page that has arrived as a whole. Raises ValueError."""
    data = data[: -len(way.ending)]
    if not data.startswith(b"*2\r\n"):
        found = parsed(data)[0]
        if isinstance(found, Refusal):
            return found
        raise ValueError("Redis gave no page")
    cursor, at = parsed(data, 4)
    return Reply(Status.DONE, b"", [*strings(data, at), cursor])


def refused(said: Refusal) -> None:
    """Raise Stranger where the server does not know the user; others are for the controller."""
    if str(said).startswith(_STRANGER):
        raise Stranger(str(said))


def settled(request: Request, said: object) -> Reply | None:
    """The reply; None where the controller is to be asked. Raises as wire.outcome does."""
    if isinstance(said, Reply):
        return said
    if not isinstance(said, bytes):
        return None
    done = outcome(request, said)
    if done is not None and done.status != Status.DONE:
        return None if request.wait_s else Reply(done.status, b"")
    return done


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
                said = self._receive(b"")
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

    def ask(self, request: Request, session: bytes, number: int) -> Any:
        """What the server says: bytes, a Reply or a Refusal. Raises OSError, Gone."""
        mark = self._way.ending if is_page(request) else b""
        self._sock.sendall(self._way.command(request, session, 0, number))
        try:
            self._arrivals.wait(perf_counter_ns())
            return self._receive(mark)
        except (OSError, Gone):
            raise
        except BaseException:  # of a signal's handler: no one takes what comes
            if request.op == Op.QUEUE_GET:
                self._put_back(request, session, number)
            raise

    def _put_back(self, request: Request, session: bytes, number: int) -> None:
        try:
            self._sock.settimeout(_PUT_BACK_S)
            said = self._receive(b"")
            if isinstance(said, bytes) and said[:1] == b"I":
                items = pack_list(unpack_list(said, 1))
                back = Request(Op.QUEUE_RETURN, items, partition=request.partition)
                self._sock.sendall(self._way.command(back, session, 0, number + 1))
                self._receive(b"")
        except (OSError, Gone):
            return  # the connection has gone, and with it what was on it

    def _receive(self, mark: bytes) -> Any:
        data: bytes | bytearray = self._sock.recv(_READ_BYTES)
        if not mark and data[:1] == b"$":  # as most of them are
            end = data.find(b"\r\n")
            if end > 0 and len(data) == end + 4 + int(data[1:end]):
                return data[end + 2 : -2]
        data = bytearray(data)
        while True:
            if not mark:
                try:
                    return parsed(data)[0]
                except Incomplete:
                    pass
            elif data.endswith(mark):
                return page(bytes(data), self._way)
            piece = self._sock.recv(_READ_BYTES)
            if not piece:
                raise Gone("Redis closed the connection")
            data += piece


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
