"""Dealing: the inputs that wait in a pool, the slices that runners get, and what comes of them.

Slices are as large as inputs are quick (pace.py). What a slow input holds up is called back and
given to others (watching.py); what a runner that died had not begun is given to another at once.
What a runner died with is dealt alone, after what waits already: no other input pays for it.
How many runners there are is the pool's business.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from rekindle.runtime.agent.inputs import outcome
from rekindle.runtime.agent.inputs.assignment import Assignment, Cancel, InputState
from rekindle.runtime.agent.inputs.outcome import Batch
from rekindle.runtime.agent.inputs.pace import MAX_SLICE, Pace
from rekindle.runtime.agent.inputs.runner_monitor import Watch
from rekindle.runtime.agent.inputs.slices import MAX_SLICE_BYTES, Slice, frame
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.wire import finished
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.finished import Ending
from rekindle.wire.frames import FrameError, Header
from rekindle.wire.phases import Mark, Strategy, now_ns

log = logging.getLogger(__name__)

_CANCELLED = "the input was cancelled"
_CLOSED = "the app was closed before the input could run to its end"


class Sink(Protocol):
    """Who takes results and inputs that did not run to their end: the node."""

    def may_run(self) -> bool:
        """Whether inputs may be run now: no, while too many results are unconfirmed."""

    def done(self, batch: Batch) -> None:
        """Inputs have their results."""

    def returned(self, assignment: Assignment, reason: str) -> None:
        """Its runner died under it; it may be given to a runner again."""


class Crew(Protocol):
    """The pool, as its dispatcher sees it."""

    closed: bool

    def idle(self) -> list[Runner]:
        """Runners that can take inputs."""

    def busy_runners(self) -> Iterable[Runner]:
        """Those that have some."""

    def coming(self) -> int:
        """Runners that will be there soon, and can take inputs then."""

    def size(self) -> int:
        """Runners that are there."""

    def may_run(self, depth: int) -> bool:
        """Whether one more of its runners may run an input at this depth."""

    def pump(self) -> None:
        """Go on: something has changed."""

    def served(self, runner: Runner, *, first: bool) -> None:
        """A runner has ended all that it had; ``first`` when that was its first slice."""

    def lost(self, runner: Runner, tell: Callable[[str], None] | None) -> None:
        """A runner is gone; ``tell`` is to be told how, in words, once that is known."""


@dataclass
class InputDispatcher:
    """The inputs of one pool."""

    crew: Crew
    sink: Sink
    label: str
    timeout_s: float
    #: A runner serves one input alone.
    single_use: bool = False
    waiting: deque[Assignment] = field(default_factory=deque)
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        self._watch = Watch(self)
        self._suspects: set[Assignment] = set()

    # ---- from the node ---------------------------------------------------------------------

    def take_in(self, inputs: list[Assignment]) -> None:
        """Inputs of one order wait from now on, those of a call in their order."""
        last, first = (self.waiting[-1] if self.waiting else inputs[0]), inputs[0]
        overtaken = first.order.call_id == last.order.call_id and first.index < last.index
        if first.order.suspect:
            self._suspects.update(inputs)
            overtaken = False
        if overtaken or first.order.depth > last.order.depth:
            self._merge(inputs)  # requests overtake each other; runners wait for those below them
        else:
            self.waiting.extend(inputs)

    def suspects(self) -> int:
        """Those that wait of the inputs that a runner died with."""
        if self._suspects:
            here = (InputState.WAITING, InputState.DEALT)
            self._suspects = {one for one in self._suspects if one.state in here}
        return sum(1 for one in self._suspects if one.state is InputState.WAITING)

    def cancel(self, inputs: Iterable[Assignment], *, kill: bool) -> None:
        """Waiting ones are taken back, running ones get InputCancellation, or a killed runner."""
        batches: dict[str, Batch] = {}
        runners: dict[str, Runner] = {}
        for one in inputs:
            if one.state is InputState.WAITING:
                one.cancel = Cancel.ASK
                batch = batches.setdefault(one.order.call_id, Batch(one.order))
                self._add(batch, one, outcome.cancelled(one, _CANCELLED))
            elif one.state is InputState.DEALT and one.runner is not None:
                one.cancel = Cancel.KILL if kill else Cancel.ASK
                runners[one.runner.id] = one.runner
        if batches:
            self.waiting = deque(one for one in self.waiting if one.cancel is Cancel.NO)
            for batch in batches.values():
                self.sink.done(batch)
        for runner in runners.values():
            # What has not begun comes back, and is dropped here; it must not begin meanwhile.
            runner.page.recall(runner.handed)
            self._watch.look_at(runner, time.monotonic())
            self._watch.start()

    def fail_waiting(self, make: Callable[[Assignment], pb.Result], count: int) -> None:
        """Give the inputs that wait longest a result without running them."""
        for _ in range(min(count, len(self.waiting))):
            one = self.waiting.popleft()
            self.sink.done(outcome.of_one(one, make(one)))

    # ---- handing out -----------------------------------------------------------------------

    def deal_to(self, runner: Runner) -> None:
        """Hand what waits to a runner that has just ended a slice."""
        if not self.waiting or not self.sink.may_run() or runner.dying or runner.private:
            return
        if runner.state is RunnerState.IDLE:
            if not self.crew.may_run(self.waiting[0].order.depth):
                return
            self.hand(runner, self._cut(1 + self.crew.coming()))
        if self.waiting and self._goes_ahead(runner):
            self.hand(runner, self._cut(self.crew.size()))

    def deal(self) -> None:
        """Hand what waits to runners that are idle, and ahead to busy ones where that pays."""
        while self.waiting and self.sink.may_run():
            idle = self.crew.idle()
            if not idle or not self.crew.may_run(self.waiting[0].order.depth):
                break
            # The one that was used last: its caches are the warmest.
            runner = max(idle, key=lambda one: one.idle_since)
            self.hand(runner, self._cut(len(idle) + self.crew.coming()))
        if self.waiting and self.pace.ahead and self.sink.may_run():
            for runner in self.crew.busy_runners():
                if self.waiting and self._goes_ahead(runner):
                    self.hand(runner, self._cut(self.crew.size()))

    def _goes_ahead(self, runner: Runner) -> bool:
        """Whether a busy runner is handed its next slice before it has ended the one it has."""
        return (
            len(runner.slices) == 1
            and self.pace.ahead
            and not (self.single_use or runner.private or runner.recalled_at or runner.dying)
            and runner.waits_at < 0
            and not (runner.slices[0].order.suspect or self.waiting[0].order.suspect)
            # Of one call only, so that it is known which one a runner prints for.
            and runner.slices[0].order.call_id == self.waiting[0].order.call_id
        )

    def _cut(self, takers: int) -> list[Assignment]:
        """The next slice: inputs of one call and method, in order."""
        waiting = self.waiting
        first = waiting.popleft()
        piece, size = [first], len(first.payload)
        alone = self.single_use or first.order.suspect
        most = 1 if alone else self.pace.slice_size(len(waiting) + 1, takers)
        call_id, method = first.order.call_id, first.method
        while waiting and len(piece) < min(most, MAX_SLICE):
            one = waiting[0]
            size += len(one.payload)
            if one.order.call_id != call_id or one.method != method or size > MAX_SLICE_BYTES:
                break
            if one.order.suspect:
                break
            piece.append(waiting.popleft())
        return piece

    def hand(self, runner: Runner, inputs: list[Assignment]) -> None:
        """Give a runner a slice."""
        runner.handed += 1
        first, now = inputs[0], now_ns()
        piece = Slice(
            runner.handed,
            first.order,
            now,
            {one.index: one for one in inputs},
            to_idle=not runner.slices,
        )
        if not runner.slices:
            runner.seen_began_ns, runner.seen_at = 0, time.monotonic()
        if runner.handed == 1 and first.order.received_ns <= runner.ready_ns:
            piece.started_for = first.index
        for one in inputs:
            one.move(InputState.DEALT)
            one.runner = runner
        runner.hand(piece)
        with contextlib.suppress(FrameError):  # its end is told next, and gives them back
            header, payloads = frame(piece.number, inputs)
            runner.channel.send(header, payloads)
        self._watch.start()

    # ---- what comes back -------------------------------------------------------------------

    def results(self, runner: Runner, header: Header, body: bytes) -> None:
        """A frame of results of a runner's oldest slice."""
        runner.output.drain()  # what an input printed goes before its result
        piece = runner.slices[0]
        if header["slice"] != piece.number:
            log.error("out of step, runner %s", runner.id)
            runner.kill("it answered out of step")
            return
        self.take(runner, body)
        if not header["last"]:
            return
        runner.slices.popleft()
        self.put_back(piece.left.values())
        if not runner.slices and not runner.dying:
            runner.recalled_at = 0.0
            runner.rest()
        self.crew.served(runner, first=piece.number == 1)

    def take(self, runner: Runner, records: bytes) -> None:
        """Make results of a runner's records, those that are known already left out."""
        found: dict[int, tuple[Slice, Batch, outcome.Values]] = {}
        took_ns = count = 0
        for record in finished.read(records):
            for piece in runner.slices:
                one = piece.left.pop(record.number, None)
                if one is not None:
                    break
            else:
                continue
            if piece.number not in found:
                values = outcome.Values(piece.order, runner.id, Strategy.WARM)
                found[piece.number] = (piece, Batch(piece.order), values)
            _piece, batch, values = found[piece.number]
            one.runner = None
            count += 1
            took_ns += record.ended_ns - record.began_ns
            batch.execute_ns += record.ended_ns - record.began_ns
            if (
                record.ending == Ending.RETURNED
                and one.cancel is Cancel.NO
                and piece.started_for != record.number
            ):
                queued_ns = record.began_ns
                if piece.to_idle and piece.taken == 0:
                    queued_ns = piece.handed_ns
                batch.add(one, pb.SUCCESS, values.result(one.order.submitted_ns, queued_ns, record))
            else:
                self._take_in_full(runner, piece, batch, one, record)
            piece.taken += 1
        runner.inputs_done += count
        self.pace.note(count, took_ns / 1e9)
        for _piece, batch, _values in found.values():
            self.sink.done(batch)

    def _take_in_full(
        self,
        runner: Runner,
        piece: Slice,
        batch: Batch,
        one: Assignment,
        record: finished.Finished,
    ) -> None:
        if one.cancel is not Cancel.NO:
            record = record._replace(ending=Ending.CANCELLED)
        started = piece.started_for == record.number
        strategy = runner.strategy if started else Strategy.WARM
        queued_ns = piece.handed_ns if piece.to_idle and piece.taken == 0 else record.began_ns
        marks = marks_before(runner, queued_ns, started=started)
        notes = runner.notes if started else []
        self._add(batch, one, outcome.of_record(one, runner.id, strategy, marks, record, notes))

    def put_back(self, inputs: Iterable[Assignment]) -> None:
        """Inputs that did not begin wait again, in their order; cancelled ones have ended."""
        again: list[Assignment] = []
        for one in inputs:
            one.runner = None
            if one.state is not InputState.DEALT:
                continue  # the controller has given it up
            if self.crew.closed or one.cancel is not Cancel.NO:
                words = _CLOSED if self.crew.closed else _CANCELLED
                self.sink.done(outcome.of_one(one, outcome.cancelled(one, words)))
            else:
                one.move(InputState.WAITING)
                again.append(one)
        self._merge(again)

    def _merge(self, inputs: list[Assignment]) -> None:
        """Put inputs where their depth and age say, whatever way they came."""
        if not inputs:
            return
        last = max(map(_age, inputs))
        before = []
        while self.waiting and _age(self.waiting[0]) < last:
            before.append(self.waiting.popleft())
        self.waiting.extendleft(sorted(before + inputs, key=_age, reverse=True))

    @staticmethod
    def _add(batch: Batch, one: Assignment, result: pb.Result) -> None:
        batch.add(one, result.status, result.SerializeToString())

    # ---- runners that end ------------------------------------------------------------------

    def ended(self, runner: Runner) -> None:
        """A runner is gone: its finished inputs have results, one can be to blame, the others wait
        again."""
        self.take(runner, runner.last_words.unsent)
        left = {one.index: one for piece in runner.slices for one in piece.left.values()}
        running = left.get(runner.last_words.index) if runner.last_words.index is not None else None
        if running is None and left and runner.kill_for is None and runner.slices[0].taken == 0:
            running = next(iter(left.values()))  # it died as it took the first one up
        tell: Callable[[str], None] | None = None
        if running is not None and (runner.kill_for is None or runner.kill_for is running):
            del left[running.index]
            tell = self._verdict(runner, running)
        self.put_back(left.values())
        runner.slices.clear()
        self.crew.lost(runner, tell)

    def _verdict(self, runner: Runner, one: Assignment) -> Callable[[str], None] | None:
        """Give the input that a runner died under its result, or the one who can."""
        one.runner = None
        if self.crew.closed or one.cancel is not Cancel.NO:
            words = _CLOSED if self.crew.closed else "the input was cancelled, and its runner ended"
            self.sink.done(outcome.of_one(one, outcome.cancelled(one, words)))
            return None
        if runner.kill_for is one:
            piece = next(piece for piece in runner.slices if one.index in piece.left)
            started = piece.started_for == one.index
            result = outcome.timed_out(
                one,
                runner.id,
                runner.strategy if started else Strategy.WARM,
                marks_before(runner, piece.handed_ns, started=started),
                self.label,
                self.timeout_s,
            )
            batch = outcome.of_one(one, result)
            batch.execute_ns = int(self.timeout_s * 1e9)
            self.sink.done(batch)
            return None
        return lambda reason: self.sink.returned(one, reason)


def _age(one: Assignment) -> tuple[int, bool, int, str, int]:
    """What sorts inputs by when they were submitted, those of a call by their index.

    The deepest first: runners wait for them, and what was begun is to end. Those that a runner died
    with last: each may cost one more start, and the others would wait for it.
    """
    order = one.order
    return -order.depth, order.suspect, order.submitted_ns, order.call_id, one.index


def marks_before(runner: Runner, handed_ns: int, *, started: bool) -> list[Mark]:
    """The marks of a call up to the hand-over of its input to the runner."""
    if not started:
        return [("queue", handed_ns)]
    return [("queue", runner.began_ns), *runner.marks]
