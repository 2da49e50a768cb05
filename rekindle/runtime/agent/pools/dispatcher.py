"""The inputs of one pool: those that wait, the slices that runners get, and what comes of them.

Slices are as large as inputs are quick (pace.py). What a slow input holds up is called back and
given to others (runner_monitor.py); what a runner that died had not begun is given to another at
once. What a runner died with is handed out alone, after what waits already: no other input pays for
it. How many runners there are is the pool's business.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from rekindle.background_tasks import BackgroundTasks
from rekindle.runtime.agent.inputs import outcome
from rekindle.runtime.agent.inputs.assignment import Assignment, AssignmentState, Cancel
from rekindle.runtime.agent.inputs.outcome import Outcomes
from rekindle.runtime.agent.inputs.results import Results
from rekindle.runtime.agent.polling import Polling
from rekindle.runtime.agent.pools import line, runner_monitor, slices
from rekindle.runtime.agent.pools.events import Event, InputsWait, RunnerEnded, SliceEnded
from rekindle.runtime.agent.pools.pace import Pace
from rekindle.runtime.agent.pools.reporting import Reporting
from rekindle.runtime.agent.pools.runner_set import RunnerSet
from rekindle.runtime.agent.pools.sharing_out import Shares, call_back_for_idle
from rekindle.runtime.agent.pools.single_runs import SingleRuns
from rekindle.runtime.agent.pools.slice_outcomes import SliceOutcomes, timed_out
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.wire import finished
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.finished import Ending
from rekindle.wire.frames import Header
from rekindle.wire.logs import kv
from rekindle.wire.spec import FunctionSpec

log = logging.getLogger(__name__)

_CANCELLED = "the input was cancelled"
_CLOSED = "the app was closed before the input could run to its end"
_NOT_RUN = "the app was closed before the input could run"


@dataclass(eq=False)
class InputDispatcher:
    """See the module."""

    _spec: FunctionSpec
    _runners: RunnerSet
    _results: Results
    #: Takes what happens.
    _publish: Callable[[Event], None]
    waiting: deque[Assignment] = field(default_factory=deque)
    pace: Pace = field(default_factory=Pace)
    closed: bool = False
    _giving: int = 0
    _suspects: set[Assignment] = field(default_factory=set)
    _single_runs: SingleRuns = field(default_factory=SingleRuns)
    _tasks: BackgroundTasks = field(default_factory=BackgroundTasks)

    def __post_init__(self) -> None:
        self._polling = Polling(
            runner_monitor.LOOK_S,
            lambda: [one for one in self._runners.with_inputs() if one.slices],
            self._look,
        )
        self._shares = Shares(self._runners, self.pace)
        self._reporting = Reporting(self._runners, self.pace)

    # ---- from the node -------------------------------------------------------------------------

    def take_in(self, inputs: list[Assignment]) -> None:
        """Inputs of one order wait from now on, those of a call in their order."""
        if self.closed:
            for one in inputs:
                self._results.one(one, outcome.cancelled(one, _NOT_RUN))
            return
        self._reporting.came(inputs[0].order)
        if inputs[0].order.suspect:
            self._suspects.update(inputs)
        line.add(self.waiting, inputs)

    def suspects(self) -> int:
        """Those that wait of the inputs that a runner died with."""
        if self._suspects:
            here = (AssignmentState.WAITING, AssignmentState.HANDED)
            self._suspects = {one for one in self._suspects if one.state in here}
        return sum(1 for one in self._suspects if one.state is AssignmentState.WAITING)

    def cancel(self, inputs: Iterable[Assignment], *, kill: bool) -> None:
        """Waiting ones are taken back, running ones get InputCancellation, or a killed runner."""
        batches: dict[str, Outcomes] = {}
        runners: set[str] = set()
        for one in inputs:
            if one.state is AssignmentState.WAITING:
                one.cancel = Cancel.ASK
                batch = batches.setdefault(one.order.call_id, Outcomes(one.order))
                batch.add(one, outcome.cancelled(one, _CANCELLED))
            elif one.state is AssignmentState.HANDED and one.runner_id in self._runners:
                one.cancel = Cancel.KILL if kill else Cancel.ASK
                runners.add(one.runner_id)
        if batches:
            self.waiting = deque(one for one in self.waiting if one.cancel is Cancel.NO)
            for batch in batches.values():
                self._results.done(batch)
        for runner_id in runners:
            self._cancel_on(self._runners[runner_id])

    def _cancel_on(self, runner: Runner) -> None:
        # What has not begun comes back, and is dropped here; it must not begin meanwhile.
        runner.page.recall(runner.handed)
        self._look_at(runner, time.monotonic())
        self._polling.soon()

    def retire(self, runner: Runner, reason: str) -> None:
        """A runner gets no more inputs, and what it has not begun waits again."""
        runner.private, runner.preempted = True, reason
        if runner.state is RunnerState.BUSY:
            runner.page.recall(runner.handed)
            self._polling.soon()

    @property
    def giving(self) -> int:
        """Runners to stop as soon as they have ended what they have: others have their places."""
        return self._giving

    def give_one_up(self) -> Runner | None:
        """One more runner is to end: the one that first has nothing to run.

        Meanwhile none is handed anything ahead, and one gives back what it has not begun. Where it
        is known already which one will end: that.
        """
        self._giving += 1
        busy = [one for one in self._runners.with_inputs() if not (one.recalled_at or one.private)]
        if busy:
            max(busy, key=lambda one: one.not_begun).recall(time.monotonic())
            self._polling.soon()
        return None

    def give_no_more_than(self, count: int) -> None:
        """No more than so many runners are to end for others."""
        self._giving = min(self._giving, count)

    def gives_up(self, runner: Runner) -> bool:
        """Whether a runner that has just ended what it had is to end."""
        if not self._giving or runner.dying or runner.private:
            return False
        self._giving -= 1
        return True

    def interrupt(self, runner: Runner) -> None:
        """What a runner runs gets InputCancellation, and goes back to the controller."""
        self.return_running(runner)
        self._look_at(runner, time.monotonic())

    def end_inputs(self, runner: Runner) -> None:
        """What a runner runs gets InputCancellation, and is cancelled."""
        self.cancel([one for one in runner.inputs if one.cancel is Cancel.NO], kill=False)

    def fail_waiting(self, make: Callable[[Assignment], pb.Result], count: int) -> None:
        """Give the inputs that wait longest a result without running them."""
        for _ in range(min(count, len(self.waiting))):
            one = self.waiting.popleft()
            self._results.one(one, make(one))

    def return_waiting(self, reason: str) -> None:
        """What waits goes back to the controller."""
        self._results.give_back(self.waiting, reason)
        self.waiting.clear()

    def return_running(self, of: Runner | None = None) -> None:
        """What runs (``of`` one runner) goes back to the controller when its runner ends."""
        for runner in self._runners.with_inputs() if of is None else [of]:
            for one in runner.inputs:
                if one.cancel is Cancel.NO:
                    one.cancel = Cancel.RETURN

    def close(self) -> None:
        """What waits, and what comes from now on, is cancelled; given back where the agent ends."""
        self.closed = True
        if self._results.leaving:
            self.return_waiting(self._results.leaving)
        self.fail_waiting(lambda one: outcome.cancelled(one, _NOT_RUN), len(self.waiting))

    @property
    def ends(self) -> bool:
        """Whether it is not known yet how some runner ended."""
        return self._tasks.any

    async def finish(self) -> None:
        """Wait until it is known how the runners ended that died with an input."""
        await self._tasks.finish()

    def listen_to(self, runner: Runner) -> None:
        """Take what comes of a new runner's inputs, and its end."""
        runner.handlers["results"] = lambda header, body: self.take_results(runner, header, body)
        runner.handlers["nested"] = self._results.nested
        runner.on_gone["pool"] = lambda: self.runner_ended(runner)

    # ---- handing out -----------------------------------------------------------------------

    def pick(self, depth: int) -> Runner | None:
        """The runner that takes the next input, or client; None where none may."""
        return self._runners.last_used() if self._runners.may_run(depth) else None

    def _dispatch_to(self, runner: Runner) -> None:
        """Hand what waits to a runner that has just ended a slice."""
        if not self.waiting or not self._results.may_run() or runner.dying or runner.private:
            return
        if runner.state is RunnerState.IDLE:
            if not self._runners.may_run(self.depth()):
                return
            self._hand(runner, self._cut(runner))
        if self.waiting and self._goes_ahead(runner) and not self._runners.idle():
            self._hand_ahead(runner)

    def dispatch(self) -> None:
        """Hand what waits to runners that are idle, and ahead to busy ones where that pays."""
        if len(self.waiting) > 1 and self.pace.ahead and self._results.may_run():
            self._interleave()
        while self.waiting and self._results.may_run():
            runner = self.pick(self.depth())
            if runner is None:
                break
            self._hand(runner, self._cut(runner))
        if self.waiting and self.pace.ahead and self._results.may_run():
            for runner in self._runners.with_inputs():
                if self.waiting and self._goes_ahead(runner):
                    self._hand_ahead(runner)
        if self.pace.ahead and not (self.waiting or self._reporting.others_wait or self.closed):
            call_back_for_idle(self._runners, self.pace)

    def _interleave(self) -> None:
        """What is about to be handed out is dealt one by one."""
        if self._spec.single_use_containers:
            return
        takers = [*self._runners.idle(), *filter(self._goes_ahead, self._runners.with_inputs())]
        waiting, depth = len(self.waiting), self.depth()
        for taker in takers:
            # One that is busy and has its share is handed nothing.
            if size := self._shares.size(taker, waiting, depth):
                line.interleave(self.waiting, len(takers), size)
                return

    def depth(self) -> int:
        """How many calls the input that is next was made inside of."""
        return self.waiting[0].order.depth if self.waiting else 0

    def _goes_ahead(self, runner: Runner) -> bool:
        """Whether a busy runner is handed its next slice before it has ended the one it has."""
        return (
            len(runner.slices) == 1
            and self.pace.ahead
            and not self.giving
            and not (
                self._spec.single_use_containers
                or runner.private
                or runner.recalled_at
                or runner.dying
            )
            and runner.waits_at < 0
            and not (runner.slices[0].order.suspect or self.waiting[0].order.suspect)
            # Of one call only, so that it is known which one a runner prints for.
            and runner.slices[0].order.call_id == self.waiting[0].order.call_id
        )

    def _cut(self, runner: Runner) -> list[Assignment]:
        """The next slice of a runner; nothing for a busy one that has its share before it."""
        if self._spec.single_use_containers:
            return line.take_out(self.waiting, 1)
        size = self._shares.take(runner, len(self.waiting), self.depth())
        return line.take_out(self.waiting, size) if size else []

    async def run_alone(self, runner: Runner, one: Assignment) -> None:
        """Have a runner run one input and nothing else; returns when that has ended."""
        if one.state is not AssignmentState.WAITING:
            return  # it was cancelled meanwhile
        if runner.state is not RunnerState.IDLE:
            self._results.returned(one, f"runner {runner.id}: it ended before it had the input")
            return
        ended = self._single_runs.begins(runner.id)
        self._hand(runner, [one])
        await ended.wait()

    def _hand_ahead(self, runner: Runner) -> None:
        if inputs := self._cut(runner):
            self._hand(runner, inputs)

    def _hand(self, runner: Runner, inputs: list[Assignment]) -> None:
        """Give a runner a slice."""
        piece = slices.next_of(runner, inputs, to_idle=not runner.slices)
        if not runner.slices:
            runner.seen_began_ns, runner.seen_at = 0, time.monotonic()
        runner.hand(piece)
        self._send(runner, inputs, {"slice": piece.number})

    def _send(self, runner: Runner, inputs: list[Assignment], more: Header) -> None:
        slices.send(runner, inputs, self._results.max_bytes, more)
        self._polling.soon()

    # ---- what comes back -------------------------------------------------------------------

    def take_results(self, runner: Runner, header: Header, body: bytes) -> None:
        """A frame of results of a runner's oldest slice."""
        # What an input printed goes before its result.
        runs_on = not header["last"] or len(runner.slices) > 1
        runner.output.drain(runs_on=runs_on)
        piece, spent = runner.slices[0], False
        if header["slice"] != piece.number:
            log.error("out of step, runner %s", runner.id)
            runner.kill("it answered out of step")
            return
        self._take(runner, piece.number, body)
        if not header["last"]:
            return
        runner.slices.popleft()
        self.put_back(piece.left.values())
        if not runner.slices and not runner.dying:
            runner.recalled_at = 0.0
            runner.move(RunnerState.IDLE)
        ended = not runner.slices and not self._single_runs.ended(runner.id)
        if ended and (self.gives_up(runner) or self._spec.single_use_containers):
            runner.private = spent = True
        self._publish(SliceEnded(runner, piece.number == 1, spent))
        self._dispatch_to(runner)

    def _take(self, runner: Runner, number: int, records: bytes) -> None:
        """Make results of the records of a runner's slice, those that are known already left out.

        A record names its input by its index, which inputs of other slices have, too.
        """
        piece = next((piece for piece in runner.slices if piece.number == number), None)
        if piece is None:
            return  # all of it has come
        outcomes: SliceOutcomes | None = None
        took_ns = count = 0
        for record in finished.read(records):
            one = piece.left.pop(record.number, None)
            if one is None:
                continue
            if outcomes is None:
                outcomes = SliceOutcomes(runner, piece)
            one.runner_id = ""
            if one.cancel is Cancel.RETURN and record.ending != Ending.RETURNED:
                self._results.returned(one, runner.preempted, counts=False)
                continue
            outcomes.take(one, record)
            count += 1
            took_ns += record.ended_ns - record.began_ns
        runner.inputs_done += count
        self.pace.note(count, took_ns / 1e9)
        if outcomes is not None:
            self._results.done(outcomes, soon=self._reporting.is_soon(len(self.waiting)))

    def put_back(self, inputs: Iterable[Assignment]) -> None:
        """Inputs that did not begin wait again, in their order; cancelled ones have ended."""
        again: list[Assignment] = []
        left: list[Assignment] = []
        for one in inputs:
            one.runner_id = ""
            if one.state is AssignmentState.HANDED:  # else the controller has given it up
                left.append(one)
        if self.closed and self._results.leaving:
            self._results.give_back(left, self._results.leaving)
            return
        for one in left:
            if self.closed or one.is_cancelled:
                words = _CLOSED if self.closed else _CANCELLED
                self._results.one(one, outcome.cancelled(one, words))
            else:
                one.cancel = Cancel.NO
                one.move(AssignmentState.WAITING)
                again.append(one)
        line.merge(self.waiting, again)

    # ---- runners that end ------------------------------------------------------------------

    def runner_ended(self, runner: Runner) -> None:
        """A runner is gone: its finished inputs have results, one can be to blame, the others wait
        again."""
        self._take(runner, *runner.last_words.unsent)
        left = {one.index: one for one in runner.inputs}
        running = runner_monitor.died_with(runner)
        with_input = False
        if running is not None and (runner.kill_for is None or runner.kill_for is running):
            del left[running.index]
            with_input = self._is_to_return(runner, running)
            if with_input:
                self._tasks.spawn(self._return(runner, running))
        self.put_back(left.values())
        self._forget(runner, with_input)

    def _forget(self, runner: Runner, with_input: bool) -> None:
        runner.slices.clear()
        was_there = self._runners.pop(runner.id, None) is not None
        self._single_runs.ended(runner.id)
        if was_there or not runner.kill_reason:  # else its pool has stopped it, and counts it out
            self._publish(RunnerEnded(runner, with_input))

    async def _return(self, runner: Runner, one: Assignment) -> None:
        """Say how its runner died, once that is known; it may be given to another."""
        counts = one.cancel is not Cancel.RETURN
        self._results.returned(one, await runner.fate(), counts=counts)

    def _is_to_return(self, runner: Runner, one: Assignment) -> bool:
        """Whether the input that a runner died under goes back to the controller; else it gets its
        result here."""
        one.runner_id = ""
        if self.closed or one.is_cancelled:
            words = _CLOSED if self.closed else "the input was cancelled, and its runner ended"
            self._results.one(one, outcome.cancelled(one, words))
            return False
        if runner.kill_for is not one or one.cancel is Cancel.RETURN:
            return True
        self._results.done(timed_out(runner, one, self._spec))
        return False

    # ---- runners that are looked at ------------------------------------------------------------

    def _look(self, busy: list[Runner], now: float) -> None:
        self.pace.running_s = max([0.0, *(self._look_at(runner, now) for runner in busy)])
        if self.waiting:
            self._publish(InputsWait())

    def _look_at(self, runner: Runner, now: float) -> float:
        """For how long its input has been running."""
        look = runner_monitor.look_at(runner, now, self._spec.timeout_s, self.pace.slow_s)
        if look.relieve is not None:
            self._relieve(runner, look.relieve)
        return look.running_s

    def _relieve(self, runner: Runner, running: Assignment) -> None:
        """What waits behind its input was called back: take that, and what it has finished."""
        unsent = runner.page.unsent()
        # What those inputs printed goes before their results.
        runner.output.drain(runs_on=True)
        self._take(runner, *unsent)
        behind = []
        for piece in runner.slices:
            behind += [one for one in piece.left.values() if one is not running]
            piece.left = {index: one for index, one in piece.left.items() if one is running}
        if behind:
            log.debug("called back", extra=kv(runner=runner.id, inputs=len(behind)))
            self.put_back(behind)
