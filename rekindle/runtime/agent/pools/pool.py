"""The runners of one function revision of one app on this node: how many there are.

Says which runners it lacks; whether they may be started is the scheduler's to decide. What becomes
of a start is runner_starts.py's, what inputs a runner gets the dispatcher's, what is kept below the
runners the keeper's (template_keeper.py). What happens in a pool is an event: it puts the pool on
the agenda, and is taken in by its next pass.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from rekindle.background_tasks import BackgroundTasks
from rekindle.runtime.agent.history import History
from rekindle.runtime.agent.inputs.assignment import Assignment
from rekindle.runtime.agent.inputs.results import Results
from rekindle.runtime.agent.pool_gpus import PoolGpus
from rekindle.runtime.agent.pools.agenda import Agenda, PoolKey
from rekindle.runtime.agent.pools.backoff import Backoff
from rekindle.runtime.agent.pools.dispatcher import InputDispatcher
from rekindle.runtime.agent.pools.events import (
    Event,
    RunnerEnded,
    SliceEnded,
    SnapshotEnded,
    StartEnded,
)
from rekindle.runtime.agent.pools.many_dispatcher import ManyDispatcher
from rekindle.runtime.agent.pools.need import Need
from rekindle.runtime.agent.pools.plan import Sizing, declared_plan
from rekindle.runtime.agent.pools.runner_set import RunnerSet
from rekindle.runtime.agent.pools.runner_starts import RunnerStarts
from rekindle.runtime.agent.pools.template_keeper import TemplateKeeper
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.runtime.agent.starts.ladder import Starter
from rekindle.runtime.agent.starts.restoring import record_working_set
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.wire.phases import Strategy

log = logging.getLogger(__name__)


class Lack(Enum):
    """What a pool wants to start a runner for."""

    INPUT = "input"  # one that waits
    AHEAD = "ahead"  # none: its plan asks for the runner


@dataclass(eq=False)
class Pool:
    """One pool."""

    key: PoolKey
    app_id: str
    revision: Revision
    starter: Starter
    agenda: Agenda
    results: Results
    history: History
    exit_grace_s: float
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        spec = self.revision.spec
        #: How many runners to have: the controller's plan, or what the function declares.
        self.sizing = Sizing(declared_plan(spec))
        self.runners = RunnerSet(self.sizing)
        dispatcher = ManyDispatcher if spec.takes_many else InputDispatcher
        self.dispatcher = dispatcher(spec, self.runners, self.results, self._publish)
        self._tasks = BackgroundTasks()
        self.starts = RunnerStarts(
            *(self.function_id, self.starter, self.history, self.runners, self.dispatcher),
            *(self.backoff, self._tasks, self._publish, self.exit_grace_s),
        )
        self._need = Need(
            *(spec, self.runners, self.dispatcher, self.sizing, self.backoff, self.starts.ramp),
            later=lambda delay_s: self.agenda.add_later(self.key, delay_s),
        )
        #: Runners that are not its own any more, and run their exit hooks.
        self._stopping: set[Runner] = set()
        self.keeper = TemplateKeeper(self.revision, self.starter, self._tasks, self._publish)
        self._events: deque[Event] = deque()
        #: Whether it has had a runner: what no one has started is not frozen.
        self._used = False
        #: Whether it is of a version that is not called yet, and may never be: nor is that frozen,
        #: also where its plan has runners started.
        self.on_trial = False
        #: When its version ceased to be the one that is called (monotonic seconds); 0: it has not,
        #: or had before it was known here. Clients that asked before that begin no calls on it.
        self.retired_at = 0.0
        #: How deep the calls are that clients wait for a runner for, as long as it takes.
        self.asked_depth = 0
        #: While what its runners are copied from is looked at again: set then. None: it is open.
        self.opening: asyncio.Event | None = None
        #: Who is about to give it something to do.
        self._users = 0

    @property
    def function_id(self) -> str:
        """The function that it runs."""
        return self.key[0]

    @property
    def gpus(self) -> PoolGpus:
        """What its runners need of GPUs."""
        return self.starter.gpus

    @property
    def closed(self) -> bool:
        """Whether its app is closed."""
        return self.dispatcher.closed

    @property
    def waiting(self) -> deque[Assignment]:
        """Inputs that no runner has."""
        return self.dispatcher.waiting

    @property
    def works(self) -> bool:
        """Whether anything of it runs, starts, ends, waits here, or is about to come."""
        return bool(
            self._users
            or self.runners
            or self.runners.starting
            or self.waiting
            or self._events
            or self._stopping
            or self.starts.unscheduled
            or self.revision.background
            or self._tasks.any
            or self.dispatcher.ends
        )

    @contextmanager
    def used(self) -> Iterator[None]:
        """While this lasts, it stays open, whatever it has to do."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1

    def staying(self, work: Coroutine[Any, Any, object]) -> Coroutine[Any, Any, None]:
        """``work`` for a task of its own: the pool stays open from now until that has ended."""
        self._users += 1

        async def done() -> None:
            try:
                await work
            finally:
                self._users -= 1

        return done()

    def submit(self, inputs: list[Assignment]) -> None:
        """Take inputs of one order."""
        self.dispatcher.take_in(inputs)
        self.changed()

    def changed(self) -> None:
        """Have the scheduler look at it."""
        self.agenda.add(self.key)

    # ---- a pass --------------------------------------------------------------------------------

    def take_in_events(self) -> None:
        """Take in what has happened, and give waiting inputs to idle runners."""
        while self._events:
            self._take_in(self._events.popleft())
        self.dispatch()

    def dispatch(self) -> None:
        """Give waiting inputs to idle runners."""
        self.dispatcher.dispatch()
        works = bool(self.waiting or self.runners.with_inputs())
        self.sizing.see(works, lent=self.runners.busy() > 0)

    def _publish(self, event: Event) -> None:
        self._events.append(event)
        self.changed()

    def _take_in(self, event: Event) -> None:
        if isinstance(event, SliceEnded):
            self._slice_ended(event)
        elif isinstance(event, RunnerEnded):
            self._runner_ended(event)
        elif isinstance(event, StartEnded):
            self._used = self._used or event.made
        elif isinstance(event, SnapshotEnded):
            self._keep_template_when_due()

    def _slice_ended(self, event: SliceEnded) -> None:
        runner = event.runner
        self._used, self.on_trial = True, False
        self.backoff.served()
        self.revision.served.set()
        if event.first and runner.strategy is Strategy.RESTORE and not runner.dying:
            self._tasks.spawn(record_working_set(self.starter.context, self.revision, runner))
        self._keep_template_when_due()
        if event.spent:
            self.stop_runner(runner)

    def answered_first_call(self, runner: Runner) -> None:
        """A lent runner has answered a call, its first."""
        self._publish(SliceEnded(runner, first=True, spent=False))

    def went_live(self) -> None:
        """Its version is called from now on: a runner that its trial left is one as any other."""
        self.on_trial = False
        if self.runners and not self.closed:
            self._used = True
            self.changed()

    def freeze_when_due(self, asking: int) -> None:
        """Begin the snapshot, where the first call has been answered or none is there.

        ``asking``: clients that wait for a runner.
        """
        if self._used and not self.on_trial and (due := self.keeper.due()) is not None:
            works = bool(self.waiting or asking or self.runners.busy())
            self.keeper.begin_snapshot(due, waiting=works)

    def _runner_ended(self, event: RunnerEnded) -> None:
        runner = event.runner
        self.history.runner_ended(self.function_id, runner)
        if not runner.kill_reason and not event.with_input and not runner.last_words.ran:
            self.backoff.died()  # what dies with an input is that input's to answer for

    def _keep_template_when_due(self) -> None:
        if not self.closed:
            self.keeper.keep_template_when_due(self.sizing.level(len(self.runners)))

    # ---- how many runners ----------------------------------------------------------------------

    def taken(self) -> int:
        """Runners that count against the limit, for the input that is next; see runner_set.py."""
        return self.runners.taken(self.depth())

    def depth(self) -> int:
        """How many calls the input that is next, or a client's that waits, was made inside of."""
        return max(self.dispatcher.depth(), self.asked_depth)

    def lack(self, returning: int, asking: int = 0) -> Lack | None:
        """Whether one more runner is to be started, and what for.

        ``returning``: lent runners that have been asked back. ``asking``: clients that wait for one
        to be lent to them.
        """
        if self.closed or self.opening is not None or self.taken() >= self.runners.limit:
            return None
        if self._need.missing(self.depth(), returning, asking) > 0:
            return Lack.INPUT
        busy, runners = self.runners.busy(), self.runners
        missing = self.sizing.wanted(busy) - busy - runners.starting
        if missing <= 0 or missing <= len(runners.idle()) or self.backoff.left_s() > 0:
            return None
        return Lack.AHEAD

    @property
    def keeps_all(self) -> bool:
        """Whether its plan keeps each of the runners that it has."""
        return len(self.runners) <= self.sizing.plan.runners

    def places_coming(self) -> int:
        """Clients that the runners which are being started will have room for."""
        return self.runners.unclaimed * self.revision.spec.most_inputs - len(self.waiting)

    # ---- lending -------------------------------------------------------------------------------

    def lend(self, depth: int = 0) -> Runner | None:
        """A runner for a client's direct calls, at this depth; None when none has room."""
        runner = self.dispatcher.pick(depth)
        if runner is not None and runner.slots is None:
            runner.move(RunnerState.LENT)
        return runner

    def take_back(self, runner: Runner, used: float) -> None:
        """A lent runner, last called at ``used`` (monotonic seconds), is the pool's again."""
        if runner.slots is None:
            runner.move(RunnerState.IDLE)
        else:
            runner.settle()
        runner.idle_since = used
        self.sizing.called(used)
        if runner.state is RunnerState.IDLE and self.dispatcher.gives_up(runner):
            self.stop_runner(runner)
        self.changed()

    # ---- stopping ------------------------------------------------------------------------------

    async def stop(self, runner: Runner) -> None:
        """Let its exit hooks run, and end it."""
        try:
            await runner.stop(self.exit_grace_s)
        finally:
            self.runners.pop(runner.id, None)

    def stop_runner(self, runner: Runner) -> bool:
        """Stop an idle runner; False when it is not idle any more."""
        if runner.state is not RunnerState.IDLE or runner.id not in self.runners:
            return False
        runner.move(RunnerState.STOPPING)
        del self.runners[runner.id]  # at once: its place is given away
        self._stopping.add(runner)
        runner.on_gone["stopping"] = lambda: self._stopping.discard(runner)
        runner.begin_stop(self.exit_grace_s)
        self.changed()
        return True

    def stop_surplus(self) -> None:
        """Stop what has been idle for too long."""
        idle, running = self.runners.idle(), self.runners.running()
        for runner in self.sizing.surplus(idle, running, time.monotonic()):
            self.stop_runner(runner)

    def hand_back(self, reason: str) -> None:
        """What waits goes back to the controller, and what runs as soon as its runner is ended."""
        self.dispatcher.return_running()
        for runner in self.runners.with_inputs():
            runner.preempted = reason
            runner.kill(reason)
        self.dispatcher.return_waiting(reason)

    def shut(self) -> None:
        """Its app is closed: nothing is started any more, and what waits is cancelled."""
        self.agenda.remove(self.key)
        self.dispatcher.close()
        self.starts.unscheduled.end()
        self.gpus.give_back()

    async def end_runners(self) -> None:
        """Let exit hooks run in idle runners, kill the others, and wait for all of it.

        What is being started ends, too: its clients were told before (leases).
        """
        self.starts.end_scheduled()
        await self.starts.finish()
        await asyncio.gather(*map(self.stop, list(self.runners.values())))
        await self.dispatcher.finish()
        await asyncio.gather(*(one.until_gone() for one in self._stopping))
        await self._tasks.finish()
        self.take_in_events()
