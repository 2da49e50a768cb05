"""A runner as its agent sees it: a state machine around a process that runs inputs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from rekindle.exception import InternalFailure, RunnerLostError, StartupTimeoutError
from rekindle.runtime.agent import deadlines
from rekindle.runtime.agent.inputs.assignment import Assignment, Slice
from rekindle.runtime.agent.inputs.outcome import UserCodeFailed
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.runtime.agent.runners.output import Output
from rekindle.runtime.agent.runners.slots import Slots
from rekindle.runtime.isolation.sandbox import describe_exit
from rekindle.wire.frames import FrameError, Header
from rekindle.wire.logs import kv
from rekindle.wire.page import CANCEL_SIGNAL, RunnerPage
from rekindle.wire.phases import Mark, Strategy, now_ns

log = logging.getLogger(__name__)

#: One that is called at least so often is in use between its calls, too; one that was called once
#: may be so.
_IN_USE_S, _MAY_BE_S = 0.1, 0.02
#: How long to wait for the exit status of a process whose channel just closed.
_STATUS_WAIT_S = 1.0


class RunnerState(Enum):
    """Where a runner is in its life."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    #: It serves one client's direct calls; its pool gives it nothing.
    LENT = "lent"
    STOPPING = "stopping"
    GONE = "gone"


#: Those of runners that have begun, and do not end.
READY = (RunnerState.IDLE, RunnerState.BUSY, RunnerState.LENT)
_MOVES = {
    RunnerState.STARTING: {RunnerState.IDLE, RunnerState.GONE},
    RunnerState.IDLE: {
        RunnerState.BUSY,
        RunnerState.LENT,
        RunnerState.STOPPING,
        RunnerState.GONE,
    },
    RunnerState.BUSY: {RunnerState.IDLE, RunnerState.GONE},
    RunnerState.LENT: {RunnerState.IDLE, RunnerState.GONE},
    RunnerState.STOPPING: {RunnerState.GONE},
    RunnerState.GONE: set(),
}
#: What the kernel ends a process by whose memory cannot be read, and what its agent does.
_OF_MEMORY = (-signal.SIGBUS, -signal.SIGSEGV, -signal.SIGKILL)
#: Those are PID 1, to whom abort()'s own signal does nothing: the C library ends it by a fault.
_PID_1 = (Strategy.FORK, Strategy.SPARE)
#: Of one that has several inputs at a time, some of the queue and some of clients.
_MOVES_OF_MANY = _MOVES | {
    RunnerState.BUSY: _MOVES[RunnerState.BUSY] | {RunnerState.LENT},
    RunnerState.LENT: _MOVES[RunnerState.LENT] | {RunnerState.BUSY},
}


@dataclass(frozen=True)
class LastWords:
    """What its page said when it ended."""

    #: What was finished and not sent, and of which slice.
    unsent: tuple[int, bytes] = (0, b"")
    #: The input that it was running; None when none was.
    index: int | None = None
    #: Whether it ever began one.
    ran: bool = False
    #: Of one that has several at a time: the slots in which one ran, and since when.
    begun: dict[int, int] = field(default_factory=dict)


