"""The agent's side of an init: a ``Sandbox``, one set of namespaces with an init in it, runs jobs.

Knows nothing of what the jobs are, nor of who makes sandboxes (spawner_client.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rekindle.exception import StartError
from rekindle.runtime.isolation.packets import PacketSender

#: An environment may be large.
MAX_MESSAGE_BYTES = 1 << 18

#: The name of the job that begins with its namespaces.
WORKER = "worker"

T = TypeVar("T")


@dataclass(frozen=True)
class JobExit:
    """How a process ended: an exit status, or minus a signal number."""

    status: int
    reason: str = ""

    def in_words(self) -> str:
        """For messages: ``exit status 3``, ``killed by SIGSEGV``."""
        return describe_exit(self.status) + (f" ({self.reason})" if self.reason else "")


def describe_exit(status: int) -> str:
    """An exit status (or minus a signal number) in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def settle(future: asyncio.Future[T], outcome: T | Exception) -> None:
    """Give a future its outcome, unless whoever waited for it gave up."""
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


@dataclass(frozen=True)
class Worker:
    """A process to be started with its namespaces, which waits for one message on a packet socket,
    answers and ends."""

    argv: Sequence[str]
    env: Mapping[str, str]
    #: The number of the socket there.
    channel_fd: int
    #: Number there -> descriptor of ours.
    fds: Mapping[int, int]
    #: The same of what it finds open in its init, until it ends.
    lends: Mapping[int, int]
    #: See ``init._start``.
    run_dir: str = ""

    def request(self) -> dict[str, Any]:
        """For its init."""
        return {
            "job": WORKER,
            "argv": list(self.argv),
            "env": dict(self.env),
            "fd_targets": list(self.fds),
            "lends": list(self.lends),
            "channel_fd": self.channel_fd,
            "run_dir": self.run_dir,
            "quiet": True,
        }

    @property
    def descriptors(self) -> list[int]:
        """In the order of the request."""
        return [*self.fds.values(), *self.lends.values()]


