"""A live template as its agent sees it: fork it, copy it for freezing, let it go."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from rekindle.exception import StartError
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.runtime.agent.runners.listener import RunnerListener
from rekindle.runtime.isolation.sandbox import Sandbox
from rekindle.wire.frames import FrameError, Header
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: A fork takes milliseconds; a template that has not answered by then is stuck.
FORK_TIMEOUT_S = 20.0


@dataclass
class Forked:
    """A forked child that reported."""

    channel: Channel
    exit_status: asyncio.Future[int]


@dataclass
class LiveTemplate:
    """A parked process and its channel. ``serve`` must run as long as it lives."""

    id: str
    sandbox: Sandbox
    channel: Channel
    inspection: dict[str, Any]
    loaded_files: dict[str, list[int]]
    #: Whether its memory is mapped from a snapshot: forks of it copy fewer page tables, and what
    #: no one has written is paid for once.
    mapped: bool = False
    last_used: float = 0.0
    #: Set once it was asked to go, or is to go when the forks under way are done.
    retired: bool = False
    _forks_under_way: int = 0
    _children: dict[int, asyncio.Future[int]] = field(default_factory=dict)
    _forks: dict[str, asyncio.Future[asyncio.Future[int]]] = field(default_factory=dict)
    _copies: list[asyncio.Future[int]] = field(default_factory=list)
    _parking: asyncio.Future[None] | None = None
    _listening: asyncio.Task[None] | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def fork_unsafe(self) -> list[str]:
        """Why it may not be forked; empty when it may."""
        reasons: list[str] = self.inspection["fork_unsafe"]
        return reasons

    @property
    def dump_unsafe(self) -> list[str]:
        """Why it cannot be frozen; empty when nothing speaks against it."""
        reasons: list[str] = self.inspection["dump_unsafe"]
        return reasons

    def listen(self) -> None:
        """Start taking in what the template says, and have it get ready to fork if it may."""
        if not self.fork_unsafe:
            self._order({"op": "prepare"})
        self._listening = asyncio.create_task(self._listen())

    def fork(self, listener: RunnerListener, hostname: str) -> Awaitable[Forked]:
        """Fork an isolated child. Raises StartError.

        From this call on, not from when it is awaited, the template does not retire.
        """
        self._forks_under_way += 1
        return self._fork(listener, hostname)

    async def _fork(self, listener: RunnerListener, hostname: str) -> Forked:
        try:
            return await self._fork_now(listener, hostname)
        finally:
            self._forks_under_way -= 1
            if self.retired and not self._forks_under_way:
                self._send_away()

    async def _fork_now(self, listener: RunnerListener, hostname: str) -> Forked:
        token, arrival = listener.expect()
        forked: asyncio.Future[asyncio.Future[int]] = asyncio.get_running_loop().create_future()
        self._forks[token] = forked
        try:
            self._order({"op": "fork", "token": token, "hostname": hostname})
            async with asyncio.timeout(FORK_TIMEOUT_S):
                exit_status = await forked
                either: set[asyncio.Future[Any]] = {arrival, exit_status}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError as error:
            raise StartError(f"template {self.id} did not fork in {FORK_TIMEOUT_S:g} s") from error
        finally:
            self._forks.pop(token, None)
            if not arrival.done():
                arrival.cancel()
        if arrival.cancelled():
            raise StartError(f"the forked child ended with status {exit_status.result()}")
        return Forked(arrival.result(), exit_status)

    async def copy(self) -> int:
        """Make a parked copy in the template's own namespaces; its process id there."""
        copied: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._copies.append(copied)
        self._order({"op": "copy"})
        try:
            async with asyncio.timeout(FORK_TIMEOUT_S):
                return await copied
        except TimeoutError as error:
            raise StartError(f"template {self.id} made no copy in {FORK_TIMEOUT_S:g} s") from error

    async def park(self) -> None:
        """Let the template go of its channel, so that it can be frozen itself; its last order."""
        self._parking = asyncio.get_running_loop().create_future()
        self._order({"op": "park"})
        async with asyncio.timeout(FORK_TIMEOUT_S):
            await self._parking
            await self.gone.wait()  # the channel is closed: nothing but the control pipe is left

    def exit_of(self, pid: int) -> asyncio.Future[int]:
        """How the child ``pid`` (in the namespace) ends."""
        return self._children.setdefault(pid, asyncio.get_running_loop().create_future())

    def retire(self) -> None:
        """Have it go, once the forks under way are done. Runners that were forked from it stay."""
        self.retired = True
        if not self._forks_under_way:
            self._send_away()

    def _send_away(self) -> None:
        if not self.gone.is_set():
            try:
                self.channel.send({"op": "exit"})
            except FrameError:
                log.debug("template gone already", extra=kv(template=self.id))

    async def hand_over(self) -> None:
        """Stop listening: the process is to become a runner on the same channel."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    def _order(self, header: Header) -> None:
        try:
            self.channel.send(header)
        except FrameError as error:
            raise StartError(f"template {self.id} is gone") from error

    async def _listen(self) -> None:
        try:
            while True:
                message, _body = await self.channel.receive()
                self._take(message)
        except FrameError:
            pass  # it ended, or parked
        self.channel.close()
        self.gone.set()
        if self._parking is None:
            # Its init adopts and reaps the children now.
            self.sandbox.on_adopted_exit(self._child_ended)
        error = StartError(f"template {self.id} ended")
        waiting: list[asyncio.Future[Any]] = [*self._forks.values(), *self._copies]
        for future in waiting:
            if not future.done():
                future.set_exception(error)

    def _take(self, message: Header) -> None:
        operation = message["op"]
        if operation == "forked":
            exit_status = self.exit_of(message["pid"])
            future = self._forks.get(message["token"])
            if future is not None and not future.done():
                future.set_result(exit_status)
        elif operation == "fork_failed":
            future = self._forks.get(message["token"])
            if future is not None and not future.done():
                future.set_exception(StartError(f"fork failed: {message['reason']}"))
        elif operation == "copied":
            self.exit_of(message["pid"])
            copied = self._copies.pop(0)
            if not copied.done():
                copied.set_result(message["pid"])
        elif operation == "child_exit":
            self._child_ended(message["pid"], message["status"])
        elif operation == "parking" and self._parking is not None:
            self._parking.set_result(None)

    def _child_ended(self, pid: int, status: int) -> None:
        future = self.exit_of(pid)
        if not future.done():
            future.set_result(status)
        del self._children[pid]


def new_id(prefix: str) -> str:
    """An id of this node: ``ru-`` and 16 hex digits, say."""
    return f"{prefix}-{secrets.token_hex(8)}"
