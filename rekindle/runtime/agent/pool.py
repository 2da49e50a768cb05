"""The runners of one function revision of one app on this node, and the inputs that wait for them.

Decides when to start a runner and when to stop one; how it starts is the ladder's (starts.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

import psutil

from rekindle.exception import Error, InternalFailure, RunnerLostError, StrategyUnavailableError
from rekindle.runtime.agent import outcome
from rekindle.runtime.agent.assignment import Assignment
from rekindle.runtime.agent.freezing import freeze
from rekindle.runtime.agent.plan import Sizing, declared_plan
from rekindle.runtime.agent.revision import Revision
from rekindle.runtime.agent.runner import Runner, RunnerState, UserCodeFailed
from rekindle.runtime.agent.starts import Starter
from rekindle.wire.logs import kv
from rekindle.wire.phases import Mark, Strategy, now_ns
from rekindle.wire.pools import Level

log = logging.getLogger(__name__)

#: After a failed start nothing waits for, this long; doubled up to the maximum.
_BACKOFF_S, _BACKOFF_MAX_S = 1.0, 60.0
#: Share of memory that stays free of templates kept in advance.
_SPARE_MEMORY = 0.15


class Host(Protocol):
    """What a pool asks of its node."""

    def room_for_runner(self, pool: Pool, *, ahead: bool) -> bool:
        """Whether one more runner fits; ``ahead``: no input waits for it.

        Else others may be stopped for it.
        """

    def done(self, assignment: Assignment, result: outcome.Result) -> None:
        """An input has its result."""

    def returned(self, assignment: Assignment, reason: str) -> None:
        """An input did not run to its end; it may be given to a runner again."""

    def measured(self, runner_id: str, pss_bytes: int) -> None:
        """A runner's share of memory after a call that asked for a strategy."""


