"""A live template as its agent sees it: fork it, copy it for freezing, let it go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rekindle.background_tasks import BackgroundTasks
from rekindle.exception import StartError
from rekindle.runtime.agent import deadlines
from rekindle.runtime.agent.deadlines import Deadline
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.runtime.agent.starts import in_image
from rekindle.runtime.agent.starts.child import ForkedChild, end_process
from rekindle.runtime.agent.starts.roots import DEPTH_FOR_FORKS, Root, RootSource
from rekindle.runtime.agent.starts.spares import Spares
from rekindle.runtime.isolation.sandbox import Sandbox
from rekindle.wire.frames import MAX_FDS, FrameError, Header
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: A fork takes milliseconds; a template that has not answered by then is stuck.
FORK_TIMEOUT_S = 20.0
#: Nor has one that is asked to go, and does not, anything left to do.
EXIT_TIMEOUT_S = 20.0
#: How a process ended is known a moment after its connection has closed.
_STATUS_WAIT_S = 1.0
_NO_DESCRIPTOR = "the agent has no descriptor left for a new process"
#: What answers which order.
_ANSWERS = {"parking": "park", "gpu_ready": "gpu", "gpu_failed": "gpu", "copy_failed": "copy"}


class TemplateStuckError(StartError):
    """A template did not fork in time."""


@dataclass
class Process:
    """A process that reported, and waits for its first order."""

    channel: Channel
    exit_status: asyncio.Future[int]
    #: Ends it and all that it started, at once.
    end: Callable[[], None]
    #: Of a forked child: done when its process, and its id, are there.
    there: asyncio.Future[None] | None = None


@dataclass
class LiveTemplate:
    """A parked process and its channel."""

    id: str
    sandbox: Sandbox
    channel: Channel
    #: How its own process ended: exit status, or minus a signal number.
    exit_status: asyncio.Future[int]
    inspection: dict[str, Any]
    loaded_files: Mapping[str, Sequence[int]]
    #: Whether its memory is mapped from a snapshot: forks of it copy fewer page tables, and what
    #: no one has written is paid for once.
    mapped: bool = False
    last_used: float = 0.0
    #: What is told of each of its children where another Python runs them than their program's.
    other_python: str = ""
    #: Set once it was asked to go, or is to go when the forks under way are done.
    retired: bool = False
    #: Children by name that are being forked, and until when they may be; and those that live, by
    #: process id in the namespace.
    _forking: dict[str, tuple[ForkedChild, Deadline]] = field(default_factory=dict)
    _children: dict[int, ForkedChild] = field(default_factory=dict)
    #: Parked copies that have not ended: their process ids there, and pidfds.
    _copies: dict[int, int] = field(default_factory=dict)
    #: What is to be forked by the next order, and whether that is given in this turn of the loop:
    #: for starts, and for spares.
    _ordered: dict[bool, list[ForkedChild]] = field(default_factory=lambda: {False: [], True: []})
    _ordering: dict[bool, bool] = field(default_factory=lambda: {False: False, True: False})
    #: What answers are waited for, by the kind of order.
    _answers: dict[str, asyncio.Future[Header]] = field(default_factory=dict)
    #: Of the roots that its children are to be in; None: they have its own mounts, or copies.
    roots: RootSource | None = None
    #: The root that it is in itself.
    root: Root | None = None
    _sources: Sequence[Sequence[str]] = ()
    _parking: bool = False
    #: Until when it may stay after it was asked to go.
    _goes: Deadline | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: BackgroundTasks = field(default_factory=BackgroundTasks)

    def __post_init__(self) -> None:
        #: Children that wait for a start.
        self.spares = Spares(self.fork, FORK_TIMEOUT_S)

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
        self.channel.subscribe(self._take, self._ended)

    def lives_in(
        self, root: Root, source: RootSource, sources: Sequence[Sequence[str]] | None = None
    ) -> None:
        """It is in a root, which came from ``source``: its children get others, that show what it
        wrote. Its own stays until they are gone. ``sources``: what else it sees, and where that
        lies; None where its files are named as the node has them already."""
        self.root = root
        if sources is not None:
            self._sources = sources
            self.loaded_files = self.on_node(self.loaded_files)
        root.keep()
        roots = source.below(root, depth=DEPTH_FOR_FORKS, on_done=root.let_go)
        self.sandbox.gone.add_done_callback(lambda _gone: roots.close())
        self.roots = roots
        roots.prepare()

    def on_node(self, loaded: Mapping[str, Sequence[int]]) -> Mapping[str, Sequence[int]]:
        """What a process reports that it loaded: those that can change while it lives."""
        return loaded if self.root is None else in_image.seen_from_node(loaded, self._sources)

    # ---- forks -----------------------------------------------------------------------------

    def fork(self, *, spare: bool = False) -> ForkedChild:
        """Have an isolated child forked. Raises StartError.

        Its channel can be written to at once: what it finds there is its start. Until it is forked
        the template does not retire. The first that is asked for in a turn of the loop is ordered
        at once, so that it is forked while its start is put together; the others of that turn go
        out in one order, as do spares.
        """
        if self.gone.is_set():
            raise StartError(f"template {self.id} is gone")
        child = ForkedChild.make(new_id("ru"))
        late = deadlines.here().add(FORK_TIMEOUT_S, partial(self._too_late, child.name))
        self._forking[child.name] = child, late
        if not self._ordering[spare]:
            self._ordering[spare] = True
            asyncio.get_running_loop().call_soon(self._order_the_others, spare)
            if not spare:
                self._order_forks([child], spare)
                return child
        self._ordered[spare].append(child)
        return child

    def _fork_in_root(self, roots: RootSource, child: ForkedChild, spare: bool) -> None:
        if (root := roots.take_ready()) is not None:
            self._order_in(root, child, spare)
            return
        self._tasks.spawn(self._fork_when_made(roots, child, spare))

    async def _fork_when_made(self, roots: RootSource, child: ForkedChild, spare: bool) -> None:
        try:
            self._order_in(await roots.take(), child, spare)
        except StartError as error:
            self._fork_failed(child.name, error)

    def _order_in(self, root: Root, child: ForkedChild, spare: bool) -> None:
        child.exit_status.add_done_callback(lambda _status: root.remove())
        self._order_some([child], spare, [root.fd])
        root.entered()

    def _order_the_others(self, spare: bool) -> None:
        """All that were asked for in this turn of the loop and are not ordered yet."""
        ordered, self._ordered[spare], self._ordering[spare] = self._ordered[spare], [], False
        self._order_forks(ordered, spare)

    def _order_forks(self, children: list[ForkedChild], spare: bool) -> None:
        if self.roots is not None:
            for child in children:
                self._fork_in_root(self.roots, child, spare)
        else:
            for at in range(0, len(children), MAX_FDS):
                self._order_some(children[at : at + MAX_FDS], spare, [])

    def _order_some(self, children: list[ForkedChild], spare: bool, roots: list[int]) -> None:
        """``roots``: descriptors of theirs, in the same order, where they have some."""
        some = [child for child in children if child.name in self._forking]
        if not some:
            return
        order = {"op": "fork", "names": [child.name for child in some], "spare": spare}
        try:
            self.channel.send_with_fds(order, [*(child.their_fd for child in some), *roots])
        except FrameError as error:
            for child in some:
                self._fork_failed(child.name, StartError(f"template {self.id} is gone: {error}"))
        for child in some:
            child.handed_over()

    def _too_late(self, name: str) -> None:
        self._fork_failed(name, TemplateStuckError(self._too_slow("fork", FORK_TIMEOUT_S)))

    def _take_forking(self, name: str) -> ForkedChild | None:
        """A child that is not being forked any more; None where it was given up before."""
        child, late = self._forking.pop(name, (None, None))
        if late is not None:
            late.cancel()
        return child

    def _fork_failed(self, name: str, error: StartError) -> None:
        child = self._take_forking(name)
        if child is not None:
            child.failed(error)
        self._retire_when_due()

    def _forked(self, children: list[tuple[int, str]]) -> None:
        pidfds = self.channel.take_fds(len(children))  # of all first: none may be another's
        for (pid, name), pidfd in zip(children, pidfds, strict=True):
            child = self._take_forking(name)
            if child is None:
                ForkedChild.kill_unknown(pidfd)  # given up: it took too long
            elif pidfd < 0:
                child.failed(StartError(_NO_DESCRIPTOR))
            else:
                self._children[pid] = child
                child.is_there(pidfd)
        self._retire_when_due()

    # ---- freezing --------------------------------------------------------------------------

    async def copy(self) -> int:
        """Make a parked copy in the template's own namespaces; its process id there. It stays
        until CRIU has frozen it, or ``end_copies``."""
        pid: int = (await self._ask({"op": "copy"}, "copy", FORK_TIMEOUT_S))["pid"]
        return pid

    def end_copies(self) -> None:
        """End copies that CRIU has not: they would wait, and keep all their memory, for as long as
        these namespaces are there, and keep those from ending."""
        for pidfd in self._copies.values():
            end_process(pidfd)

    def _copied(self, message: Header) -> None:
        pid, [pidfd] = message["pid"], self.channel.take_fds(1)
        answer = self._answers.get("copy")
        if answer is None or answer.done():
            ForkedChild.kill_unknown(pidfd)  # given up: it took too long
        elif pidfd < 0:  # it ends with the template's namespaces
            answer.set_exception(StartError(_NO_DESCRIPTOR))
        else:
            self._copies[pid] = pidfd
            answer.set_result(message)

    async def park(self) -> None:
        """Let the template go of its channel, so that it can be frozen itself; its last order.
        Raises StartError."""
        self._parking = True
        self.spares.discard()
        await self._ask({"op": "park"}, "park", FORK_TIMEOUT_S)
        try:
            async with asyncio.timeout(FORK_TIMEOUT_S):
                await self.gone.wait()  # the channel is closed: only the control pipe is left
        except TimeoutError as error:
            raise StartError(self._too_slow("park", FORK_TIMEOUT_S)) from error

    async def use_gpu(
        self, env: Mapping[str, str], hidden: Sequence[str], timeout_s: float
    ) -> Header:
        """Have the process itself bring up the GPUs that ``env`` gives it, and run its hooks for
        them; it is not forked any more. Raises StartError with what went wrong."""
        self.spares.discard()
        order = {"op": "gpu", "env": dict(env), "hidden": list(hidden), "hooks": True}
        return await self._ask(order, "gpu", timeout_s)

    # ---- the end ---------------------------------------------------------------------------

    def retire(self) -> None:
        """Have it go, once the forks under way are done. Runners that were forked from it stay."""
        self.retired = True
        self.spares.discard()
        self._retire_when_due()

    def _retire_when_due(self) -> None:
        if self.retired and not self._forking and not self.gone.is_set():
            try:
                self.channel.send({"op": "exit"})
            except FrameError:
                log.debug("template gone already", extra=kv(template=self.id))
            if self._goes is None:
                self._goes = deadlines.here().add(EXIT_TIMEOUT_S, self._end_stuck)

    def _end_stuck(self) -> None:
        """It hangs, in a handler of user code, say. Its process alone ends: its runners stay."""
        reason = self._too_slow("exit", EXIT_TIMEOUT_S)
        log.warning("template killed", extra=kv(template=self.id, reason=reason))
        if self.channel.pid > 0:  # -1 would be everybody; 0 ourselves, too
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.channel.pid, signal.SIGKILL)

    async def ended_from_outside(self) -> bool:
        """Whether what ended it was nothing that it did: a kernel without memory, say."""
        await asyncio.wait([self.exit_status], timeout=_STATUS_WAIT_S)
        return self.exit_status.done() and self.exit_status.result() == -signal.SIGKILL

    def hand_over(self) -> None:
        """Stop listening: the process is to become a runner on the same channel."""
        self.channel.unsubscribe()

    # ---- orders and answers ----------------------------------------------------------------

    async def _ask(self, order: Header, key: str, timeout_s: float) -> Header:
        """Give an order that is answered. Raises StartError."""
        answer: asyncio.Future[Header] = asyncio.get_running_loop().create_future()
        self._answers[key] = answer
        try:
            self._order(order)
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError as error:
            raise StartError(self._too_slow(order["op"], timeout_s)) from error
        finally:
            self._answers.pop(key, None)

    def _too_slow(self, what: str, timeout_s: float) -> str:
        return f"template {self.id} did not {what} in {timeout_s:g} s"

    def _order(self, header: Header) -> None:
        try:
            self.channel.send(header)
        except FrameError as error:
            raise StartError(f"template {self.id} is gone") from error

    def _ended(self) -> None:
        """It ended, or parked."""
        self.channel.close()
        self.gone.set()
        if self._goes is not None:
            self._goes.cancel()
        self.spares.discard()
        if not self._parking:
            # Its init adopts and reaps the children now.
            self.sandbox.on_adopted_exit(self._child_ended)
            self.sandbox.gone.add_done_callback(lambda _gone: self._all_ended())
        for name in list(self._forking):
            self._fork_failed(name, StartError(f"template {self.id} ended"))
        error = StartError(f"template {self.id} ended")
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)

    def _take(self, message: Header, _body: bytes) -> None:
        operation = message["op"]
        if operation == "forked":
            self._forked(message["children"])
        elif operation == "ended":
            for pid, status in message["children"]:
                self._child_ended(pid, status)
        elif operation == "copied":
            self._copied(message)
        elif operation == "fork_failed":
            for name in message["names"]:
                self._fork_failed(name, StartError(f"fork failed: {message['reason']}"))
        elif operation == "not_pinned":
            said = kv(template=self.id, reason=message["reason"])
            log.info("forks of a template leave the copying of pages to faults", extra=said)
        else:
            answer = self._answers.get(_ANSWERS[operation])
            if answer is None or answer.done():
                return
            if operation in ("gpu_failed", "copy_failed"):
                answer.set_exception(StartError(message["reason"]))
            else:
                answer.set_result(message)

    def _child_ended(self, pid: int, status: int) -> None:
        child = self._children.pop(pid, None)
        if child is not None:
            child.ended(status)
        elif (pidfd := self._copies.pop(pid, -1)) >= 0:
            os.close(pidfd)

    def _all_ended(self) -> None:
        """Its namespaces have ended, and all in them; some may not have been reported."""
        for pid in [*self._children, *self._copies]:
            self._child_ended(pid, -signal.SIGKILL)


def new_id(prefix: str) -> str:
    """An id of this node: ``ru-`` and 16 hex digits, say."""
    return f"{prefix}-{secrets.token_hex(8)}"
