"""The way of a request about a Dict or Queue, for callers that block: to Redis or the controller.

Each thread that asks has a session of the object while it does, with a connection to each of both
as it needs them; idle ones are kept for the next. A request that got no answer is sent again, to
the next controller if need be, under the same number, so it is done once. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from pathlib import Path
from time import perf_counter_ns

from rekindle import paths
from rekindle.exception import ConnectionError
from rekindle.execution import context
from rekindle.linux.arrivals import Arrivals
from rekindle.sdk import running
from rekindle.sdk.connection.patience import connect_timeout_s, why_ended
from rekindle.sdk.objects.answers import heard, receive
from rekindle.sdk.objects.direct import Direct, Gone, Ways
from rekindle.sdk.objects.exchange import Stranger, Way, is_direct, settled
from rekindle.sdk.objects.giving_back import GivingBack, Owed, goes_on, returning
from rekindle.sdk.objects.taking import OF_ITEMS, Taking
from rekindle.wire import object_frames as wire
from rekindle.wire.object_frames import AGAIN, Op, Reply, Request
from rekindle.wire.resp import Refusal
from rekindle.wire.usercode import came_by_signal

#: Between two attempts to reach a controller that is away.
_DELAY_S = 0.05
#: A connection that lasted longer than this had a controller; waiting for one begins again.
CONTACT_S = 2.0


#: Objects whose idle connections are kept.
MOST_OBJECTS = 64


class Link:
    """The way to the objects of one instance."""

    def __init__(self, instance: Path) -> None:
        self.instance = instance
        self.ways = Ways()
        self._giving_back = GivingBack(self._put_back)
        #: By object; the empty id for what is about none.
        self._idle: dict[bytes, list[_Session]] = {}

    def ask(self, object_id: bytes, request: Request, taking: Taking | None = None) -> Reply:
        """Have a request done, and wait for it. Raises what the controller raises.

        ``taking``: of the call that it is for, which has put back what is noted there if it fails.
        """
        about = object_id if is_direct(request) else b""
        taking = taking or Taking()
        try:
            session = self._idle[about].pop()
        except (KeyError, IndexError):
            session = _Session(self, about, os.urandom(wire.SESSION_BYTES))
        try:
            reply = session.ask(object_id, request, taking)
            if request.op in OF_ITEMS:
                # Before another request has the session, and its answer takes the place of this.
                taking.answered(object_id, request, wire.result_of(reply))
        except BaseException as error:
            session.close()
            if goes_on(request, error) and (owed := taking.owed(error)) is not None:
                self.give_back(owed, error, blocks=False)
                taking.is_left()
                return Reply(wire.Status.DONE, b"1")
            raise
        self._keep(about, session)
        return wire.result_of(reply)

    def _keep(self, about: bytes, session: _Session) -> None:
        found = self._idle.get(about)
        if found is None:
            found = self._idle.setdefault(about, [])
            if len(self._idle) > MOST_OBJECTS:
                for one in self._idle.pop(next(iter(self._idle)), ()):
                    one.close()
        found.append(session)

    def give_back(self, owed: Owed, error: BaseException, *, blocks: bool) -> None:
        """Have something put back, on a thread.

        ``error``: how the call ended that it is about. ``blocks``: whether this thread may wait.
        """
        self._giving_back.give(owed, error, blocks=blocks)

    def _put_back(self, owed: Owed, since: float) -> None:
        again = _Session(self, owed.object_id, owed.session)
        again.number = owed.number - 1
        back = owed.back._replace(flags=owed.back.flags | AGAIN)
        try:
            wire.result_of(again.ask(owed.object_id, back, Taking(), since))
        finally:
            again.close()

    def let_go(self, object_id: bytes) -> None:
        """An object has gone: close the idle connections about it."""
        self.ways.forget(object_id)
        for session in self._idle.pop(object_id, ()):
            session.close()

    def way_to(self, object_id: bytes) -> Way | None:
        """How Redis is reached about an object; None where the controller is to be asked.

        Raises NotFoundError.
        """
        found = self.ways.find(object_id)
        if found is None:
            self.ask(object_id, ACCESS)  # whatever it says is told to self.ways
            found = self.ways.find(object_id)
        return found if isinstance(found, Way) else None

    def saying(self) -> Request:
        """Says why Redis was not reached: an operator looks at the controller."""
        reason, self.ways.unsaid = self.ways.unsaid, ""
        return Request(Op.LIST, json.dumps({"kind": "dict", "barred": reason}).encode())

    def forget(self) -> None:
        """Close what this process inherited; it is its parent's."""
        self._giving_back = GivingBack(self._put_back)
        idle, self._idle = self._idle, {}
        for sessions in idle.values():
            for session in sessions:
                session.close()

    def greeting(self, session: bytes) -> bytes:
        """What a connection begins with. Raises ConnectionError where there is no instance."""
        try:
            token = paths.token_file(self.instance).read_bytes().strip()
        except OSError as error:
            if came_by_signal(error):
                raise
            _look_again()
            raise ConnectionError(
                f"no rekindle instance at {self.instance}: its token cannot be read "
                f"({error.strerror}). Start one with `rekindle up`, or use `rekindle run`"
            ) from None
        hello = Request(Op.HELLO, body=token, partition=session)
        return wire.GREETING + hello.pack(b"", 0, 0)

    def connected(self, session: bytes) -> socket.socket:
        """A connection that the controller has welcomed.

        Raises OSError and Gone where it is away, ConnectionError where there is no instance.
        """
        greeting = self.greeting(session)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(str(paths.objects_socket(self.instance)))
            sock.sendall(greeting)
            wire.result_of(receive(sock))
        except BaseException:
            sock.close()
            raise
        return sock

    def away(self, since: float, reason: object) -> None:
        """Return when it is time for another attempt. Raises ConnectionError when it is too late.

        ``since``: when it was there last, by time.monotonic().
        """
        if over := why_ended(self.instance):
            _look_again()
            raise ConnectionError(f"the instance in {self.instance} has ended: {over}") from None
        waited = time.monotonic() - since
        if waited > connect_timeout_s():
            _look_again()
            raise ConnectionError(
                f"the controller at {self.instance} has not answered for {waited:.1f} s "
                f"({reason}); `rekindle status` says whether it is up"
            ) from None