@dataclass
class Pool:
    """One pool."""

    function_id: str
    app_id: str
    revision: Revision
    starter: Starter
    host: Host
    exit_grace_s: float = 30.0
    waiting: deque[Assignment] = field(default_factory=deque)
    runners: dict[str, Runner] = field(default_factory=dict)
    starting: int = 0
    closed: bool = False
    last_input: float = 0.0
    #: Runner id -> the input that it has.
    _has: dict[str, tuple[str, int]] = field(default_factory=dict)
    _cancelled: set[tuple[str, int]] = field(default_factory=set)
    _backoff_s: float = 0.0
    _not_before: float = 0.0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        #: How many runners to have: the controller's plan, or what the function declares.
        self.sizing = Sizing(declared_plan(self.revision.spec))

    # ---- inputs ----------------------------------------------------------------------------

    def submit(self, assignment: Assignment) -> None:
        """Take an input; its result goes to the host."""
        self.last_input = time.monotonic()
        if self.closed:
            self.host.done(assignment, outcome.cancelled(assignment))
            return
        if assignment.strategy is not None:
            self._spawn(self._run_forced(assignment, assignment.strategy))
            return
        self.waiting.append(assignment)
        self.pump()

    def cancel(self, assignment_id: tuple[str, int]) -> bool:
        """Take back a waiting input; False when it is not waiting here."""
        for assignment in self.waiting:
            if assignment.id == assignment_id:
                self.waiting.remove(assignment)
                self.host.done(assignment, outcome.cancelled(assignment))
                return True
        return False

    def cancel_running(self, assignment_id: tuple[str, int]) -> bool:
        """End the runner that has an input; False when none has it."""
        for runner in self.runners.values():
            if self._has.get(runner.id) == assignment_id:
                self._cancelled.add(assignment_id)
                runner.kill("its input was cancelled")
                return True
        return False

    def pump(self) -> None:
        """Give waiting inputs to idle runners, and start runners that are missing."""
        self.sizing.see(bool(self.waiting) or self.busy() > 0)
        while self.waiting:
            runner = self.idle_runner()
            if runner is None:
                break
            assignment = self.waiting.popleft()
            runner.take()
            self._spawn(self._run(runner, assignment))
        while not self.closed and self._should_start():
            self.starting += 1
            self._spawn(self._start_one())

    def idle_runner(self) -> Runner | None:
        """The idle runner that was used last: its caches are the warmest."""
        return max(self.idle(), key=lambda runner: runner.idle_since, default=None)

    def idle(self) -> list[Runner]:
        """Runners that have nothing to do."""
        return [r for r in self.runners.values() if r.state is RunnerState.IDLE and not r.private]

    def _should_start(self) -> bool:
        if self.size() + self.starting >= self.sizing.limit:
            return False
        missing = len(self.waiting) - self.starting
        ahead = missing <= 0
        if ahead:
            if time.monotonic() < self._not_before:
                return False
            busy = self.busy()
            missing = self.sizing.wanted(busy) - busy - len(self.idle()) - self.starting
        return missing > 0 and self.host.room_for_runner(self, ahead=ahead)

    def size(self) -> int:
        """Runners that are there, starting ones not counted."""
        return len(self.runners)

    def busy(self) -> int:
        """Runners that have an input, or a client of their own."""
        busy = (RunnerState.BUSY, RunnerState.LENT)
        return sum(1 for r in self.runners.values() if r.state in busy)

    # ---- lending ---------------------------------------------------------------------------

    def lend(self) -> Runner | None:
        """An idle runner for one client's direct calls; None when none is idle."""
        runner = self.idle_runner()
        if runner is not None:
            runner.lend()
        return runner

    def take_back(self, runner: Runner) -> None:
        """A lent runner is the pool's again. One that has gone meanwhile is left as it is."""
        if runner.state is RunnerState.LENT:
            runner.take_back()
            self.pump()

    # ---- running ---------------------------------------------------------------------------

    async def _run(self, runner: Runner, assignment: Assignment) -> None:
        spec = self.revision.spec
        handed_ns = now_ns()
        # Whether it was started for an input that was there already, so that its start is a part
        # of what the caller waits for.
        first = runner.inputs_done == 0 and assignment.received_ns <= runner.ready_ns
        strategy = runner.strategy if first else Strategy.WARM
        self._has[runner.id] = assignment.id
        try:
            reply = await runner.run(
                {
                    "op": "input",
                    "input_id": assignment.input_id,
                    "call_id": assignment.call_id,
                    "method": assignment.method,
                },
                assignment.payload,
                assignment.call_id,
                spec.timeout_s,
            )
        except TimeoutError:
            self._forget(runner)
            self.host.done(
                assignment,
                outcome.timed_out(
                    assignment,
                    runner.id,
                    strategy,
                    _marks_before(runner, handed_ns, first=first),
                    self.revision.label,
                    spec.timeout_s,
                ),
            )
        except RunnerLostError as error:
            self._forget(runner)
            if self.closed or assignment.id in self._cancelled:
                self.host.done(assignment, outcome.cancelled(assignment))
            else:
                self.host.returned(assignment, str(error))
        else:
            marks = _marks_before(runner, handed_ns, first=first)
            result = outcome.of_reply(assignment, runner.id, strategy, marks, reply)
            if first:
                result.notes.extend(runner.notes)
            self.host.done(assignment, result)
            self.revision.served.set()
            if first and runner.strategy is Strategy.RESTORE:
                self._spawn(self.starter.record_working_set(runner))
            self._keep_template_when_due()
            if spec.single_use_containers and runner.state is RunnerState.IDLE:
                await self._stop(runner)
            self._freeze_when_due()
        finally:
            self._has.pop(runner.id, None)
            self._cancelled.discard(assignment.id)
        self.pump()

    async def _run_forced(self, assignment: Assignment, strategy: Strategy) -> None:
        """An input that asks for a strategy by name: exactly that, or an error."""
        if strategy is Strategy.WARM:
            runner = self.idle_runner()
            if runner is None:
                error = StrategyUnavailableError("warm: no idle runner is there")
                self.host.done(assignment, outcome.start_failed(assignment, error))
                return
            runner.take()
            await self._run(runner, assignment)
            await self._measure(runner)
            return
        try:
            runner = await self.starter.start(strategy, now_ns())
        except (Error, UserCodeFailed) as error:
            self.host.done(assignment, outcome.start_failed(assignment, error))
            return
        except Exception as error:
            # A bug of ours: the caller must not wait for ever, and the log must show it.
            log.exception("bug", extra=kv(function=self.revision.label))
            failure = InternalFailure(f"{type(error).__name__}: {error}")
            self.host.done(assignment, outcome.start_failed(assignment, failure))
            return
        runner.private = True
        self.welcome(runner)
        runner.take()
        await self._run(runner, assignment)
        await self._measure(runner)
        if runner.state is RunnerState.IDLE:
            await self._stop(runner)

    async def _measure(self, runner: Runner) -> None:
        """Its share of memory, after the caller has its answer: reading it takes milliseconds."""
        if runner.state is RunnerState.IDLE:
            self.host.measured(runner.id, await asyncio.to_thread(runner.pss_bytes))

    # ---- starting and stopping -------------------------------------------------------------

    async def _start_one(self) -> None:
        """Start a runner; what fails is told to the input that waits longest."""
        try:
            runner = await self.starter.start(None, now_ns())
        except UserCodeFailed as error:
            self.starting -= 1
            self._start_failed(error, fail=len(self.waiting))
        except Error as error:
            self.starting -= 1
            self._start_failed(error, fail=1)
        except Exception as error:
            # A bug of ours: the caller must not wait for ever, and the log must show it.
            log.exception("bug", extra=kv(function=self.revision.label))
            self.starting -= 1
            self._start_failed(InternalFailure(f"{type(error).__name__}: {error}"), fail=1)
        else:
            self.starting -= 1
            self._backoff_s = 0.0
            if self.closed:
                await runner.stop(self.exit_grace_s)
                return
            self.welcome(runner)
            self._freeze_when_due()
        self.pump()

    def _start_failed(self, error: Error | UserCodeFailed, fail: int) -> None:
        log.warning("start failed", extra=kv(function=self.revision.label, reason=error))
        self._backoff_s = min(max(_BACKOFF_S, 2 * self._backoff_s), _BACKOFF_MAX_S)
        self._not_before = time.monotonic() + self._backoff_s
        for _ in range(min(fail, len(self.waiting))):
            assignment = self.waiting.popleft()
            self.host.done(assignment, outcome.start_failed(assignment, error))

    def welcome(self, runner: Runner) -> None:
        """Take in a runner that is ready."""
        self.runners[runner.id] = runner

        def ended(_status: asyncio.Future[int]) -> None:
            # One that has an input finds out by its channel, and tells what became of the input.
            if runner.state in (RunnerState.IDLE, RunnerState.LENT, RunnerState.GONE):
                runner.lost()
                self._forget(runner)
                self.pump()

        runner.exit_status.add_done_callback(ended)

    def _forget(self, runner: Runner) -> None:
        self.runners.pop(runner.id, None)

    async def _stop(self, runner: Runner) -> None:
        try:
            await runner.stop(self.exit_grace_s)
        finally:
            self._forget(runner)

    def stop_idle(self) -> bool:
        """Stop the runner that has been idle longest; False when none is idle."""
        runner = min(self.idle(), key=lambda r: r.idle_since, default=None)
        if runner is None:
            return False
        return self.stop_runner(runner)

    def stop_runner(self, runner: Runner) -> bool:
        """Stop an idle runner; False when it is not idle any more."""
        if runner.state is not RunnerState.IDLE or runner.id not in self.runners:
            return False
        self._forget(runner)  # at once: its place is given away
        self._spawn(runner.stop(self.exit_grace_s))
        return True

    def tend(self) -> None:
        """Called now and then: stop what idles too long, start what is missing."""
        for runner in self.sizing.surplus(self.idle(), self.busy(), time.monotonic()):
            self.stop_runner(runner)
        self.pump()

    async def close(self) -> None:
        """Fail what waits, kill what runs, let exit hooks run in idle runners."""
        self.closed = True
        while self.waiting:
            assignment = self.waiting.popleft()
            self.host.done(assignment, outcome.cancelled(assignment))
        stops = []
        for runner in list(self.runners.values()):
            if runner.state is RunnerState.BUSY:
                runner.kill("its app was closed")
            stops.append(self._stop(runner))
        await asyncio.gather(*stops)
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def abort(self) -> None:
        """Kill every runner, now."""
        self.closed = True
        for runner in self.runners.values():
            runner.kill("the agent is stopping")

    # ---- snapshots -------------------------------------------------------------------------

    def _freeze_when_due(self) -> None:
        """Begin the snapshot once an input has been answered, so that it delays none."""
        revision = self.revision
        if not revision.snapshots_enabled or not revision.frozen.wanted() or revision.background:
            return
        if not revision.served.is_set() and self.waiting:
            return
        task = asyncio.create_task(freeze(self.starter.tools, revision, self.starter.say))
        revision.background.add(task)
        task.add_done_callback(revision.background.discard)
        task.add_done_callback(lambda _task: self._keep_template_when_due())

    def _keep_template_when_due(self) -> None:
        """Restore the template too, so that the next runners are forked from mapped memory.

        Also in place of one that was booted: its own memory is free then, and forks are quicker.
        """
        revision = self.revision
        snapshot = revision.frozen.snapshot
        if (
            self.closed
            or self.sizing.level(self.size()) not in (Level.BOOTED, Level.MAPPED)
            or revision.has_best_template()
            or snapshot is None
            or snapshot.manifest.threads > 1
            or revision.fork_unsafe
            or revision.restoring
            or not memory_to_spare()
        ):
            return
        self.keep_template()

    def keep_template(self) -> None:
        """Restore the template, to fork from, in the background."""
        self.revision.restoring = True
        self._spawn(self._keep_template())

    async def _keep_template(self) -> None:
        try:
            await self.starter.restore_template()
        except Error as error:
            log.warning("no template kept", extra=kv(function=self.revision.label, reason=error))
        finally:
            self.revision.restoring = False

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._work_ended)

    def _work_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("bug", extra=kv(function=self.revision.label), exc_info=task.exception())


def memory_to_spare() -> bool:
    """Whether the node may keep a template that nobody has asked for yet."""
    memory = psutil.virtual_memory()
    return bool(memory.available > _SPARE_MEMORY * memory.total)


def _marks_before(runner: Runner, handed_ns: int, *, first: bool) -> list[Mark]:
    """The marks of a call up to the hand-over of its input to the runner."""
    if not first:
        return [("queue", handed_ns)]
    return [("queue", runner.began_ns), *runner.marks]
