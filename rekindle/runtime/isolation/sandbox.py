"""The agent's side of the spawner and its inits: ``Spawner`` makes a ``Sandbox``, which runs jobs.

A sandbox is one set of namespaces with an init in it. Knows nothing of what the jobs are.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rekindle.exception import Error, InternalFailure, IsolationError, StartError
from rekindle.linux import processes
from rekindle.runtime.isolation.packets import PacketSender

_MAX_MESSAGE_BYTES = 1 << 18

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


def _settle(future: asyncio.Future[T], outcome: T | Exception) -> None:
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
        if len(data) > _MAX_MESSAGE_BYTES:
            raise StartError(
                f"arguments and environment of a process take {len(data)} bytes, "
                f"more than {_MAX_MESSAGE_BYTES}; make the environment smaller"
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
            _settle(future, JobExit(-signal.SIGKILL, "its namespaces ended"))
        self._jobs.clear()
        for reply in self._replies.values():
            _settle(reply, b"")
        self._replies.clear()

    def ended(self, status: int) -> None:
        """The spawner saw the init end; what that reported last may still be unread."""
        while self._control.fileno() >= 0 and self._on_message():
            pass
        _settle(self.gone, status)
        self.close()

    def _on_message(self) -> bool:
        """Take one message of the init; False where there is none."""
        try:
            data = self._control.recv(_MAX_MESSAGE_BYTES)
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
                _settle(reply, base64.b64decode(message["reply"]))
        elif (future := self._jobs.pop(message["job"], None)) is not None:
            _settle(future, JobExit(message["status"], message.get("reason", "")))
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


class Spawner:
    """The spawner process of an agent."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket) -> None:
        self._process = process
        self._channel = channel
        self._orders = PacketSender(channel)
        self._next_id = 0
        # The spawner may live in a PID namespace of its own: a future's first number, and the keys
        # of what follows, are a process as it knows it; the second is that process for the agent.
        self._waiting: dict[int, asyncio.Future[tuple[int, int]]] = {}
        self._sandboxes: dict[int, Sandbox] = {}
        self._early_exits: dict[int, int] = {}
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        #: Done when the spawner process ended; everything that it made is gone by then.
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.feature_cache_dir = ""

    @property
    def pid(self) -> int:
        """Of the spawner process."""
        return self._process.pid

    @classmethod
    async def start(cls, feature_cache_dir: Path) -> Spawner:
        """Start the spawner; must be called on the main thread (see ``die_with_parent``).

        Raises IsolationError where this user may make no namespaces.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # Blocking for a millisecond, once, and on this thread on purpose.
            process = subprocess.Popen(  # noqa: ASYNC220
                [
                    sys.executable,
                    "-P",  # what lies in the working directory must not shadow what it imports
                    "-m",
                    "rekindle.runtime.isolation.spawner",
                    str(theirs.fileno()),
                    str(feature_cache_dir),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        ours.setblocking(False)
        spawner = cls(process, ours)
        spawner.feature_cache_dir = str(feature_cache_dir)
        asyncio.get_running_loop().add_reader(ours, spawner._on_message)
        try:
            await spawner._ready
        except Error:
            await spawner.stop()
            raise
        return spawner

    async def spawn(self, hostname: str, root_fd: int = -1) -> Sandbox:
        """New namespaces with an init in them; their mounts are those of ``root_fd``, where that is
        given. Raises StartError."""
        name, pid, ours = await self._ask({"hostname": hostname}, root_fd)
        sandbox = Sandbox(pid, ours)
        if name in self._early_exits:
            sandbox.ended(self._early_exits.pop(name))
        else:
            self._sandboxes[name] = sandbox
        return sandbox

    async def start_root_maker(self, scratch: Path) -> socket.socket:
        """A connection to a new process that makes roots (images/root_process.py), with a directory
        for its own files. Raises StartError."""
        _name, _pid, ours = await self._ask({"roots": str(scratch)}, -1)
        return ours

    async def _ask(
        self, request: dict[str, object], more_fd: int
    ) -> tuple[int, int, socket.socket]:
        """Have a process made: as it is numbered there, and here; our end of its connection."""
        if self.gone.done():
            raise StartError("the spawner process is gone")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        # A packet must fit the buffer, and an environment may be large.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _MAX_MESSAGE_BYTES)
        self._next_id += 1
        number = self._next_id
        future: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            with theirs:
                fds = [theirs.fileno(), *([more_fd] if more_fd >= 0 else [])]
                self._orders.send(json.dumps({"id": number, **request}).encode(), fds)
            name, pid = await future
            return name, pid, ours
        except OSError as error:
            ours.close()
            raise StartError(f"the spawner process does not answer: {error}") from error
        except BaseException:
            ours.close()
            raise
        finally:
            self._waiting.pop(number, None)

    async def stop(self) -> None:
        """End the spawner and everything that it made."""
        for sandbox in list(self._sandboxes.values()):
            sandbox.kill()
        if self._channel.fileno() >= 0:
            self._orders.close()
            asyncio.get_running_loop().remove_reader(self._channel)
            self._channel.close()
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        self._end()

    def _on_message(self) -> None:
        fds: list[int] = []
        try:
            data, fds, _flags, _address = socket.recv_fds(self._channel, _MAX_MESSAGE_BYTES, 1)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            self._take(data, fds)
        finally:
            for fd in fds:
                os.close(fd)

    def _take(self, data: bytes, fds: list[int]) -> None:
        if not data:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._end()
            return
        message = json.loads(data)
        if message["event"] == "ready":
            self._ready.set_result(None)
        elif message["event"] == "refused":
            self._ready.set_exception(IsolationError(message["reason"]))
        elif message["event"] == "gone":
            sandbox = self._sandboxes.pop(message["pid"], None)
            if sandbox is not None:
                sandbox.ended(message["status"])
            elif self._waiting:
                # Its "spawned" may be on the way to a waiter that has not run yet.
                self._early_exits[message["pid"]] = message["status"]
        else:
            future = self._waiting.get(message["id"])
            if future is None:
                return
            if message["event"] == "spawned":
                _settle(future, (message["pid"], processes.pid_of(fds[0])))
            else:
                _settle(future, StartError(f"no new namespaces: {message['reason']}"))

    def _end(self) -> None:
        early = InternalFailure("the spawner ended before it was ready; see the agent's log")
        _settle(self._ready, early)
        for future in self._waiting.values():
            _settle(future, StartError("the spawner process ended"))
        for sandbox in self._sandboxes.values():
            sandbox.ended(-signal.SIGKILL)
        self._sandboxes.clear()
        _settle(self.gone, None)