def later(request: Request, began: float) -> Request:
    """The request as it is sent another time: what it may still wait is less by now."""
    wait_s = request.wait_s
    if wait_s > 0:
        wait_s = max(0.0, wait_s - (time.monotonic() - began))
    return request._replace(wait_s=wait_s, flags=request.flags | AGAIN)


#: Asks what an object is, and for the way to it.
ACCESS = Request(Op.LOOKUP, b'{"access": true}')


class _Session:
    """One asker: its connections, opened again when they break."""

    def __init__(self, link: Link, about: bytes, name: bytes) -> None:
        """``name``: what Redis and the controller know it by, over connections."""
        self._link = link
        self.name = name
        self._said_name = name.hex().encode()
        self._about = about
        self.number = 0
        self._direct: Direct | None = None
        self._sock: socket.socket | None = None
        self._arrivals: Arrivals | None = None

    def ask(
        self, object_id: bytes, request: Request, taking: Taking, since: float | None = None
    ) -> Reply:
        """Have it done. ``since``: when a controller was there last; now without."""
        self.number += 1
        began = time.monotonic() if since is None else since
        if request.op == Op.QUEUE_RETURN:
            self._notes(taking, object_id, request)
        if self._about:
            done = self._directly(object_id, request, taking)
            if isinstance(done, Reply):
                return done
            request = done
            if self._link.ways.unsaid:
                self._link.ask(b"", self._link.saying())
        return heard(
            self._link.ways, request, self._by_controller(object_id, request, taking, began)
        )

    def _notes(self, taking: Taking, object_id: bytes, request: Request) -> None:
        """The request is about to be sent."""
        if request.op in OF_ITEMS:
            owed = Owed(object_id, self.name, self.number, returning(request, 0))
            taking.asks(owed, self._link)

    # ---- Redis ---------------------------------------------------------------------------------

    def _directly(self, object_id: bytes, request: Request, taking: Taking) -> Reply | Request:
        """The reply, or what is to be asked of the controller."""
        link, tried = self._link, 0
        while tried < 3:
            way = link.way_to(object_id)
            if way is None:
                break
            tried += 1
            was_open = self._direct is not None
            try:
                if self._direct is None:
                    self._direct = Direct(way)
                    link.ways.reached()
                self._notes(taking, object_id, request)
                said = self._direct.ask(request, self._said_name, self.number)
                done = settled(request, said)
            except Stranger:  # a server that was restarted, or the object is gone
                self._close_direct()
                link.ways.forget(object_id)
            except (OSError, Gone, ValueError) as error:
                if came_by_signal(error):
                    raise
                if was_open := was_open or self._direct is not None:  # it may have been done
                    request = request._replace(flags=request.flags | AGAIN)
                self._close_direct()
                if not was_open or tried > 1:
                    link.ways.failed(error)
                    break
            else:
                if done is not None:
                    self._counted(request, done)
                    return done
                if isinstance(said, Refusal):
                    return request._replace(flags=request.flags | AGAIN)
                taking.took_nothing()
                self.number += 1  # it was answered: this is to wait
                return request
        return request

    def _counted(self, request: Request, reply: Reply) -> None:
        try:
            if self._direct is not None:
                self._direct.count(request, reply)
        except (OSError, Gone, ValueError) as error:
            if came_by_signal(error):
                raise
            self._close_direct()  # the request was done; the next one finds out why

    def _close_direct(self) -> None:
        direct, self._direct = self._direct, None
        if direct is not None:
            direct.close()

    # ---- the controller ------------------------------------------------------------------------

    def _by_controller(
        self, object_id: bytes, request: Request, taking: Taking, began: float
    ) -> Reply:
        since = sent = began
        frame = request.pack(object_id, 0, self.number)
        while True:
            try:
                if self._sock is None or self._arrivals is None:
                    self._open()
                assert self._sock is not None and self._arrivals is not None
                sent = time.monotonic()
                self._notes(taking, object_id, request)
                self._sock.sendall(frame)
                self._arrivals.wait(perf_counter_ns())
                return receive(self._sock)
            except (OSError, Gone) as error:
                if came_by_signal(error):
                    raise
                was_open = self._sock is not None
                self._hang_up()
                if was_open and time.monotonic() - sent > CONTACT_S:
                    since = time.monotonic()
                self._link.away(since, error)
                time.sleep(_DELAY_S)
                frame = later(request, began).pack(object_id, 0, self.number)

    def _open(self) -> None:
        sock = self._link.connected(self.name)
        self._sock, self._arrivals = sock, Arrivals(sock.fileno())

    def _hang_up(self) -> None:
        sock, self._sock, self._arrivals = self._sock, None, None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.close()

    def close(self) -> None:
        """Close the connections; the next request opens others."""
        self._close_direct()
        self._hang_up()


