"""The order in which the inputs that wait in a pool are handed out. Runners are played."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.runtime.agent.inputs.assignment import Assignment, AssignmentState, Order, Slice
from rekindle.runtime.agent.inputs.outcome import Outcomes
from rekindle.runtime.agent.pools import line, reporting
from rekindle.runtime.agent.pools.dispatcher import InputDispatcher
from rekindle.runtime.agent.pools.plan import Sizing, declared_plan
from rekindle.runtime.agent.pools.runner_set import RunnerSet
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.wire import finished
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import Strategy
from rekindle.wire.spec import FunctionSpec


def order(
    call_id: str = "fc-1",
    submitted_ns: int = 1,
    *,
    depth: int = 0,
    suspect: bool = False,
    others_wait: bool = False,
) -> Order:
    """An order of a call."""
    at = submitted_ns
    return Order(call_id, "fu-1", "ap-1", b"", None, at, at, 1, depth, suspect, others_wait)


def inputs(of: Order, *indexes: int, handed: bool = False) -> list[Assignment]:
    """Inputs of an order, that wait or that a runner has."""
    made = [Assignment(of, index, "", b"", "") for index in indexes]
    for one in made:
        if handed:
            one.move(AssignmentState.HANDED)
    return made


def dispatcher(most: int | None = None) -> InputDispatcher:
    """One whose pool is open and has no runners; it may have so many."""
    spec = FunctionSpec(app_name="app", name="f", max_containers=most)
    results: Any = SimpleNamespace()
    runners = RunnerSet(Sizing(declared_plan(spec)))
    return InputDispatcher(spec, runners, results, lambda event: None)


def waiting(of: InputDispatcher) -> list[tuple[str, int]]:
    """What waits, in order."""
    return [(one.order.call_id, one.index) for one in of.waiting]


def test_requests_of_a_call_that_overtook_each_other_are_dealt_in_its_order() -> None:
    one = order()
    made = dispatcher()
    made.take_in(inputs(one, 0, 1, 2))
    made.take_in(inputs(one, 6, 7, 8))
    made.take_in(inputs(one, 3, 4, 5))
    assert waiting(made) == [("fc-1", n) for n in range(9)]


def test_a_call_does_not_overtake_one_that_came_before_it() -> None:
    made = dispatcher()
    made.take_in(inputs(order("fc-1", 5), 0, 1))
    made.take_in(inputs(order("fc-2", 3), 0, 1))  # another client's clock is behind
    assert [call for call, _ in waiting(made)] == ["fc-1", "fc-1", "fc-2", "fc-2"]


@given(st.permutations(range(6)), st.integers(0, 6))
def test_slices_that_come_back_in_any_order_wait_oldest_first(
    turns: list[int], handed: int
) -> None:
    made, one = dispatcher(), order()
    pieces = [inputs(one, *range(4 * n, 4 * n + 4), handed=True) for n in range(6)]
    made.take_in(inputs(one, *range(24, 30)))
    for turn in turns[:handed]:
        made.put_back(pieces[turn])
    indexes = [index for _, index in waiting(made)]
    assert indexes == sorted(indexes)
    assert len(indexes) == 6 + 4 * handed


def test_slices_that_are_handed_out_together_are_dealt_one_by_one() -> None:
    made = deque(inputs(order(), *range(12)))
    line.interleave(made, takers=3, each=3)
    pieces = [[one.index for one in line.take_out(made, 3)] for _ in range(3)]
    assert pieces == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert [one.index for one in made] == [9, 10, 11]  # what is not handed out now is left alone


def test_inputs_of_several_calls_are_not_mixed() -> None:
    made = deque([*inputs(order("fc-1"), 0, 1), *inputs(order("fc-2", 2), 0, 1)])
    line.interleave(made, takers=2, each=2)
    assert [(one.order.call_id, one.index) for one in made] == [
        *(("fc-1", 0), ("fc-1", 1)),
        *(("fc-2", 0), ("fc-2", 1)),
    ]


def test_what_a_runner_died_with_waits_behind_what_waits_and_before_what_comes_later() -> None:
    made, one, bad = dispatcher(), order(), order(suspect=True)
    made.take_in(inputs(one, 4, 5, 6))
    made.take_in(inputs(bad, 1))
    made.take_in(inputs(bad, 0))
    made.take_in(inputs(one, 7, 8))
    made.put_back(inputs(one, 2, 3, handed=True))
    assert [index for _, index in waiting(made)] == [2, 3, 4, 5, 6, 1, 0, 7, 8]
    assert made.suspects() == 2


def test_what_a_runner_died_with_still_goes_before_what_is_less_deep() -> None:
    made = dispatcher()
    made.take_in(inputs(order("fc-1"), 0, 1))
    made.take_in(inputs(order("fc-2", depth=1), 0, 1))
    made.take_in(inputs(order("fc-3", depth=1, suspect=True), 0))
    assert [call for call, _ in waiting(made)] == ["fc-2", "fc-2", "fc-3", "fc-1", "fc-1"]


def test_what_a_runner_died_with_is_dealt_alone() -> None:
    made, one = dispatcher(), order()
    made.pace.note(100, 0.001)
    made.take_in(inputs(one, 0, 1, 2))
    made.take_in(inputs(order(suspect=True), 3))
    made.take_in(inputs(one, 4, 5))
    slices, idle = [], runner_of(made, "idle", [])
    while made.waiting:
        slices.append([each.index for each in made._cut(idle)])
    assert [3] in slices and sorted(n for piece in slices for n in piece) == list(range(6))


# ---- sharing what some runners have before them ------------------------------------------------


class PlayedPage:
    """A page whose runner is at its first input."""

    def __init__(self) -> None:
        self.done, self.began_ns, self.waits_at, self.recalled = 0, 1, -1, 0

    def recall(self, number: int) -> None:
        self.recalled = number


def runner_of(made: InputDispatcher, name: str, held: list[Assignment]) -> Runner:
    """A runner of the pool: idle, or with these inputs, the first of which runs."""
    nothing: Any = SimpleNamespace()
    page: Any = PlayedPage()
    runner = Runner(name, Strategy.COLD, nothing, nothing, page, nothing, lambda: None, 0)
    runner.move(RunnerState.IDLE)
    made._runners[name] = runner
    if held:
        runner.handed += 1
        runner.hand(Slice(1, held[0].order, 0, {one.index: one for one in held}, to_idle=True))
    return runner


def recalled(made: InputDispatcher) -> list[str]:
    """Runners whose inputs were called back."""
    return [runner.id for runner in made._runners.values() if runner.page.recalled]


def test_the_runner_with_the_most_before_it_gives_it_back_when_another_is_idle() -> None:
    made, one = dispatcher(), order()
    made.pace.note(100, 1.0)
    runner_of(made, "most", inputs(one, *range(8), handed=True))
    runner_of(made, "some", inputs(one, *range(8, 12), handed=True))
    made.dispatch()
    assert recalled(made) == []  # all are busy
    runner_of(made, "idle", [])
    made.dispatch()
    made.dispatch()
    assert recalled(made) == ["most"], "seven come back, enough for the one that is idle"


def test_what_was_called_back_goes_to_who_is_idle_and_not_all_to_who_gave_it() -> None:
    made, one = dispatcher(), order()
    made.pace.note(100, 1.0)
    for n in range(3):
        runner_of(made, f"busy-{n}", inputs(one, *range(8 * n, 8 * n + 8), handed=True))
    giver, other = runner_of(made, "giver", []), runner_of(made, "other", [])
    made.waiting.extend(inputs(one, *range(100, 108)))
    assert [len(made._cut(runner)) for runner in (giver, other)] == [3, 3]


def test_a_runner_that_has_less_before_it_than_others_gets_more() -> None:
    made, one = dispatcher(most=2), order()
    made.pace.note(100, 1.0)
    much = runner_of(made, "much", inputs(one, *range(11), handed=True))
    little = runner_of(made, "little", inputs(one, *range(20, 23), handed=True))
    made.waiting.extend(inputs(one, *range(100, 108)))
    piece = made._cut(little)
    assert len(piece) == 8  # of ten before each when all is dealt
    for each in piece:
        each.move(AssignmentState.HANDED)
    little.hand(Slice(2, one, 0, {each.index: each for each in piece}, to_idle=False))
    made.waiting.extend(inputs(one, *range(100, 108)))
    assert len(made._cut(much)) == 4  # of fourteen


def test_all_that_waits_is_shared_out_and_no_runner_is_left_without() -> None:
    made, one = dispatcher(most=8), order()
    made.pace.note(100, 1.0)
    runners = [runner_of(made, f"idle-{n}", []) for n in range(8)]
    made.waiting.extend(inputs(one, *range(100)))
    sent: list[int] = []
    for runner in runners:
        sent.append(len(piece := made._cut(runner)))
        for each in piece:
            each.move(AssignmentState.HANDED)
        runner.hand(Slice(1, one, 0, {each.index: each for each in piece}, to_idle=True))
    assert sum(sent) == 100 and set(sent) == {12, 13}


def test_a_busy_runner_that_has_its_share_before_it_is_handed_nothing() -> None:
    made, one = dispatcher(most=2), order()
    made.pace.note(100, 1.0)
    runner_of(made, "much", inputs(one, *range(11), handed=True))
    little = runner_of(made, "little", inputs(one, *range(20, 23), handed=True))
    made.waiting.extend(inputs(one, *range(100, 102)))
    assert made._cut(made._runners["much"]) == []
    assert len(made._cut(little)) == 2


def test_what_comes_back_soon_is_counted_for_those_that_are_idle() -> None:
    made, one = dispatcher(), order()
    made.pace.note(100, 1.0)
    for n in range(3):
        runner_of(made, f"busy-{n}", inputs(one, *range(4 * n, 4 * n + 4), handed=True))
    for n in range(4):
        runner_of(made, f"idle-{n}", [])
    made.dispatch()
    assert len(recalled(made)) == 2, "three inputs of each come back"


def test_what_a_runner_would_be_done_with_soon_itself_stays_with_it() -> None:
    made, one = dispatcher(), order()
    made.pace.note(100, 1.0)
    busy: Any = runner_of(made, "busy", inputs(one, *range(8), handed=True))
    runner_of(made, "idle", [])
    busy.page.done = 6
    made.dispatch()
    assert recalled(made) == []  # one runs, one is left
    busy.page.done = 5
    made.dispatch()
    assert recalled(made) == ["busy"]


def test_nothing_is_called_back_where_the_controller_has_more_for_who_is_idle() -> None:
    made, one = dispatcher(), order()
    made.pace.note(100, 1.0)
    runner_of(made, "busy", inputs(one, *range(8), handed=True))
    runner_of(made, "idle", [])
    made.take_in(inputs(order(others_wait=True), 9))
    made.waiting.clear()
    made.dispatch()
    assert recalled(made) == []
    made.take_in(inputs(order(), 10))
    made.waiting.clear()
    made.dispatch()
    assert recalled(made) == ["busy"]


def test_nothing_is_called_back_while_inputs_wait_or_where_each_is_handed_alone() -> None:
    made, one = dispatcher(), order()
    made.pace.note(100, 100.0)  # a second each
    runner_of(made, "busy", inputs(one, *range(8), handed=True))
    runner_of(made, "idle", [])
    made.dispatch()
    assert recalled(made) == []


# ---- whose records they are ----------------------------------------------------------------------


def record(value: bytes) -> bytes:
    """That of an input which is the first of its call."""
    return finished.head(0, finished.Ending.RETURNED, 1, 2, 3, len(value)) + value


def test_what_a_runner_has_sent_and_not_said_so_is_no_result_of_its_next_slice() -> None:
    """Inputs of two calls, both the first of theirs, one after the other on one runner."""
    made = dispatcher()
    results: dict[str, bytes] = {}

    def done(outcomes: Outcomes, *, soon: bool) -> None:
        for one, raw in zip(outcomes.inputs, outcomes.results, strict=True):
            results[one.order.call_id] = pb.Result.FromString(raw).data

    played: Any = made._results
    played.done = done
    (first,), (second,) = inputs(order("fc-1"), 0, handed=True), inputs(order("fc-2"), 0)
    runner = runner_of(made, "ru-1", [first])
    made._take(runner, 1, record(b"of the first"))
    runner.slices.clear()
    second.move(AssignmentState.HANDED)
    runner.hand(Slice(2, second.order, 0, {0: second}, to_idle=True))

    made._take(runner, 1, record(b"of the first"))  # found in its page, as it was ended
    assert results == {"fc-1": b"of the first"}
    assert runner.slices[0].left == {0: second}
    made._take(runner, 2, record(b"of the second"))
    assert results == {"fc-1": b"of the first", "fc-2": b"of the second"}


# ---- how soon the controller is to hear of results -----------------------------------------------


def is_soon(of: Order, service_s: float, left: int) -> bool:
    """Whether a result goes soon where so many inputs of that time wait for two runners."""
    made, said = dispatcher(), list[bool]()
    played: Any = made._results
    played.done = lambda outcomes, *, soon: said.append(soon)
    made.pace.note(1, service_s)
    runner = runner_of(made, "ru-1", inputs(of, 0, handed=True))
    runner_of(made, "ru-2", inputs(of, 1, handed=True))
    made.take_in(inputs(of, *range(2, 2 + max(1, left))))
    if not left:
        made.waiting.clear()
    made._take(runner, 1, finished.head(0, finished.Ending.RETURNED, 1, 2, int(service_s * 1e9), 0))
    assert len(said) == 1
    return said[0]


def test_results_go_soon_where_the_controller_has_more_and_runners_will_have_nothing() -> None:
    more = order(others_wait=True)
    assert is_soon(more, 0.01, left=0)
    assert is_soon(more, 0.01, left=3)  # 15 ms for two runners: the next message goes later
    assert is_soon(more, 10.0, left=0)


def test_the_last_results_go_soon_once_runners_are_idle_and_nothing_has_come_of_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "GATHER_S", 3600.0)
    made, said = dispatcher(), list[bool]()
    played: Any = made._results
    played.done = lambda outcomes, *, soon: said.append(soon)
    one = order()
    busy = runner_of(made, "busy", inputs(one, *range(4), handed=True))
    idle = runner_of(made, "idle", [])

    def ends(index: int) -> bool:
        made._take(busy, 1, finished.head(index, finished.Ending.RETURNED, 1, 2, 3, 0))
        return said.pop()

    assert not ends(0)  # the other runner had none of them
    idle.handed = 1
    assert ends(1)
    made.take_in(inputs(one, 9))
    assert not ends(2)
    made.waiting.clear()
    assert not ends(3)  # an input came just now, so more may come


def test_results_are_gathered_where_runners_have_enough_or_the_controller_has_no_more() -> None:
    more = order(others_wait=True)
    assert not is_soon(more, 0.01, left=5)
    assert not is_soon(more, 10.0, left=1)
    assert not is_soon(order(), 0.01, left=0)
