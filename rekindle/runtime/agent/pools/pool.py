"""The runners of one function revision of one app on this node: how many there are.

Decides when to start a runner and when to stop one. How it starts is the ladder's (starts.py), what
inputs it gets the dispatcher's (dealing.py), what is kept beside runners keeper.py's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from rekindle.exception import Error, InternalFailure
from rekindle.runtime.agent.inputs import outcome
from rekindle.runtime.agent.inputs.assignment import Assignment, InputState
from rekindle.runtime.agent.inputs.dispatcher import InputDispatcher, Sink
from rekindle.runtime.agent.pools import forced
from rekindle.runtime.agent.pools.backoff import Backoff
from rekindle.runtime.agent.pools.plan import Sizing, declared_plan
from rekindle.runtime.agent.pools.template_keeper import TemplateKeeper
from rekindle.runtime.agent.revision import Revision
from rekindle.runtime.agent.runners import runner_set as places
from rekindle.runtime.agent.runners.runner import Runner, RunnerState, UserCodeFailed
from rekindle.runtime.agent.starts.ladder import Starter
from rekindle.wire.logs import kv
from rekindle.wire.phases import Strategy, now_ns

if TYPE_CHECKING:
    from rekindle.runtime.agent.leases.leases import Leases

log = logging.getLogger(__name__)

#: While it is not known how long inputs take, the first one is given this long to show it before
#: more runners are started for those behind it.
_PROBE_S = 0.01
_CLOSED = "the app was closed before the input could run"
#: Inputs that were made inside of calls: how often it is looked whether their callers wait.
_LOOK_S = 0.02


class Host(Sink, Protocol):
    """What a pool asks of its node."""

    leases: Leases

    def room_for_runner(self, pool: Pool, *, ahead: bool) -> bool:
        """Whether one more runner fits; ``ahead``: no input waits for it.

        Else others may be stopped for it.
        """

    def measured(self, runner_id: str, pss_bytes: int) -> None:
        """A runner's share of memory after a call that asked for a strategy."""

    def runner_gone(self, pool: Pool, runner: Runner) -> None:
        """A runner ended while it was the pool's."""

    def started(self, pool: Pool, runner: Runner | None, began_ns: int, error: str) -> None:
        """A start ended: with a runner, or with an error."""


