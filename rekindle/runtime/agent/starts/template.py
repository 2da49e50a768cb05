"""A live template as its agent sees it: fork it, copy it for freezing, let it go."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rekindle.exception import StartError
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.runtime.agent.runners.listener import RunnerListener
from rekindle.runtime.agent.runners.runner import kill_process
from rekindle.runtime.isolation.sandbox import Sandbox
from rekindle.wire.frames import FrameError, Header
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: A fork takes milliseconds; a template that has not answered by then is stuck.
FORK_TIMEOUT_S = 20.0


@dataclass
class Process:
    """A process that reported, and waits for its first order."""

    channel: Channel
    exit_status: asyncio.Future[int]
    #: Ends it and all that it started, at once.
    end: Callable[[], None]


#: A child of a template: its process id in the namespace, and how it ends.
_Child = tuple[int, asyncio.Future[int]]


@dataclass
class LiveTemplate:
    """A parked process and its channel. ``serve`` must run as long as it lives."""

    id: str
    sandbox: Sandbox
    channel: Channel
    inspection: dict[str, Any]
    loaded_files: Mapping[str, Sequence[int]]
    #: Whether its memory is mapped from a snapshot: forks of it copy fewer page tables, and what
    #: no one has written is paid for once.
    mapped: bool = False
    last_used: float = 0.0
    #: Set once it was asked to go, or is to go when the forks under way are done.
    retired: bool = False
    _forks_under_way: int = 0
    _children: dict[int, asyncio.Future[int]] = field(default_factory=dict)
    #: What answers are waited for: by the token of a fork, or the kind of order.
    _answers: dict[str, asyncio.Future[_Child]] = field(default_factory=dict)
    _parking: bool = False
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

    def fork(self, listener: RunnerListener, hostname: str) -> Awaitable[Process]:
        """Fork an isolated child. Raises StartError.

        From this call on, not from when it is awaited, the template does not retire.
        """
        self._forks_under_way += 1
        return self._fork(listener, hostname)

    async def _fork(self, listener: RunnerListener, hostname: str) -> Process:
        token, arrival = listener.expect()
        order = {"op": "fork", "token": token, "hostname": hostname}
        try:
            _pid, exit_status = await self._ask(order, token)
            either: set[asyncio.Future[Any]] = {arrival, exit_status}
            await asyncio.wait(either, timeout=FORK_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            if not (arrival.done() or exit_status.done()):
                raise self._too_slow("fork")
        finally:
            if not arrival.done():
                arrival.cancel()
            self._forks_under_way -= 1
            if self.retired and not self._forks_under_way:
                self._send_away()
        if arrival.cancelled():
            raise StartError(f"the forked child ended with status {exit_status.result()}")
        channel = arrival.result()
        return Process(channel, exit_status, kill_process(channel.pid, exit_status))

    async def copy(self) -> int:
        """Make a parked copy in the template's own namespaces; its process id there."""
        pid, _exit_status = await self._ask({"op": "copy"}, "copy")
        return pid

    async def park(self) -> None:
        """Let the template go of its channel, so that it can be frozen itself; its last order."""
        self._parking = True
        await self._ask({"op": "park"}, "park")
        async with asyncio.timeout(FORK_TIMEOUT_S):
            await self.gone.wait()  # the channel is closed: nothing but the control pipe is left

    def _exit_of(self, pid: int) -> asyncio.Future[int]:
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

    async def _ask(self, order: Header, key: str) -> _Child:
        """Give an order that is answered. Raises StartError."""
        answer: asyncio.Future[_Child] = asyncio.get_running_loop().create_future()
        self._answers[key] = answer
        try:
            self._order(order)
            async with asyncio.timeout(FORK_TIMEOUT_S):
                return await answer
        except TimeoutError as error:
            raise self._too_slow(order["op"]) from error
        finally:
            self._answers.pop(key, None)

    def _too_slow(self, what: str) -> StartError:
        return StartError(f"template {self.id} did not {what} in {FORK_TIMEOUT_S:g} s")

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
        if not self._parking:
            # Its init adopts and reaps the children now.
            self.sandbox.on_adopted_exit(self._child_ended)
        error = StartError(f"template {self.id} ended")
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)

    def _take(self, message: Header) -> None:
        operation = message["op"]
        if operation == "child_exit":
            self._child_ended(message["pid"], message["status"])
            return
        key = {"copied": "copy", "parking": "park"}.get(operation) or message["token"]
        answer = self._answers.get(key)
        if answer is None or answer.done():
            return
        if operation == "fork_failed":
            answer.set_exception(StartError(f"fork failed: {message['reason']}"))
        else:
            pid = message.get("pid", 0)  # none has parked itself
            answer.set_result((pid, self._exit_of(pid)))

    def _child_ended(self, pid: int, status: int) -> None:
        future = self._exit_of(pid)
        if not future.done():
            future.set_result(status)
        del self._children[pid]


def new_id(prefix: str) -> str:
    """An id of this node: ``ru-`` and 16 hex digits, say."""
    return f"{prefix}-{secrets.token_hex(8)}"