# ---- which instance ----------------------------------------------------------------------------

_lock = threading.Lock()
_links: dict[Path, Link] = {}
#: The same by the text of the directory, as handles have it.
_named: dict[str, Link] = {}
#: What the last answer to "which instance" was given to.
_asked: tuple[str | None, Path | None] = (None, None)
_current: Link | None = None


def link_to(instance: Path) -> Link:
    """The one link to an instance."""
    with _lock:
        return _links.setdefault(instance, Link(instance))


def link_of(instance: str) -> Link:
    """The link to an instance directory; to that of this process without one.

    Raises ConnectionError where there is none, ExecutionError in a template.
    """
    global _asked, _current
    if instance:
        found = _named.get(instance)
        if found is None:
            found = _named[instance] = link_to(Path(instance))
        return found
    asked = (os.environ.get("REKINDLE_DIR"), running.innermost_instance())
    if asked[0] is None and not context.is_local():
        raise running.no_runner_yet("Dict and Queue cannot be used")
    if _current is None or asked != _asked:
        _current, _asked = link_to(running.default_instance()), asked
    return _current


def forget(instance: Path) -> None:
    """An instance has ended."""
    global _current
    with _lock:
        ended = _links.pop(instance, None)
        for name in list(filter(lambda name: _named[name] is ended, _named)):
            del _named[name]
        if _current is ended:
            _current = None
    if ended is not None:
        ended.forget()


def _look_again() -> None:
    """An instance did not answer: another may be up by now."""
    global _current
    _current = None


def _forget_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for link in _links.values():
        link.forget()


os.register_at_fork(after_in_child=_forget_in_child)
