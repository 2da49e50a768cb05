"""The agent's side of the spawner: has sandboxes made, and learns when each has ended.

The process at the other end is spawner.py. Knows nothing of what runs in a sandbox.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

from rekindle.exception import Error, InternalFailure, IsolationError, StartError
from rekindle.linux import limits, processes
from rekindle.runtime.isolation.packets import PacketSender
from rekindle.runtime.isolation.sandbox import MAX_MESSAGE_BYTES, Sandbox, Worker, settle

#: What the descriptor -1 would be.
_NOWHERE = Path("/proc/self/fd/-1")


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
        self._feature_cache_fd = -1
        self._feature_cache_here = _NOWHERE

    @property
    def pid(self) -> int:
        """Of the spawner process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended, also where ``gone`` does not say so yet."""
        if self.gone.done() or self._channel.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self._channel, 0)  # of a connection's end a poll tells in any case
        return bool(poll.poll(0))

    @property
    def feature_cache_here(self) -> Path:
        """What ``feature_cache_dir`` is: a tmpfs that this process does not see by that name, as it
        is in the spawner's mount namespace alone.

        By a descriptor: the spawner's own root is an image's for as long as it starts a worker
        there.
        """
        return self._feature_cache_here

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
                    str(limits.given_open_files()),
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
            spawner._open_feature_cache()
        except Error:
            await spawner.stop()
            raise
        return spawner

    def _open_feature_cache(self) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        place = f"/proc/{self.pid}/root{self.feature_cache_dir}"
        try:
            self._feature_cache_fd = os.open(place, flags)  # before it starts anything
        except OSError as error:
            raise StartError(f"the spawner's files cannot be opened: {error}") from error
        self._feature_cache_here = Path(f"/proc/self/fd/{self._feature_cache_fd}")

    async def spawn(self, hostname: str, root_fd: int = -1) -> Sandbox:
        """New namespaces with an init in them; their mounts are those of ``root_fd``, where that is
        given. Raises StartError."""
        fds = [root_fd] if root_fd >= 0 else []
        name, pid, ours = await self._ask({"hostname": hostname}, fds)
        return self._made(name, Sandbox(pid, ours))

    async def spawn_worker(self, hostname: str, worker: Worker, root_fd: int = -1) -> Sandbox:
        """The same for a worker alone, which is started in them. Raises StartError."""
        request = {"hostname": hostname, "in_root": root_fd >= 0, **worker.request()}
        channel, theirs = _connection()
        try:
            with theirs:
                root = [root_fd] if root_fd >= 0 else []
                fds = [*root, theirs.fileno(), *worker.fds.values()]
                name, pid, ours = await self._ask(request, fds)
        except BaseException:
            channel.close()
            raise
        return self._made(name, Sandbox(pid, ours, channel))

    def _made(self, name: int, sandbox: Sandbox) -> Sandbox:
        if name in self._early_exits:
            sandbox.ended(self._early_exits.pop(name))
        else:
            self._sandboxes[name] = sandbox
        return sandbox

    async def start_root_maker(self, scratch: Path) -> socket.socket:
        """A connection to a new process that makes roots (images/root_process.py), with a directory
        for its own files. Raises StartError."""
        _name, _pid, ours = await self._ask({"roots": str(scratch)}, [])
        return ours

    async def _ask(
        self, request: dict[str, object], more_fds: list[int]
    ) -> tuple[int, int, socket.socket]:
        """Have a process made: as it is numbered there, and here; our end of its connection."""
        if self.gone.done():
            raise StartError("the spawner process is gone")
        ours, theirs = _connection()
        ours.setblocking(False)
        # A packet must fit the buffer, and an environment may be large.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MAX_MESSAGE_BYTES)
        self._next_id += 1
        number = self._next_id
        future: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            with theirs:
                data = json.dumps({"id": number, **request}).encode()
                self._orders.send(data, [theirs.fileno(), *more_fds])
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
        fd, self._feature_cache_fd = self._feature_cache_fd, -1
        self._feature_cache_here = _NOWHERE
        if fd >= 0:
            os.close(fd)
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        self._end()

    def _on_message(self) -> None:
        fds: list[int] = []
        try:
            data, fds, _flags, _address = socket.recv_fds(self._channel, MAX_MESSAGE_BYTES, 1)
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
            if message["event"] == "spawned":
                # It has a number again that one had which ended before, and that nobody waited for.
                self._early_exits.pop(message["pid"], None)
            future = self._waiting.get(message["id"])
            if future is None:
                return
            if message["event"] == "spawned":
                settle(future, _spawned(message["pid"], fds))
            else:
                settle(future, StartError(f"no new namespaces: {message['reason']}"))

    def _end(self) -> None:
        early = InternalFailure("the spawner ended before it was ready; see the agent's log")
        settle(self._ready, early)
        for future in self._waiting.values():
            settle(future, StartError("the spawner process ended"))
        for sandbox in self._sandboxes.values():
            sandbox.ended(-signal.SIGKILL)
        self._sandboxes.clear()
        settle(self.gone, None)


def _connection() -> tuple[socket.socket, socket.socket]:
    """Of a process to be. Raises StartError."""
    try:
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError as error:
        raise StartError(f"no connection for a new process: {error}") from error


def _spawned(name: int, pidfds: list[int]) -> tuple[int, int] | StartError:
    """A process as it is numbered there, and here; its pidfd did not come where this process has no
    descriptor left. Who asked lets go of its connection then, and the process ends."""
    if not pidfds:
        return StartError("the agent has no descriptor left for a new process")
    try:
        return name, processes.pid_of(pidfds[0])
    except OSError as error:
        return StartError(f"a new process has no number: {error}")
