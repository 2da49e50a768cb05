"""The agent's Unix sockets: who connects says who it is in a frame, or gets no further."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from rekindle.background_tasks import BackgroundTasks
from rekindle.exception import StartError
from rekindle.runtime.agent import deadlines, readers
from rekindle.runtime.agent.deadlines import Deadline
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.wire.frames import PREFIX_BYTES, FrameError, Header, decode_header, frame_prefix
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: A process that connected has this long to say who it is.
HELLO_TIMEOUT_S = 10.0
_HELLO_BYTES = 4096
#: So many are taken in, in one turn of the loop.
_AT_ONCE = 64
#: None is, for this long, after one could not be.
_PAUSE_S = 0.1


class UnixListener:
    """``on_hello`` says whether it takes a connection, which is closed otherwise.

    Most who connect have said who they are when they are accepted, or a moment later and all at
    once: no task waits for those.
    """

    def __init__(
        self,
        path: Path,
        on_hello: Callable[[socket.socket, Header], bool],
        then: Callable[[], object] = bool,
    ) -> None:
        """``then``: is called after those that have said who they are at the same time."""
        self.path = path
        self._then = then
        self._on_hello = on_hello
        self._listener: socket.socket | None = None
        self._tasks = BackgroundTasks()
        #: Those that have said nothing yet, and until when they may.
        self._silent: dict[int, tuple[socket.socket, Deadline]] = {}

    def open(self) -> None:
        """Listen at ``path``, for this user only; does nothing when it is open."""
        if self._listener is not None:
            return
        self.path.unlink(missing_ok=True)  # of an agent that was killed
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.bind(str(self.path))
        os.chmod(self.path, 0o600)
        listener.listen(256)
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        await self._tasks.cancel()
        for fd in list(self._silent):
            self._says_something(fd).close()
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        self._accept_some()
        self._then()

    def _accept_some(self) -> None:
        """Take in those that wait; not without end, as the loop has other things to do."""
        for _ in range(_AT_ONCE):
            if self._listener is None:
                return
            try:
                sock, _address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._pause(error)
                return
            sock.setblocking(False)
            self._look_at(sock, self._wait_for)

    def _look_at(self, sock: socket.socket, otherwise: Callable[[socket.socket], object]) -> None:
        """Take it in where it has said all of it; else do something else with it."""
        try:
            hello = _hello_at_once(sock)
            if hello is None:
                otherwise(sock)
            else:
                self._take_in(sock, hello)
        except (FrameError, ValueError, OSError) as error:
            _refuse(sock, error)

    def _pause(self, error: OSError) -> None:
        """No more descriptors, say: those that wait can wait a little longer."""
        log.warning("no connection accepted", extra=kv(reason=error))
        loop, listener = asyncio.get_running_loop(), self._listener
        assert listener is not None
        loop.remove_reader(listener)

        def go_on() -> None:
            if self._listener is listener:
                loop.add_reader(listener, self._accept)

        loop.call_later(_PAUSE_S, go_on)

    def _wait_for(self, sock: socket.socket) -> None:
        """One that has not said all of it yet."""
        fd = sock.fileno()
        readers.here().add(fd, lambda: self._listen_to(fd))
        late = deadlines.here().add(HELLO_TIMEOUT_S, lambda: self._says_nothing(fd))
        self._silent[fd] = sock, late

    def _says_something(self, fd: int) -> socket.socket:
        readers.here().remove(fd)
        sock, late = self._silent.pop(fd)
        late.cancel()
        return sock

    def _says_nothing(self, fd: int) -> None:
        _refuse(self._says_something(fd), TimeoutError())

    def _listen_to(self, fd: int) -> None:
        self._look_at(self._says_something(fd), self._hear_out)
        self._then()

    def _hear_out(self, sock: socket.socket) -> None:
        """It says it in pieces."""
        self._tasks.spawn(self._greet(sock))

    async def _greet(self, sock: socket.socket) -> None:
        """One that has said a part of it."""
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                hello = await _receive_hello(sock)
        except asyncio.CancelledError:
            sock.close()
            raise
        except (TimeoutError, FrameError, ValueError, OSError) as error:
            _refuse(sock, error)
            return
        self._take_in(sock, hello)

    def _take_in(self, sock: socket.socket, hello: Header) -> None:
        taken = False
        try:
            taken = self._on_hello(sock, hello)
        except (FrameError, ValueError, OSError) as error:
            log.warning("connection refused", extra=kv(reason=str(error) or type(error).__name__))
        finally:
            if not taken:
                sock.close()


def _refuse(sock: socket.socket, error: Exception) -> None:
    log.warning("connection refused", extra=kv(reason=str(error) or type(error).__name__))
    sock.close()


def _hello_at_once(sock: socket.socket) -> Header | None:
    """The frame that a process begins with, where all of it is there; not a byte more is taken.

    Raises FrameError, ValueError or OSError.
    """
    try:
        there = sock.recv(PREFIX_BYTES + _HELLO_BYTES, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    if not there:
        raise FrameError("the process closed the connection")
    if len(there) < PREFIX_BYTES:
        return None
    end = PREFIX_BYTES + _header_bytes(there)
    if len(there) < end:
        return None
    return decode_header(sock.recv(end)[PREFIX_BYTES:])


async def _receive_hello(sock: socket.socket) -> Header:
    """The same, as it comes."""
    size = _header_bytes(await _receive_exactly(sock, PREFIX_BYTES))
    return decode_header(await _receive_exactly(sock, size))


def _header_bytes(prefix: bytes) -> int:
    header_bytes, body_bytes = frame_prefix(prefix)
    if body_bytes or header_bytes > _HELLO_BYTES:
        raise FrameError("not a hello")
    return header_bytes


async def _receive_exactly(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        piece = await loop.sock_recv(sock, size - len(data))
        if not piece:
            raise FrameError("the process closed the connection")
        data += piece
    return data


class RunnerListener(UnixListener):
    """Where templates and runners report, by a one-time token that the agent handed out."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, self._take)
        self._expected: dict[str, asyncio.Future[Channel]] = {}

    @contextlib.contextmanager
    def expect(self) -> Iterator[tuple[str, asyncio.Future[Channel]]]:
        """A token to hand out, and the channel of the process that will say it; one that says it
        later, when nobody waits for it any more, is refused."""
        token = secrets.token_urlsafe(18)
        future: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        self._expected[token] = future
        try:
            yield token, future
        finally:
            del self._expected[token]
            if not future.cancel() and not future.cancelled():
                future.exception()  # whoever waited for it may have been cancelled just then

    async def close(self) -> None:
        """Stop listening: what is expected does not come any more."""
        await super().close()
        for future in list(self._expected.values()):
            if not future.done():
                future.set_exception(StartError("the agent is stopping"))

    def _take(self, sock: socket.socket, hello: Header) -> bool:
        future = self._expected.get(str(hello.get("token")))
        if future is None or future.done():
            log.warning("unexpected hello")
            return False
        future.set_result(Channel(sock))
        return True
