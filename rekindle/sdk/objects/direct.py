"""Connections to the instance's Redis for Dict and Queue, without the controller between.

The controller gives a program a user of Redis for each object that it may use; what that user may
not, or a server that cannot be reached, is the controller's to do, as is all that waits. Standard
library only. ``link.py`` decides; ``aio_direct.py`` is the same on an event loop.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any

from rekindle.linux.arrivals import Arrivals
from rekindle.sdk.objects.exchange import PLAINLY, Exchange, Way, refused, said_alone, some
from rekindle.wire.object_commands import Commands, target
from rekindle.wire.object_frames import AHEAD, Op, Reply, Request
from rekindle.wire.resp import Refusal

_READ_BYTES = 1 << 18
_CONNECT_S = 2.0
#: Between two attempts to reach a server that could not be reached; it doubles, up to the second.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
#: What one asked who is interrupted has so long to be done, before it is undone.
_DONE_S = 1.0


class Gone(Exception):
    """The connection broke, or no one listens."""


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
                self._greet(words)
            sock.settimeout(None)
        except BaseException:
            sock.close()
            raise
        self._arrivals = Arrivals(sock.fileno())
        #: What was asked though no one has wanted it yet: the next page of a Dict, as a rule.
        self._ahead: Exchange | None = None

    def _greet(self, words: bytes) -> None:
        self._sock.sendall(words)
        said = self._receive(Exchange(words, said_alone))[0]
        if isinstance(said, Refusal):
            refused(said)
            raise Gone(str(said))

    def close(self) -> None:
        """End it."""
        self._sock.close()

    def ask(self, request: Request, session: bytes, number: int) -> object:
        """What the server says, for settled(). Raises OSError, Gone, ValueError."""
        said = self._exchange(request, session, number, plain=False)
        if said is PLAINLY:
            if request.op == Op.QUEUE_GET:
                self._way.left_some()
            said = self._exchange(request, session, number, plain=True)
        return said

    def count(self, request: Request, reply: Reply) -> None:
        """Note what was done. Raises OSError, Gone."""
        words = self._way.count(request, reply, later=self._ahead is not None)
        if words:
            self._sock.sendall(words)
            self._receive(Exchange(words, said_alone, replies=words.count(b"HINCRBY")))

    def _exchange(self, request: Request, session: bytes, number: int, *, plain: bool) -> object:
        exchange = self._way.exchange(request, session, 0, number, plain=plain)
        came = None
        try:
            ahead, self._ahead = self._ahead, None
            if ahead is None or ahead.data != exchange.data:
                if ahead is not None:
                    self._receive(ahead)  # whoever was to have it asked elsewhere, or asks no more
                self._sock.sendall(exchange.data)
                for piece in exchange.more:
                    self._sock.sendall(piece)
            self._arrivals.wait(perf_counter_ns())
            came = self._receive(exchange)
            if request.flags & AHEAD and exchange.mark:
                self._ask_ahead(request, came)
            return exchange.finish(came)
        except BaseException:
            # A signal's, as a rule. It is undone over another connection, once it is done.
            if request.op == Op.QUEUE_GET and came is None:
                self._until_done()
            raise

    def _until_done(self) -> None:
        """Wait until Redis has done all that has reached it: then it sees that no more comes, and
        closes the connection, whether something was asked, and an answer came, or not."""
        with contextlib.suppress(OSError):
            self._sock.settimeout(_DONE_S)
            self._sock.shutdown(socket.SHUT_WR)
            while self._sock.recv(_READ_BYTES):
                pass

    def _ask_ahead(self, request: Request, page: bytes) -> None:
        """Have the server make the next page while this one is taken apart."""
        following = self._way.following(request, page)
        if following is not None:
            self._sock.sendall(following.data)
            self._ahead = following

    def _receive(self, exchange: Exchange) -> Any:
        _, _, replies, mark, known, _ = exchange
        data = self._sock.recv(_READ_BYTES)
        if known and data in known:
            return known[data]
        if replies == 1 and not mark and data[:1] == b"$":  # as most of them are
            end = data.find(b"\r\n")
            if end > 0 and len(data) == end + 4 + int(data[1:end]):
                return [data[end + 2 : -2]]
        if mark:
            return self._until(mark, data)
        came = bytearray(data)
        while (found := some(came, replies)) is None:
            came += self._more()
        return found[0]

    def _until(self, mark: bytes, data: bytes) -> bytes:
        """All before the mark; put together once, as it may be much."""
        pieces, tail = [data], data
        while not tail.endswith(mark):
            piece = self._more()
            tail = piece if len(piece) >= len(mark) else tail[-len(mark) :] + piece
            pieces.append(piece)
        return b"".join(pieces)[: -len(mark)]

    def _more(self) -> bytes:
        piece = self._sock.recv(_READ_BYTES)
        if not piece:
            raise Gone("Redis closed the connection")
        return piece


#: Objects of which it is known how Redis is reached; of one that was asked about longer ago the
#: controller is asked again.
_MOST_KNOWN = 1024


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
        self._known.pop(object_id, None)
        while len(self._known) >= _MOST_KNOWN:
            self._known.pop(next(iter(self._known)), None)
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
        """Note that the server answers."""
        self._not_before, self._pause_s = 0.0, _FIRST_PAUSE_S

    def failed(self, reason: object) -> None:
        """Note that the server could not be reached: the controller is asked for a while."""
        if self._pause_s > _FIRST_PAUSE_S:  # not for the moment alone
            self.unsaid = f"{type(reason).__name__}: {reason}"
        self._not_before = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
