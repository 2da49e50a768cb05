"""The runners of one function revision of one app on this node: how many there are.

Says which runners it lacks; whether they may be started is the scheduler's to decide. How one
starts is the ladder's (starts/ladder.py), what inputs it gets the dispatcher's, what is kept below
the runners the keeper's (template_keeper.py). What happens in a pool is an event: it puts the pool
on the agenda, and is taken in by its next pass.
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
from rekindle.exception import Error, GpuUnavailableError, InternalFailure
from rekindle.runtime.agent.history import History, start_of
from rekindle.runtime.agent.inputs import outcome
from rekindle.runtime.agent.inputs.assignment import Assignment
from rekindle.runtime.agent.inputs.outcome import StartFailure, UserCodeFailed
from rekindle.runtime.agent.inputs.results import Results
from rekindle.runtime.agent.pool_gpus import PoolGpus
from rekindle.runtime.agent.pools.agenda import Agenda, PoolKey
from rekindle.runtime.agent.pools.backoff import Backoff
from rekindle.runtime.agent.pools.dispatcher import InputDispatcher
from rekindle.runtime.agent.pools.endable_starts import EndableStarts
from rekindle.runtime.agent.pools.events import Event, RunnerEnded, SliceEnded, SnapshotEnded
from rekindle.runtime.agent.pools.many_dispatcher import ManyDispatcher
from rekindle.runtime.agent.pools.need import Need
from rekindle.runtime.agent.pools.plan import Sizing, declared_plan
from rekindle.runtime.agent.pools.ramp import Ramp
from rekindle.runtime.agent.pools.runner_set import RunnerSet
from rekindle.runtime.agent.pools.template_keeper import TemplateKeeper
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.runtime.agent.starts.ladder import Begun, Starter
from rekindle.runtime.agent.starts.pending import FirstClient
from rekindle.runtime.agent.starts.restoring import record_working_set
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.wire.logs import kv
from rekindle.wire.phases import Strategy, now_ns

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
        self._ramp = Ramp()
        self._need = Need(
            *(spec, self.runners, self.dispatcher, self.sizing, self.backoff, self._ramp),
            later=lambda delay_s: self.agenda.add_later(self.key, delay_s),
        )
        self._tasks = BackgroundTasks()
        #: Runners that are not its own any more, and run their exit hooks.
        self._stopping: set[Runner] = set()
        #: By a strategy's name, or to try a version; and those that the scheduler orders.
        self.unscheduled = EndableStarts(self.revision.label)
        self._scheduled = EndableStarts(self.revision.label)
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
        #: The error of a start that no input waited for: for a client that waits, if one does.
        self._unclaimed: StartFailure | None = None
        #: How deep the calls are that clients wait for a runner for, as long as it takes.
        self.asked_depth = 0
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
            or self.unscheduled
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
        if self.closed or self.taken() >= self.runners.limit:
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

    # ---- starting and stopping -----------------------------------------------------------------

    def places_coming(self) -> int:
        """Clients that the runners which are being started will have room for."""
        return self.runners.unclaimed * self.revision.spec.most_inputs - len(self.waiting)

    def start_runner(
        self, client: FirstClient | None = None, strategy: Strategy | None = None
    ) -> None:
        """Start one, for a client where one is given, by a strategy where that asks for it.

        What fails is the client's, or the result of the input that waits longest.
        """
        self.runners.starting += 1
        self.runners.promised += client is not None
        young = self._ramp.begun() if client is None else 0.0
        began_ns, begun = now_ns(), None
        if client is not None and strategy is None:
            begun = self.starter.begin(client, began_ns)
        self._tasks.spawn(self._start_one(client, strategy, young, began_ns, begun))

    async def _start_one(
        self,
        client: FirstClient | None,
        strategy: Strategy | None,
        young: float,
        began_ns: int,
        begun: Begun | None,
    ) -> None:
        try:
            starts = self.start(strategy, began_ns, client, begun)
            runner = await self._scheduled.run(starts)
        except (Error, UserCodeFailed) as error:
            if self.closed and begun is not None:  # it may have ended before it had its turn
                begun.child.kill()
            if strategy is None and not self.closed:
                self._start_failed(error, claimed=client is not None)
            if client is not None:
                client.failed(error)
        else:
            if strategy is None:
                self._used = True
                self.backoff.started()
                ready_ns = runner.marks[-1][1] if runner.marks else runner.ready_ns
                self.dispatcher.pace.started((ready_ns - began_ns) / 1e9)
                self._ramp.started(began_ns, runner.marks)
            if self.closed:
                if client is not None:
                    client.withdrawn()
                await runner.stop(self.exit_grace_s)
                return
            runner.private = runner.private or strategy is not None
            self.welcome(runner)
            if client is not None:
                client.served(runner)
        finally:
            self._ramp.ended(young)
            self.runners.starting -= 1
            self.runners.promised -= client is not None
            self.gpus.start_failed(self.runners.starting)
        self.changed()

    async def start(
        self,
        strategy: Strategy | None,
        began_ns: int,
        client: FirstClient | None = None,
        begun: Begun | None = None,
    ) -> Runner:
        """A runner, by this strategy or by the first that succeeds; the start is recorded.

        ``client``: whose connection goes to it; ``begun``: it has been told already. Raises Error
        or UserCodeFailed.
        """
        runner, failure = None, ""
        try:
            runner = await self.starter.start(strategy, began_ns, client, begun)
            return runner
        except (Error, UserCodeFailed) as error:
            failure = str(error)
            raise
        except Exception as error:
            # The caller must not wait for ever, and the log must show it.
            log.exception("internal error", extra=kv(function=self.revision.label))
            failure = f"{type(error).__name__}: {error}"
            raise InternalFailure(failure) from error
        finally:
            if runner is not None or failure:
                self.history.note(
                    start_of(self.function_id, self.revision, runner, began_ns, failure)
                )

    def fail_next(self, error: Error) -> None:
        """Give the input that is next up; where none waits, the client that does gets the error."""
        if not self.waiting:
            self._unclaimed = error
            self.changed()
        self.dispatcher.fail_waiting(lambda one: outcome.start_failed(one, error), 1)

    def take_failure(self) -> StartFailure | None:
        """The error of the last start, where no input got it; given once."""
        error, self._unclaimed = self._unclaimed, None
        return error

    def _start_failed(self, error: StartFailure, *, claimed: bool) -> None:
        """``claimed``: it is a client's, and no input's unless all have it."""
        if not claimed:
            self._unclaimed = None if self.waiting else error
        log.warning("start failed", extra=kv(function=self.revision.label, reason=error))
        self.backoff.start_failed()
        # User code that raises will raise again; another error may have been this start's alone.
        every = isinstance(error, UserCodeFailed | GpuUnavailableError) or self.backoff.is_loop
        self.dispatcher.fail_waiting(
            lambda one: outcome.start_failed(one, error),
            len(self.waiting) if every else int(not claimed),
        )

    def welcome(self, runner: Runner) -> None:
        """Take in a runner that is ready."""
        self.runners[runner.id] = runner
        self.dispatcher.listen_to(runner)
        if runner.state is RunnerState.GONE:  # already
            self.dispatcher.runner_ended(runner)
            return
        runner.exit_status.add_done_callback(lambda _status: runner.lost())

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
        self.unscheduled.end()
        self.gpus.give_back()

    async def end_runners(self) -> None:
        """Let exit hooks run in idle runners, kill the others, and wait for all of it.

        What is being started ends, too: its clients were told before (leases).
        """
        self._scheduled.end()
        await self.unscheduled.finish()
        await self._scheduled.finish()
        await asyncio.gather(*map(self.stop, list(self.runners.values())))
        await self.dispatcher.finish()
        await asyncio.gather(*(one.until_gone() for one in self._stopping))
        await self._tasks.finish()
        self.take_in_events()
