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
from rekindle.runtime.isolation import small_init
from rekindle.runtime.isolation.packets import PacketSender

#: An environment may be large.
MAX_MESSAGE_BYTES = 1 << 18

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
    #: Number there -> descriptor of ours. That of small_init.CONTROL_FD is taken.
    fds: Mapping[int, int]
    #: Bound over /run while it runs.
    run_dir: str = ""
    #: Directories that are seen at other places, see ``init.bind``.
    binds: Sequence[Mapping[str, object]] = ()

    def request(self) -> dict[str, object]:
        """For the spawner, without the descriptors."""
        return {
            "worker": list(self.argv),
            "env": dict(self.env),
            "fd_targets": [self.channel_fd, *self.fds],
            "run_dir": self.run_dir,
            "binds": list(self.binds),
        }


class Sandbox:
    """Namespaces with an init; ends when its init does.

    ``channel``: our end of the socket to a worker. Then nothing else can be run in there, and
    nothing is heard of it before it gets its message.
    """

    def __init__(
        self, pid: int, control: socket.socket, channel: socket.socket | None = None
    ) -> None:
        self.pid = pid  # of the init, as the agent sees it
        self.gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._control = control
        self._orders = PacketSender(control)
        self._jobs: dict[str, asyncio.Future[JobExit]] = {}
        self._job_count = 0
        self._adopted: list[Callable[[int, int], None]] = []
        self.worker = WaitingJob(self, channel) if channel is not None else None
        self._listens = False
        if self.worker is None:
            self._listen()

    def _listen(self) -> None:
        self._listens = True
        asyncio.get_running_loop().add_reader(self._control.fileno(), self._on_message)

    def hear(self) -> None:
        """Take what has been reported of a worker so far; from now on, whatever is."""
        if not self._listens and self._control.fileno() >= 0:
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
        assert self.worker is None
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

    async def to_its_end(self, job: asyncio.Future[JobExit], wait_s: float) -> JobExit:
        """How a process ends that ``run`` has started. It is killed where that is not waited for
        any more, and so long is waited until it has ended."""
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            self._end(job)
            await asyncio.wait([job], timeout=wait_s)
            raise

    def _end(self, job: asyncio.Future[JobExit]) -> None:
        for name, future in self._jobs.items():
            if future is job:
                with contextlib.suppress(OSError):  # its init is gone, and so is it
                    self._orders.send(json.dumps({"end": name}).encode())

    def on_adopted_exit(self, callback: Callable[[int, int], None]) -> None:
        """Call ``callback(pid in the namespace, status)`` for each process that init adopted, as
        all that were given before."""
        self._adopted.append(callback)

    def kill(self) -> None:
        """End the init, and with it all that runs in the namespaces."""
        if not self.gone.done() and self.pid > 0:  # -1 would be everybody
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Close the control socket; an init that takes orders ends, and with it the namespaces."""
        if self._control.fileno() >= 0:
            self._orders.close()
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
        for future in self._jobs.values():
            settle(future, JobExit(-signal.SIGKILL, "its namespaces ended"))
        self._jobs.clear()
        if self.worker is not None:
            self.worker.close()

    def ended(self, status: int) -> None:
        """The spawner saw the init end; what that reported last may still be unread."""
        self._take_all()
        settle(self.gone, status)
        self.close()

    def _on_message(self) -> bool:
        """Take one message of the init; False where there is none."""
        try:
            data = self._control.recv(MAX_MESSAGE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            return False
        if self.worker is None:
            self._take(json.loads(data))
        elif len(data) == small_init.ENDED.size:  # else a process in there, as root, has sent it
            pid, status = small_init.ENDED.unpack(data)
            self._ended(pid, os.waitstatus_to_exitcode(status), self.worker)
        return True

    def _take(self, message: dict[str, Any]) -> None:
        if (future := self._jobs.pop(message["job"], None)) is not None:
            settle(future, JobExit(message["status"], message.get("reason", "")))
        else:
            self._tell_adopted(message["pid"], message["status"])

    def _ended(self, pid: int, status: int, worker: WaitingJob) -> None:
        """A process ended whose init is the small one."""
        if pid == small_init.WORKER_PID:
            settle(worker.ended, JobExit(status))
        else:
            self._tell_adopted(pid, status)

    def _tell_adopted(self, pid: int, status: int) -> None:
        for callback in self._adopted:
            callback(pid, status)


class WaitingJob:
    """A worker that waits for its message."""

    def __init__(self, sandbox: Sandbox, channel: socket.socket) -> None:
        self._sandbox = sandbox
        self._channel = channel
        channel.setblocking(False)
        loop = asyncio.get_running_loop()
        #: That it ended with status 0 is not reported.
        self.ended: asyncio.Future[JobExit] = loop.create_future()
        self._answer: asyncio.Future[bytes] = loop.create_future()

    @property
    def is_there(self) -> bool:
        """Whether it has not been reported to have ended, nor its namespaces."""
        self._sandbox.hear()
        return not self.ended.done()

    def send(self, message: bytes) -> asyncio.Future[bytes]:
        """Send it the message; the future is its answer, empty when it died."""
        self._sandbox.hear()
        try:
            self._channel.send(message)
            asyncio.get_running_loop().add_reader(self._channel.fileno(), self._answered)
        except OSError:
            self.close()
        return self._answer

    def _answered(self) -> None:
        try:
            said = self._channel.recv(MAX_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        settle(self._answer, said)
        self._let_go()

    def _let_go(self) -> None:
        if self._channel.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self._channel.close()

    def close(self) -> None:
        """Its namespaces have ended, or are to."""
        self._let_go()
        settle(self._answer, b"")
        settle(self.ended, JobExit(-signal.SIGKILL, "its namespaces ended"))