class Sandbox:
    """Namespaces with an init; ends when its init does.

    ``waits``: with a worker, of which nothing is heard before it gets its message.
    """

    def __init__(self, pid: int, control: socket.socket, *, waits: bool = False) -> None:
        self.pid = pid  # of the init, as the agent sees it
        self.gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._control = control
        self._orders = PacketSender(control)
        self._jobs: dict[str, asyncio.Future[JobExit]] = {}
        self._job_count = 0
        self._adopted: Callable[[int, int], None] | None = None
        self._bound: asyncio.Future[str] | None = None
        self.worker: WaitingJob | None = None
        self._listens = not waits
        if waits:
            self.worker = WaitingJob(self)
            self._jobs[WORKER] = self.worker.ended
        else:
            self._listen()

    def _listen(self) -> None:
        asyncio.get_running_loop().add_reader(self._control.fileno(), self._on_message)

    def hear(self) -> None:
        """Take what has been reported of the worker so far; from now on, whatever is."""
        if self._listens or self._control.fileno() < 0:
            return
        self._listens = True
        self._listen()
        self._take_all()

    def _take_all(self) -> None:
        while self._control.fileno() >= 0 and self._on_message():
            pass

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str = "/",
        fds: Mapping[int, int] | None = None,
        binds: Sequence[Mapping[str, object]] = (),
        **options: int | str,
    ) -> asyncio.Future[JobExit]:
        """Start a process in the namespaces; the future says how it ended.

        ``fds`` maps numbers in the new process to descriptors of ours; the rest is closed and 0..2
        are the null device unless given. ``binds``, ``options``: see ``init._start``.
        Raises StartError.
        """
        self._job_count += 1
        job = f"j{self._job_count}"
        future: asyncio.Future[JobExit] = asyncio.get_running_loop().create_future()
        request: dict[str, Any] = {
            "job": job,
            "argv": list(argv),
            "env": dict(env),
            "cwd": cwd,
            "fd_targets": list(fds or {}),
            "binds": list(binds),
            **options,
        }
        data = json.dumps(request).encode()
        if len(data) > MAX_MESSAGE_BYTES:
            raise StartError(
                f"arguments and environment of a process take {len(data)} bytes, "
                f"more than {MAX_MESSAGE_BYTES}; make the environment smaller"
            )
        try:
            self._orders.send(data, list((fds or {}).values()))
        except OSError as error:
            raise StartError(f"the sandbox's init is gone: {error}") from error
        self._jobs[job] = future
        return future

    async def bind(self, binds: Sequence[Mapping[str, object]]) -> None:
        """Show directories at other places: see ``init.bind``. Raises StartError."""
        self._bound = asyncio.get_running_loop().create_future()
        message = {"job": "", "bind": list(binds)}
        try:
            self._orders.send(json.dumps(message).encode(), [])
        except OSError as error:
            raise StartError(f"the sandbox's init is gone: {error}") from error
        if why := await self._bound:
            raise StartError(f"directories cannot be shown: {why}")

    def on_adopted_exit(self, callback: Callable[[int, int], None]) -> None:
        """Call ``callback(pid in the namespace, status)`` for each process that init adopted."""
        self._adopted = callback

    def kill(self) -> None:
        """End the init, and with it all that runs in the namespaces."""
        if not self.gone.done() and self.pid > 0:  # -1 would be everybody
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Close the control socket; the init ends and takes the namespaces with it."""
        if self._control.fileno() >= 0:
            self._orders.close()
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
        for future in self._jobs.values():
            settle(future, JobExit(-signal.SIGKILL, "its namespaces ended"))
        self._jobs.clear()
        if self._bound is not None:
            settle(self._bound, "its namespaces ended")
        if self.worker is not None:
            self.worker.close()

    def ended(self, status: int) -> None:
        """The spawner saw the init end; what that reported last may still be unread."""
        self._take_all()
        settle(self.gone, status)
        self.close()

    def _on_message(self) -> bool:
        """Take one message of the init; False where there is none."""
        fds: list[int] = []
        try:
            if self.worker is None or self.worker.has_channel:
                data = self._control.recv(MAX_MESSAGE_BYTES)
            else:
                data, fds, _flags, _address = socket.recv_fds(self._control, MAX_MESSAGE_BYTES, 1)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            return False
        message = json.loads(data)
        if "channel" in message:
            assert self.worker is not None
            self.worker.take_channel(socket.socket(fileno=fds[0]))
        elif "bound" in message:
            if self._bound is not None:
                settle(self._bound, message["bound"])
        elif (future := self._jobs.pop(message["job"], None)) is not None:
            settle(future, JobExit(message["status"], message.get("reason", "")))
        elif self._adopted is not None:
            self._adopted(message["pid"], message["status"])
        return True


class WaitingJob:
    """A worker that waits for its message."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        loop = asyncio.get_running_loop()
        #: That it ended with status 0 is not reported.
        self.ended: asyncio.Future[JobExit] = loop.create_future()
        self._answer: asyncio.Future[bytes] = loop.create_future()
        self._channel: socket.socket | None = None
        self._message = b""

    @property
    def is_there(self) -> bool:
        """Whether it has not been reported to have ended."""
        self._sandbox.hear()
        return not self.ended.done()

    @property
    def has_channel(self) -> bool:
        """Whether the socket to it has come."""
        return self._channel is not None

    def take_channel(self, channel: socket.socket) -> None:
        """The socket to it has come."""
        self._channel = channel
        channel.setblocking(False)
        self._deliver()

    def send(self, message: bytes) -> asyncio.Future[bytes]:
        """Send it the message; the future is its answer, empty when it died."""
        self._message = message
        self._sandbox.hear()
        if self.ended.done():
            self.close()
        else:
            self._deliver()
        return self._answer

    def _deliver(self) -> None:
        """Once there are both, the socket and the message."""
        if self._channel is None or not self._message:
            return
        message, self._message = self._message, b""
        try:
            self._channel.send(message)
        except OSError:
            self.close()
            return
        asyncio.get_running_loop().add_reader(self._channel.fileno(), self._answered)

    def _answered(self) -> None:
        assert self._channel is not None
        try:
            said = self._channel.recv(MAX_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        settle(self._answer, said)
        self.close()

    def close(self) -> None:
        """Let go of the socket."""
        if self._channel is not None and self._channel.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self._channel.close()
        settle(self._answer, b"")