@dataclass
class Pool:
    """One pool."""

    function_id: str
    app_id: str
    revision: Revision
    starter: Starter
    host: Host
    exit_grace_s: float = 30.0
    runners: dict[str, Runner] = field(default_factory=dict)
    starting: int = 0
    closed: bool = False
    backoff: Backoff = field(default_factory=Backoff)
    #: When a client called one of its runners directly, last (monotonic seconds).
    last_input: float = 0.0
    #: Lent runners that have been asked back.
    returning: int = 0
    #: Runners that it may have beyond its limit, as those it has wait for one another (stalls.py).
    beyond: int = 0
    #: Runner id -> set when it has ended what it was handed; of runners that somebody waits for.
    _awaited: dict[str, asyncio.Event] = field(default_factory=dict)
    _again: asyncio.TimerHandle | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        spec = self.revision.spec
        #: How many runners to have: the controller's plan, or what the function declares.
        self.sizing = Sizing(declared_plan(spec))
        self.dispatcher = InputDispatcher(
            self, self.host, self.revision.label, spec.timeout_s, spec.single_use_containers
        )
        self.keeper = TemplateKeeper(
            self.revision, self.starter, self._spawn, self._keep_template_when_due
        )

    # ---- inputs ----------------------------------------------------------------------------

    @property
    def waiting(self) -> deque[Assignment]:
        """Inputs that no runner has."""
        return self.dispatcher.waiting

    def submit(self, inputs: list[Assignment]) -> None:
        """Take inputs of one order; their results go to the host."""
        if self.closed:
            for one in inputs:
                self.host.done(outcome.of_one(one, outcome.cancelled(one, _CLOSED)))
            return
        if not inputs:
            return
        strategy = inputs[0].order.strategy
        if strategy is not None:
            for one in inputs:
                self._spawn(forced.run(self, one, strategy))
            return
        self.dispatcher.take_in(inputs)
        self.pump()

    def pump(self) -> None:
        """Give waiting inputs to idle runners, and start runners that are missing."""
        self.dispatcher.deal()
        self.sizing.see(bool(self.waiting) or self.busy() > 0)
        if self.waiting:
            self.host.leases.short(self, stuck=False)
        while not self.closed and self._should_start():
            self.starting += 1
            self._spawn(self._start_one())
        if self.waiting and not self.starting:
            self.host.leases.short(self, stuck=True)
        if not self.closed and self.depth():
            self.pump_after(_LOOK_S)

    def pump_after(self, delay_s: float) -> None:
        """Pump once more when so much time has passed; the first of several wishes counts."""
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(delay_s, self._pump_again)

    def _pump_again(self) -> None:
        self._again = None
        self.pump()

    # ---- how many runners ------------------------------------------------------------------

    def idle_runner(self) -> Runner | None:
        """The idle runner that was used last: its caches are the warmest."""
        return max(self.idle(), key=lambda runner: runner.idle_since, default=None)

    def idle(self) -> list[Runner]:
        """Runners that have nothing to do."""
        return [r for r in self.runners.values() if r.state is RunnerState.IDLE and not r.private]

    def busy_runners(self) -> Iterable[Runner]:
        """Runners that have inputs."""
        return [r for r in self.runners.values() if r.state is RunnerState.BUSY]

    def busy(self) -> int:
        """Runners that have an input, or a client of their own."""
        busy = (RunnerState.BUSY, RunnerState.LENT)
        return sum(1 for r in self.runners.values() if r.state in busy)

    def start_s(self) -> float:
        """What the next start will cost, as far as it is known: what the last one did."""
        return self.dispatcher.pace.start_s

    def size(self) -> int:
        """Runners that are there, starting ones not counted."""
        return len(self.runners)

    def depth(self) -> int:
        """How many calls the input that is next was made inside of."""
        return self.waiting[0].order.depth if self.waiting else 0

    def taken(self) -> int:
        """Runners that count against the limit, for the input that is next; see places.py."""
        return places.taken(self.runners.values(), self.depth()) + self.starting

    def may_run(self, depth: int) -> bool:
        """Whether one more of its runners may run an input at this depth."""
        limit = self.sizing.limit + self.beyond
        return self.size() <= limit or places.running(self.runners.values(), depth) < limit

    def active(self) -> int:
        """Busy runners, without those that wait for calls that their inputs made."""
        return places.running(self.runners.values(), places.DEEPEST)

    def coming(self) -> int:
        """Runners that are starting, or that the inputs which wait are worth."""
        room = self.sizing.limit - self.taken()
        return self.starting + max(
            0, min(room, self.dispatcher.pace.runners_for(len(self.waiting)))
        )

    def _should_start(self) -> bool:
        if self.taken() >= self.sizing.limit + self.beyond:
            return False
        missing = self._missing_for_inputs()
        ahead = missing <= 0
        if ahead:
            if self.backoff.left_s() > 0:
                return False
            busy = self.busy()
            missing = self.sizing.wanted(busy) - busy - len(self.idle()) - self.starting
        return missing > 0 and self.host.room_for_runner(self, ahead=ahead)

    def _missing_for_inputs(self) -> int:
        """Runners to start for the inputs that wait."""
        if not self.waiting or (self.backoff.is_loop and self.backoff.left_s() > 0):
            return 0
        serving = [
            r
            for r in places.counting(self.runners.values(), self.depth())
            if not r.private and r.state is not RunnerState.LENT
        ]
        pace = self.dispatcher.pace
        coming = self.starting + self.returning
        # Each that a runner died with may need one for itself, however short the others are: one
        # after the other, they would wait for each other's starts.
        suspects = self.dispatcher.suspects()
        missing = pace.runners_for(len(self.waiting) - suspects) + suspects - coming
        if not serving:
            return max(missing, 1 - coming)
        if pace.service_s is None:
            probed = time.monotonic() - _PROBE_S
            if any(r.seen_at > probed for r in serving if r.state is RunnerState.BUSY):
                return 0
        patience_s = self.sizing.plan.patience_s
        if patience_s and now_ns() - self.waiting[0].order.received_ns < patience_s * 1e9:
            return 0
        return missing

    # ---- lending ---------------------------------------------------------------------------

    def lend(self, depth: int = 0) -> Runner | None:
        """An idle runner for one client's direct calls, at this depth; None when there is none."""
        runner = self.idle_runner() if self.may_run(depth) else None
        if runner is not None:
            runner.lend()
        return runner

    def take_back(self, runner: Runner) -> None:
        """A lent runner is the pool's again. One that has gone meanwhile is left as it is."""
        if runner.state is RunnerState.LENT:
            was_active = self.sizing.active
            runner.take_back()
            self.pump()
            if was_active and not self.sizing.active and self.last_input:
                self.sizing.quiet_since = self.last_input  # its client was idle before

    # ---- what the dispatcher tells -------------------------------------------------------------

    def served(self, runner: Runner, *, first: bool) -> None:
        """A runner has ended a slice."""
        self.backoff.served()
        self.revision.served.set()
        if first and runner.strategy is Strategy.RESTORE and not runner.dying:
            self._spawn(self.starter.record_working_set(runner))
        self._keep_template_when_due()
        if not runner.slices:
            if event := self._awaited.pop(runner.id, None):
                event.set()
            elif self.revision.spec.single_use_containers:
                self.stop_runner(runner)
        self.keeper.freeze_when_due(waiting=bool(self.waiting))
        self.dispatcher.deal_to(runner)
        if not self.waiting or self.taken() < self.sizing.limit:
            self.pump()

    def lost(self, runner: Runner, tell: Callable[[str], None] | None) -> None:
        """A runner is gone."""
        self._forget(runner)
        if event := self._awaited.pop(runner.id, None):
            event.set()
        self.host.runner_gone(self, runner)
        if not runner.kill_reason and tell is None and not runner.last_words.ran:
            self.backoff.died()  # what dies with an input is that input's to answer for
        if tell is not None:
            self._spawn(_tell_fate(runner, tell))
        if not self.closed:
            self.pump()

    async def run_alone(self, runner: Runner, one: Assignment) -> None:
        """Have a runner run one input and nothing else; returns when that has ended."""
        if one.state is not InputState.WAITING:
            return  # it was cancelled meanwhile
        if runner.state is not RunnerState.IDLE:
            self.host.returned(one, f"runner {runner.id}: it ended before it had the input")
            return
        self._awaited[runner.id] = ended = asyncio.Event()
        self.dispatcher.hand(runner, [one])
        await ended.wait()

    # ---- starting and stopping -------------------------------------------------------------

    async def _start_one(self) -> None:
        """Start a runner; what fails is told to the input that waits longest."""
        began_ns = now_ns()
        failure: Error | UserCodeFailed | None = None
        try:
            runner = await self.starter.start(None, began_ns)
        except (Error, UserCodeFailed) as error:
            failure = error
        except Exception as error:
            # A bug of ours: the caller must not wait for ever, and the log must show it.
            log.exception("bug", extra=kv(function=self.revision.label))
            failure = InternalFailure(f"{type(error).__name__}: {error}")
        finally:
            self.starting -= 1
        if failure is not None:
            self._start_failed(failure, began_ns)
        else:
            self.backoff.started()
            if self.closed:
                await runner.stop(self.exit_grace_s)
                return
            self.welcome(runner)  # first of all: one that nobody knows of is never ended
            self.host.started(self, runner, began_ns, "")
            self.dispatcher.pace.started((runner.ready_ns - began_ns) / 1e9)
            self.keeper.freeze_when_due(waiting=bool(self.waiting))
        self.pump()

    def start_beyond(self) -> None:
        """Start a runner, or use one that is idle, whatever the limits say."""
        if not self.idle():
            self.starting += 1
            self._spawn(self._start_one())
        self.pump()

    def fail_next(self, error: Error) -> None:
        """Give the input that is next up."""
        self.dispatcher.fail_waiting(lambda one: outcome.start_failed(one, error), 1)

    def _start_failed(self, error: Error | UserCodeFailed, began_ns: int) -> None:
        log.warning("start failed", extra=kv(function=self.revision.label, reason=error))
        self.backoff.start_failed()
        self.host.started(self, None, began_ns, str(error))
        # User code that raises will raise again; another error may have been this start's alone.
        every = isinstance(error, UserCodeFailed) or self.backoff.is_loop
        self.dispatcher.fail_waiting(
            lambda one: outcome.start_failed(one, error), len(self.waiting) if every else 1
        )

    def welcome(self, runner: Runner) -> None:
        """Take in a runner that is ready."""
        self.runners[runner.id] = runner
        runner.handlers["results"] = lambda header, body: self.dispatcher.results(
            runner, header, body
        )
        runner.on_gone.append(lambda: self.dispatcher.ended(runner))
        if runner.state is RunnerState.GONE:  # already
            self.dispatcher.ended(runner)
            return
        runner.exit_status.add_done_callback(lambda _status: runner.lost())

    def _forget(self, runner: Runner) -> None:
        self.runners.pop(runner.id, None)

    async def stop(self, runner: Runner) -> None:
        """Let its exit hooks run, and end it."""
        try:
            await runner.stop(self.exit_grace_s)
        finally:
            self._forget(runner)

    def stop_runner(self, runner: Runner) -> bool:
        """Stop an idle runner; False when it is not idle any more."""
        if runner.state is not RunnerState.IDLE or runner.id not in self.runners:
            return False
        runner.retire()
        self._forget(runner)  # at once: its place is given away
        self._spawn(runner.stop(self.exit_grace_s))
        return True

    def reconcile(self) -> None:
        """Called now and then: stop what idles too long, start what is missing."""
        for runner in self.sizing.surplus(self.idle(), self.active(), time.monotonic()):
            self.stop_runner(runner)
        self.pump()

    async def close(self) -> None:
        """Fail what waits, kill what runs, let exit hooks run in idle runners."""
        self._shut()
        self.dispatcher.fail_waiting(lambda one: outcome.cancelled(one, _CLOSED), len(self.waiting))
        await self.host.leases.close_pool(self)
        stops = []
        for runner in list(self.runners.values()):
            if runner.state is RunnerState.BUSY:
                runner.kill("its app was closed")
            stops.append(self.stop(runner))
        await asyncio.gather(*stops)
        # Only what has not ended: from Python 3.12 on, gather() of tasks that have all ended gives
        # the loop no turn, and so the callback that takes them out of the set would never run.
        while running := [task for task in self._tasks if not task.done()]:
            await asyncio.gather(*running, return_exceptions=True)

    def abort(self) -> None:
        """Kill every runner, now."""
        self._shut()
        for runner in list(self.runners.values()):
            runner.kill("the agent is stopping")

    def _shut(self) -> None:
        """Nothing is started any more."""
        self.closed = self.keeper.closed = True
        if self._again is not None:
            self._again.cancel()

    # ---- beside runners --------------------------------------------------------------------

    def _keep_template_when_due(self) -> None:
        self.keeper.keep_template_when_due(self.sizing.level(self.size()))

    def keep_template(self) -> None:
        """Restore the template, to fork from, in the background."""
        self.keeper.keep_template()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._work_ended)

    def _work_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("bug", extra=kv(function=self.revision.label), exc_info=task.exception())


async def _tell_fate(runner: Runner, tell: Callable[[str], None]) -> None:
    tell(await runner.fate())