@dataclass(eq=False)
class Runner:
    """One runner. Only ``move`` changes its state."""

    id: str
    strategy: Strategy
    channel: Channel
    output: Output
    page: RunnerPage
    #: How its process ended: exit status, or minus a signal number.
    exit_status: asyncio.Future[int]
    #: Ends the process and all that it started, at once.
    end_process: Callable[[], None]
    began_ns: int
    marks: list[Mark] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    state: RunnerState = RunnerState.STARTING
    ready_ns: int = 0
    #: Of a copy of a template: after so long what is due at its fork hangs, if it has not run.
    renewed_within_s: float | None = None
    #: Started for one input alone; no other is given to it.
    private: bool = False
    inputs_done: int = 0
    idle_since: float = 0.0
    kill_reason: str = ""
    #: The input for whose sake it was killed: over its timeout, or cancelled.
    kill_for: Assignment | None = None
    _fate: asyncio.Future[str] | None = None
    _ended_from_outside: bool = False
    #: It is being ended: it gets nothing any more.
    dying: bool = False
    #: What it has been handed and has not ended: two slices at most.
    slices: deque[Slice] = field(default_factory=deque)
    #: Inputs that it was handed since it was idle, and what its page counted then.
    given: int = 0
    _ended_before: int = 0
    #: Slices that it was handed, ever, and how often it was lent.
    handed: int = 0
    lent: int = 0
    #: Takes the frames that it sends, by their ``op``.
    handlers: dict[str, Callable[[Header, bytes], None]] = field(default_factory=dict)
    #: UUIDs of the GPUs that it has.
    gpus: Sequence[str] = ()
    #: Whether it was restored with its GPU's memory.
    of_gpu_snapshot: bool = False
    #: Why it has to make room for another; "" for one that has not.
    preempted: str = ""
    #: Called once, when it is gone; by who wants to know.
    on_gone: dict[str, Callable[[], None]] = field(default_factory=dict)
    #: Why memory of its process could not be read; asked when it has ended of that.
    why_lost: Callable[[], str] = str
    last_words: LastWords = LastWords()
    #: What its agent saw last of the input that runs: when it began, and since when we know.
    seen_began_ns: int = 0
    seen_at: float = 0.0
    #: Of one that has several inputs at a time: what it has; direct calls of it that were counted.
    slots: Slots[Any] | None = None
    counted: tuple[int, int, int] = (0, 0, 0)
    #: Of such a one: it gets no more and ends when it has nothing, as another pool has its place.
    emptying: bool = False
    #: When what waits behind that input was called back; 0 when it was not.
    recalled_at: float = 0.0
    #: The run that it was signalled to cancel, since when; when it was signalled last, and after
    #: what time.
    cancel_token: int = 0
    cancel_since: float = 0.0
    _signalled_at: float = 0.0
    _waited: float = 0.0

    def move(self, to: RunnerState) -> None:
        """Change the state. Raises InternalFailure for a step that must not happen."""
        moves = _MOVES if self.slots is None else _MOVES_OF_MANY
        if to not in moves[self.state]:
            raise InternalFailure(f"runner {self.id} cannot go from {self.state} to {to}")
        self.state = to
        if to is RunnerState.IDLE:
            self.idle_since = time.monotonic()

    @property
    def serves(self) -> bool:
        """Whether it may be given inputs, or a client, now or when it has ended what it has."""
        return self.state in READY and not (self.private or self.dying)

    def is_in_use(self, now: float, used: float) -> bool:
        """Whether one that has nothing to run is called again and again, and was just now.

        ``used``: when it was called last; both by the monotonic clock.
        """
        return now - used < (_IN_USE_S if self.inputs_done > 1 else _MAY_BE_S)

    @property
    def waits_at(self) -> int:
        """The depth of its input, while that waits for calls that it made; -1 otherwise."""
        return -1 if self.dying else self.page.waits_at

    @property
    def inputs(self) -> list[Assignment]:
        """All that it has of the queue."""
        return [one for piece in self.slices for one in piece.left.values()]

    def begun(self) -> dict[int, int]:
        """Of one that has several inputs at a time: the slots in which one runs, and since when."""
        if self.slots is None:
            return {}
        found = {slot: self.page.slot(slot)[0] for slot, _ in self.slots.items()}
        return {slot: began_ns for slot, began_ns in found.items() if began_ns}

    def settle(self) -> None:
        """Of one that has several inputs at a time: have its state say what it has."""
        if self.slots is None or self.dying or self.state is RunnerState.STOPPING:
            return
        to = RunnerState.BUSY if self.slices else RunnerState.LENT
        to = to if len(self.slots) else RunnerState.IDLE
        if to is not self.state:
            self.move(to)

    def current_call(self) -> str:
        """The call of what it runs, for its log lines."""
        return self.slices[0].order.call_id if self.slices else self.page.call_id

    async def become_ready(self, timeout_s: float) -> None:
        """Wait until the hooks have run.

        Raises UserCodeFailed, StartupTimeoutError or RunnerLostError; the runner is gone then.
        """
        try:
            header, data = await self._first_report(timeout_s)
        except TimeoutError as error:
            raise StartupTimeoutError(
                f"the runner was not ready within startup_timeout={timeout_s:g} s"
            ) from error
        except FrameError as error:
            self.lost()
            died = RunnerLostError(f"the runner died while it started: {await self.fate()}")
            died.from_outside = bool(self.kill_reason) or self._ended_from_outside
            raise died from error
        if header["op"] == "start_failed":
            self.marks.extend((name, at) for name, at in header["marks"])
            self.kill("start failed")
            raise UserCodeFailed(header, data)
        self.marks.extend((name, at) for name, at in header["marks"])
        self.notes += header.get("notes", [])
        if reason := header.get("not_hidden"):
            log.warning("GPUs of others not hidden", extra=kv(runner=self.id, reason=reason))
        self.ready_ns = now_ns()
        self.move(RunnerState.IDLE)
        self.channel.subscribe(self._on_frame, self.lost)

    async def _first_report(self, timeout_s: float) -> tuple[Header, bytes]:
        """Raises TimeoutError, FrameError, and RunnerLostError for a copy that will never come."""
        if self.renewed_within_s is None:
            return await self.channel.receive(timeout_s)
        soon_s = min(timeout_s, self.renewed_within_s)
        try:
            return await self.channel.receive(soon_s)
        except TimeoutError:
            if not self.page.is_renewed:
                self.kill("it hung")
                raise RunnerLostError(
                    f"the runner was not past its fork in {soon_s:g} s: a handler of "
                    "os.register_at_fork may hang"
                ) from None
            if soon_s == timeout_s:
                raise
        return await self.channel.receive(timeout_s - soon_s)

    def _on_frame(self, header: Header, body: bytes) -> None:
        handler = self.handlers.get(header["op"])
        if handler is None:
            log.warning("unexpected frame", extra=kv(runner=self.id, op=header["op"]))
            return
        handler(header, body)

    def hand(self, piece: Slice) -> None:
        """Note a slice that it is sent. Raises InternalFailure where it can run none."""
        if self.state is not RunnerState.BUSY:
            self.move(RunnerState.BUSY)
        if not self.slices:
            self.given, self._ended_before = 0, self.page.done
        self.given += len(piece.left)
        self.slices.append(piece)

    @property
    def not_begun(self) -> int:
        """How many of its inputs it has before it; while none was called back."""
        page = self.page
        return self.given - (page.done - self._ended_before) - (1 if page.began_ns else 0)

    def recall(self, now: float) -> None:
        """Call back what it has not begun; ``now``: monotonic seconds."""
        self.page.recall(self.handed)
        self.recalled_at = now

    def ask_to_cancel(self, token: int, now: float) -> float:
        """Have the run that the token names raise InputCancellation, where it still runs.

        To be called until it has ended: the signal is sent again, after twice the time each, until
        it was heard (runner/cancelling.py). For how long it was asked; ``now``: monotonic seconds.
        """
        if self.cancel_token != token:
            self.cancel_token, self.cancel_since = token, now
            self.page.cancel(token)
            self._signal(now)
        elif self.page.heard != token and now - self._signalled_at >= self._waited:
            self._signal(now)
        return now - self.cancel_since

    def _signal(self, now: float) -> None:
        self._signalled_at, self._waited = now, now - self.cancel_since
        if self.channel.pid > 0:  # -1, of one that has ended, would be everybody; 0 ourselves, too
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.channel.pid, CANCEL_SIGNAL)

    def begin_stop(self, grace_s: float) -> None:
        """Let the exit hooks run where it has nothing to do, then end it: ``on_gone`` is called."""
        if self.state is RunnerState.IDLE:
            self.move(RunnerState.STOPPING)
        if self.state is not RunnerState.STOPPING:
            self.kill("stopped")
            return
        late = deadlines.here().add(grace_s, lambda: self.kill("stopped"))
        self.handlers["stopped"] = lambda _header, _body: self.kill("stopped")
        self.on_gone["stop"] = late.cancel
        try:
            self.channel.send({"op": "stop"})
        except FrameError:
            self.kill("stopped")

    async def stop(self, grace_s: float) -> None:
        """End it in order, as ``begin_stop``, and wait until it is gone."""
        self.begin_stop(grace_s)
        await self.until_gone()

    async def until_gone(self) -> None:
        """Return when it is gone, whoever ends it."""
        if self.dying:
            return
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_gone[f"waiter {id(gone)}"] = lambda: None if gone.done() else gone.set_result(None)
        await gone

    def kill(self, reason: str) -> None:
        """End it now, whatever it does; what it had finished is taken in first."""
        if self.dying:
            return
        self.kill_reason = reason
        self.end_process()
        self._end()

    def lost(self) -> None:
        """Take in that its process ended by itself, or is about to."""
        if self.dying:
            return
        # What is left of its namespaces ends once it is known how it ended.
        self._fate = asyncio.ensure_future(self._find_fate())
        self._end()

    def _end(self) -> None:
        self.dying = True
        self.channel.drain()
        self.move(RunnerState.GONE)
        self.channel.close()
        # The page before the output: what a finished input printed goes before its result.
        began_ns = self.page.began_ns
        self.last_words = LastWords(
            self.page.unsent(),
            self.page.index if began_ns else None,
            bool(began_ns or self.page.done or self.inputs_done),
            self.begun(),
        )
        self.output.close()
        self.page.close()
        for notify in list(self.on_gone.values()):
            notify()

    async def fate(self) -> str:
        """How it ended, in words; waits until that is known."""
        words = self.kill_reason
        if self._fate is not None:
            words = await asyncio.shield(self._fate)
        return f"runner {self.id}: {words}"

    async def _find_fate(self) -> str:
        words = "it closed its connection"
        try:
            async with asyncio.timeout(_STATUS_WAIT_S):
                status = await asyncio.shield(self.exit_status)
            words = describe_exit(status)
            self._ended_from_outside = status == -signal.SIGKILL
            if status in _OF_MEMORY and (why := self.why_lost()):
                self._ended_from_outside = True
                words += f": {why}"
            elif status == -signal.SIGSEGV and self.strategy in _PID_1:
                words += " (a bad access to memory, or os.abort())"
        except TimeoutError:
            # Nobody waits for it any longer, but nothing is to be started from what it ended of.
            self.exit_status.add_done_callback(self._ended_late)
        self.end_process()
        return words

    def _ended_late(self, exit_status: asyncio.Future[int]) -> None:
        if not exit_status.cancelled() and exit_status.result() in _OF_MEMORY:
            self.why_lost()
