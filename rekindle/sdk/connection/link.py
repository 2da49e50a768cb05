"""Requests to a controller without gRPC and without an event loop, over one connection.

For an app that is run here: most programs make few requests, and are over before gRPC would have
been loaded. Only for as long as the connection holds: what comes after that is the client's
(client.py), which is told when it is lost. Standard library only. Knows nothing of apps.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rekindle import lazily, paths
from rekindle.linux.plain_descriptors import readable
from rekindle.wire import request_frames as wire
from rekindle.wire.usercode import came_by_signal

if TYPE_CHECKING:
    import logging
else:
    logging = lazily.module("logging")

_READ_BYTES = 1 << 16
#: After so long without a word ``on_silent`` is called.
SILENT_S = 5.0


class LostError(Exception):
    """The connection has ended before the answer was there: the request may have been served."""


class Answer:
    """What will come of a request that has one reply."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.reply: wire.Frame = {}
        self.error: Exception | None = None
        self.done = threading.Event()

    def wait(self, timeout_s: float | None = None) -> wire.Frame:
        """The fields of the reply; empty where it does not come in time.

        Raises what the controller answers, LostError.
        """
        self._link.read_until(self.done, timeout_s)
        if self.error is not None:
            raise self.error
        return self.reply

    def take(self, frame: wire.Frame) -> bool:
        """A frame of it; whether it was the last."""
        self.reply = frame.get("reply", self.reply)
        self.error = wire.error_in(frame)
        return self._over() if "end" in frame or self.error is not None else False

    def lost(self) -> None:
        """Nothing more comes."""
        self.error = LostError()
        self._over()

    def _over(self) -> bool:
        self.done.set()
        return True


class Stream:
    """What comes of a request that has many replies; both functions run on the link's thread."""

    def __init__(
        self,
        on_reply: Callable[[wire.Frame], None],
        on_end: Callable[[Exception | None], None],
    ) -> None:
        self._on_reply = on_reply
        self._on_end = on_end

    def take(self, frame: wire.Frame) -> bool:
        """As of an Answer."""
        if "reply" in frame:
            self._on_reply(frame["reply"])
            return False
        self._on_end(wire.error_in(frame))
        return True

    def lost(self) -> None:
        """Nothing more comes."""


class Link:
    """One connection. Requests may be made from any thread."""

    def __init__(self, sock: socket.socket, token: str) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Answer | Stream] = {}
        self._sending = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        #: Called when it ends without having been closed, on its thread.
        self.on_lost: Callable[[], None] = lambda: None
        #: Called when who waits for an answer has heard nothing for a while.
        self.on_silent: Callable[[], None] = lambda: None
        self._send({"token": token})
        _links.add(self)

    @classmethod
    def open(cls, instance: Path, token: str) -> Link | None:
        """To the controller of an instance directory; None where it takes none."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(str(paths.requests_socket(instance)))
            return cls(sock, token)
        except OSError as error:  # an older one, or it is being started again
            sock.close()
            if came_by_signal(error):
                raise
            return None

    def ask(self, method: str, request: Mapping[str, Any]) -> Answer:
        """Make a request that has one reply. Raises LostError."""
        answer = Answer(self)
        self._request(method, request, answer)
        return answer

    def ask_aside(
        self, method: str, request: Mapping[str, Any], on_reply: Callable[[wire.Frame], None]
    ) -> None:
        """Make one that nobody waits for: its reply is for who comes to read it. Raises LostError.

        ``on_reply`` runs where it is read.
        """
        self._request(method, request, Stream(on_reply, lambda _error: None))

    def follow(self, method: str, request: Mapping[str, Any], stream: Stream) -> None:
        """Make a request that has many replies. Raises LostError."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._read, name="rekindle-link", daemon=True)
            self._thread.start()
        self._request(method, request, stream)

    def close(self) -> None:
        """End it; what was asked for and is under way ends there, too."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def abandon(self) -> None:
        """In a forked child: it is the parent's."""
        self._closed = True
        self._sock.close()

    # ---- frames --------------------------------------------------------------------------------

    def _request(self, method: str, request: Mapping[str, Any], taker: Answer | Stream) -> None:
        number = next(self._numbers)
        self._waiting[number] = taker
        try:
            self._send({"id": number, "method": method, "request": request})
        except OSError as error:
            self._waiting.pop(number, None)
            if came_by_signal(error):
                raise
            raise LostError from error

    def _send(self, frame: Mapping[str, Any]) -> None:
        data = wire.pack(frame)
        with self._sending:
            self._sock.sendall(data, socket.MSG_NOSIGNAL)

    def read_until(self, done: threading.Event, timeout_s: float | None) -> None:
        """Return when it is set by what comes: read here, until a thread does it.

        After the timeout at the latest, where there is that thread.
        """
        if self._thread is not None:
            done.wait(timeout_s)
            return
        while not done.is_set():
            if not self._closed and not readable([self._sock.fileno()], SILENT_S):
                self.on_silent()
            elif not self._take_in():
                return

    def _read(self) -> None:
        while self._take_in():
            pass
        if not self._closed:
            self.on_lost()

    def _take_in(self) -> bool:
        """Wait for something, and give it to whom it is for; False at the end."""
        try:
            data = self._sock.recv(_READ_BYTES)
        except OSError as error:
            if came_by_signal(error):
                raise
            data = b""
        if data:
            self._buffer += data
            try:
                for frame in wire.taken(self._buffer):
                    taker = self._waiting.get(frame.get("id", 0))
                    if taker is not None and taker.take(frame):
                        self._waiting.pop(frame["id"], None)
                return True
            except Exception as error:  # or who waits for another answer would wait for ever
                if came_by_signal(error):
                    raise
                logging.getLogger(__name__).exception("what a controller sent was not taken")
        for number in list(self._waiting):
            if (taker := self._waiting.pop(number, None)) is not None:
                taker.lost()
        return False


_links: weakref.WeakSet[Link] = weakref.WeakSet()


def _abandon_in_child() -> None:
    for link in list(_links):
        link.abandon()


os.register_at_fork(after_in_child=_abandon_in_child)
