"""The inputs of a pool whose runners have several at a time, side by side or in batches.

Each input that is handed out has a slot of its runner, and its result comes when it comes. The
order of handing out, suspects and the ways back are those of dispatcher.py.
"""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass

from rekindle.runtime.agent.inputs.assignment import Assignment, Cancel
from rekindle.runtime.agent.pools import line, slices
from rekindle.runtime.agent.pools.dispatcher import InputDispatcher
from rekindle.runtime.agent.pools.events import InputsWait, SliceEnded
from rekindle.runtime.agent.pools.slice_outcomes import SliceOutcomes, timed_out
from rekindle.runtime.agent.runners.runner import READY, Runner, RunnerState
from rekindle.wire import finished
from rekindle.wire.finished import Ending, Finished
from rekindle.wire.frames import FrameError, Header
from rekindle.wire.phases import now_ns

#: An input that was asked to end, as it ran for too long, is ended with its runner after this.
TIMEOUT_GRACE_S = 2.0
#: A runner that does not begin what it has is stuck.
_STUCK_S = 20.0


@dataclass(eq=False)
class ManyDispatcher(InputDispatcher):
    """See the module."""

    def listen_to(self, runner: Runner) -> None:
        """Results come from any of its slots."""
        super().listen_to(runner)
        runner.handlers["done"] = lambda header, body: self.take_done(runner, header, body)

    # ---- handing out ---------------------------------------------------------------------------

    def pick(self, depth: int, *, suspect: bool = False) -> Runner | None:
        """The runner that takes the next input, or client; None where none may.

        Up to the number that is aimed at, batches are filled one after the other and inputs side by
        side are spread; beyond it, they go to whoever has the fewest.
        """
        aim, most = self._spec.aimed_inputs, self._most()
        best: Runner | None = None
        best_rank: tuple[bool, int, float] | None = None
        for runner in self._runners.values():
            if not runner.serves or runner.slots is None:
                continue
            if runner.emptying and not 0 <= runner.waits_at < depth:
                continue  # what it waits for may be just this
            load = len(runner.slots)
            if load >= most or (suspect and load) or self._has_suspect(runner):
                continue
            if not self._may_run(runner, depth):
                continue
            over = load >= aim
            fewest = load if over or not self._spec.max_batch_size else -load
            rank = (over, fewest, -runner.idle_since)
            if best_rank is None or rank < best_rank:
                best, best_rank = runner, rank
        return best

    def _most(self) -> int:
        """What a runner may have: no more than its next batch, while there can be another one."""
        full = len(self._runners) >= self._runners.limit
        return self._spec.slots if full else self._spec.most_inputs

    def _may_run(self, runner: Runner, depth: int) -> bool:
        if runner.state is RunnerState.IDLE:
            return self._runners.may_run(depth)
        return self._runners.running(depth) <= self._runners.limit

    @staticmethod
    def _has_suspect(runner: Runner) -> bool:
        return any(piece.order.suspect for piece in runner.slices)

    def _dispatch_to(self, runner: Runner) -> None:
        self.dispatch()

    def dispatch(self) -> None:
        """Hand out what waits while runners have room."""
        while self.waiting and self._results.may_run():
            first = self.waiting[0].order
            runner = self.pick(first.depth, suspect=first.suspect)
            if runner is None or runner.slots is None:
                return
            room = self._most() - len(runner.slots)
            if self._spec.max_batch_size:
                room = min(room, self._spec.max_batch_size)  # the next ones may be another's
            if not first.suspect and len(runner.slots) < self._spec.aimed_inputs:
                room = self._spec.aimed_inputs - len(runner.slots)
                if not self._spec.max_batch_size:
                    room = min(room, self._share())
            self._hand(runner, line.take_out(self.waiting, room))

    def _share(self) -> int:
        """Of what waits, side by side: a runner's share."""
        there = self._runners.values()
        able = sum(1 for runner in there if runner.state in READY and not runner.emptying)
        return max(1, math.ceil(len(self.waiting) / max(1, able)))

    def _hand(self, runner: Runner, inputs: list[Assignment]) -> None:
        slots = runner.slots
        assert slots is not None
        runner.slices.append(slices.next_of(runner, inputs, to_idle=True))
        for one in inputs:
            one.asked_at = 0.0
            one.slot = slots.take(one)
        runner.settle()
        alone = inputs[0].order.suspect
        self._send(runner, inputs, {"slots": [one.slot for one in inputs], "alone": alone})

    # ---- what comes back -----------------------------------------------------------------------

    def take_done(self, runner: Runner, header: Header, body: bytes) -> None:
        """A frame of results of a runner, from any of its slots."""
        # What an input printed goes before its result.
        runner.output.drain(runs_on=True)
        found: dict[int, SliceOutcomes] = {}
        took_ns = count = 0
        for slot, record in zip(header["slots"], finished.read(body), strict=True):
            one = runner.slots.release(slot) if runner.slots is not None else None
            if not isinstance(one, Assignment):
                continue
            self._end_one(runner, one, record, found)
            count += 1
            took_ns += record.ended_ns - record.began_ns
        runner.inputs_done += count
        self.pace.note(count, took_ns / 1e9)
        for outcomes in found.values():
            self._results.done(outcomes, soon=self._reporting.is_soon(len(self.waiting)))
        first = runner.inputs_done == count
        self._tidy(runner)
        spent = self.gives_up(runner)
        runner.private = runner.private or spent
        self._publish(SliceEnded(runner, first, spent))
        self._dispatch_to(runner)

    def _end_one(
        self, runner: Runner, one: Assignment, record: Finished, found: dict[int, SliceOutcomes]
    ) -> None:
        piece = next(piece for piece in runner.slices if piece.left.get(one.index) is one)
        one.runner_id = ""
        if one.cancel is Cancel.TIMEOUT:
            self._results.done(timed_out(runner, one, self._spec))
        elif one.cancel is Cancel.RETURN and record.ending != Ending.RETURNED:
            self._results.returned(one, runner.preempted, counts=False)
        else:
            outcomes = found.get(piece.number)
            if outcomes is None:
                outcomes = found[piece.number] = SliceOutcomes(runner, piece)
            outcomes.take(one, record)
        del piece.left[one.index]

    def _tidy(self, runner: Runner) -> None:
        """Forget slices that have ended."""
        for piece in [piece for piece in runner.slices if not piece.left]:
            runner.slices.remove(piece)
        runner.settle()
        if not runner.slices:
            self._single_runs.ended(runner.id)

    # ---- runners that end ----------------------------------------------------------------------

    def runner_ended(self, runner: Runner) -> None:
        """A runner is gone: those that it ran may be to blame, the others wait again."""
        begun, killed_for = runner.last_words.begun, runner.kill_for
        with_input = False
        again = []
        for one in runner.inputs:
            blamed = one.slot in begun if killed_for is None else self._ends_with(one, killed_for)
            if not blamed:
                again.append(one)
                continue
            runner.kill_for = one if killed_for is not None else None
            if self._is_to_return(runner, one):
                with_input = True
                self._tasks.spawn(self._return(runner, one))
        runner.kill_for = killed_for
        self.put_back(again)
        self._forget(runner, with_input)

    def _ends_with(self, one: Assignment, killed_for: Assignment) -> bool:
        """Whether an input is over with the one for which its runner was ended."""
        return one is killed_for or one.cancel is Cancel.TIMEOUT

    # ---- runners that are looked at ------------------------------------------------------------

    def _cancel_on(self, runner: Runner) -> None:
        for one in runner.inputs:
            if one.cancel is Cancel.KILL:
                runner.kill_for = one
                runner.kill("its input was cancelled")
                return
            if one.cancel is not Cancel.NO:
                self._ask_to_end(runner, one, "")

    def interrupt(self, runner: Runner) -> None:
        """What a runner has gets InputCancellation, and goes back to the controller."""
        self.return_running(runner)
        self._cancel_on(runner)

    def retire(self, runner: Runner, reason: str) -> None:
        """A runner gets no more inputs."""
        runner.private, runner.preempted = True, reason

    @property
    def giving(self) -> int:
        """Those that are known to end."""
        return sum(1 for one in self._runners.values() if one.emptying)

    def give_one_up(self) -> Runner | None:
        """The runner that has the least gets nothing more, and ends when it has nothing."""
        able = [
            one
            for one in self._runners.values()
            if one.serves and one.slots and not one.emptying and one.waits_at < 0
        ]
        if not able:
            return None
        chosen = min(able, key=lambda one: len(one.slots or ()))
        chosen.emptying = True
        return chosen

    def give_no_more_than(self, count: int) -> None:
        """The others are given to again."""
        emptying = [one for one in self._runners.values() if one.emptying]
        for one in emptying[count:]:
            one.emptying = False
        if len(emptying) > count:
            self._publish(InputsWait())

    def gives_up(self, runner: Runner) -> bool:
        """Whether it was to get nothing more, and has nothing."""
        ends = runner.emptying and runner.serves and not runner.slots
        runner.emptying = runner.emptying and not ends
        return ends

    def _ask_to_end(self, runner: Runner, one: Assignment, timeout: str) -> None:
        if one.asked_at:
            return
        one.asked_at = time.monotonic()
        ask_to_end(runner, one.slot, 0, timeout)

    def _look_at(self, runner: Runner, now: float) -> float:
        spec, now_at = self._spec, now_ns()
        longest_s = 0.0
        limit_s = spec.timeout_s
        if runner.page.began_ns != runner.seen_began_ns:
            runner.seen_began_ns, runner.seen_at = runner.page.began_ns, now
        for piece in list(runner.slices):
            for one in list(piece.left.values()):
                began_ns = runner.page.slot(one.slot)[0]
                ran_s = (now_at - began_ns) / 1e9 if began_ns else 0.0
                longest_s = max(longest_s, ran_s)
                # Several batches may be before an item: it waits from the end of the last one.
                waited_s = (now_at - piece.handed_ns) / 1e9
                if spec.max_batch_size:
                    waited_s = min(waited_s, now - runner.seen_at)
                if ran_s > limit_s:
                    self._time_out(runner, one, now)
                elif not began_ns and waited_s > limit_s + spec.wait_ms / 1000 + _STUCK_S:
                    runner.kill("it did not begin the input that it was given")
                if runner.dying:
                    return longest_s
        return longest_s

    def _time_out(self, runner: Runner, one: Assignment, now: float) -> None:
        """It runs for too long. A batch ends with its runner; one beside others is asked first."""
        words = f"the input ran longer than timeout={self._spec.timeout_s:g} s"
        asked = one.cancel is Cancel.TIMEOUT and one.asked_at
        if self._spec.max_batch_size or (asked and now - one.asked_at > TIMEOUT_GRACE_S):
            begun = runner.begun()
            for other in runner.inputs:
                if self._spec.max_batch_size and other.slot in begun:
                    other.cancel = Cancel.TIMEOUT  # all of the batch
            runner.kill_for = one
            runner.kill(words)
        elif not asked:
            one.cancel, one.asked_at = Cancel.TIMEOUT, 0.0
            self._ask_to_end(runner, one, words)


def ask_to_end(runner: Runner, slot: int, began_ns: int, timeout: str) -> None:
    """Have what runs in a slot end: it was cancelled or, in words, timed out.

    ``began_ns``: nothing but what began then; 0: whatever is there.
    """
    order: Header = {"op": "cancel", "slot": slot, "began_ns": began_ns, "timeout": timeout}
    with contextlib.suppress(FrameError):
        runner.channel.send(order, ())
