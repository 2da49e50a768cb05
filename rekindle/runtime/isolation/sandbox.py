"""The agent's side of an init: a ``Sandbox``, one set of namespaces with an init in it, runs jobs.

Knows nothing of what the jobs are, nor of who makes sandboxes (spawner_client.py).
"""

from __future__ import annotations

import asyncio
import base64
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


class Sandbox:
    """Namespaces with an init; ends when its init does."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid  # of the init, as the agent sees it
        self.gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._control = control
        self._orders = PacketSender(control)
        self._jobs: dict[str, asyncio.Future[JobExit]] = {}
        self._replies: dict[str, asyncio.Future[bytes]] = {}
        self._job_count = 0
        self._adopted: Callable[[int, int], None] | None = None
        asyncio.get_running_loop().add_reader(control, self._on_message)

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

    def start_waiting(
        self,
        argv: Sequence[str],
        *,
        channel_fd: int,
        env: Mapping[str, str],
        fds: Mapping[int, int],
        run_dir: str = "",
    ) -> WaitingJob:
        """Start a process that waits for one message on a packet socket at ``channel_fd``."""
        ended = self.run(argv, env=env, fds=fds, run_dir=run_dir, channel_fd=channel_fd)
        return WaitingJob(self, f"j{self._job_count}", ended)

    def _send_to(
        self,
        job: str,
        data: bytes,
        directories: Mapping[int, str | int],
        binds: Sequence[Mapping[str, object]],
    ) -> asyncio.Future[bytes]:
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        message = {
            "job": job,
            "send": base64.b64encode(data).decode(),
            "open": {str(n): path for n, path in directories.items() if isinstance(path, str)},
            "fd_targets": [n for n, fd in directories.items() if isinstance(fd, int)],
            "binds": list(binds),
        }
        try:
            fds = [fd for fd in directories.values() if isinstance(fd, int)]
            self._orders.send(json.dumps(message).encode(), fds)
        except OSError as error:
            raise StartError(f"the sandbox's init is gone: {error}") from error
        self._replies[job] = reply
        return reply

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
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
        for future in self._jobs.values():
            settle(future, JobExit(-signal.SIGKILL, "its namespaces ended"))
        self._jobs.clear()
        for reply in self._replies.values():
            settle(reply, b"")
        self._replies.clear()

    def ended(self, status: int) -> None:
        """The spawner saw the init end; what that reported last may still be unread."""
        while self._control.fileno() >= 0 and self._on_message():
            pass
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
            asyncio.get_running_loop().remove_reader(self._control)
            return False
        message = json.loads(data)
        if "reply" in message:
            if (reply := self._replies.pop(message["job"], None)) is not None:
                settle(reply, base64.b64decode(message["reply"]))
        elif (future := self._jobs.pop(message["job"], None)) is not None:
            settle(future, JobExit(message["status"], message.get("reason", "")))
        elif self._adopted is not None:
            self._adopted(message["pid"], message["status"])
        return True


@dataclass(frozen=True)
class WaitingJob:
    """A process that waits for one message; it answers once and ends."""

    sandbox: Sandbox
    job: str
    ended: asyncio.Future[JobExit]

    def send(
        self,
        data: bytes,
        directories: Mapping[int, str | int],
        binds: Sequence[Mapping[str, object]] = (),
    ) -> asyncio.Future[bytes]:
        """Send it the message; the future is its answer, empty when it died.

        It finds ``directories``, paths or descriptors of ours, open at their numbers in the process
        that sends, until it answers; ``binds``: see ``init.bind``. Raises StartError.
        """
        return self.sandbox._send_to(self.job, data, directories, binds)
