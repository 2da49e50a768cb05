"""How much a runner that has several inputs at a time is given. Runners are played."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rekindle.runtime.agent.pools.many_dispatcher import ManyDispatcher
from rekindle.runtime.agent.pools.plan import Sizing, declared_plan
from rekindle.runtime.agent.pools.runner_set import RunnerSet
from rekindle.runtime.agent.runners.runner import RunnerState
from rekindle.runtime.agent.runners.slots import Slots
from rekindle.wire.spec import FunctionSpec


def made(runners: int, **declared: Any) -> tuple[ManyDispatcher, RunnerSet]:
    """A dispatcher with so many runners, which have nothing yet."""
    spec = FunctionSpec(app_name="app", name="f", **declared)
    pool = RunnerSet(Sizing(declared_plan(spec)))
    for number in range(runners):
        slots: Slots[int] = Slots(spec.slots)
        played: Any = SimpleNamespace(
            id=str(number),
            state=RunnerState.BUSY,
            private=False,
            serves=True,
            dying="",
            slots=slots,
            slices=[],
            idle_since=0.0,
            waits_at=-1,
            emptying=False,
        )
        pool[str(number)] = played
    return ManyDispatcher(spec, pool, SimpleNamespace(), lambda event: None), pool  # type: ignore[arg-type]


def given(runners: int, **declared: Any) -> list[int]:
    """How many inputs each of so many runners has when none takes another."""
    dispatcher, pool = made(runners, **declared)
    while (runner := dispatcher.pick(0)) is not None:
        assert runner.slots is not None
        runner.slots.take(1)
    return [len(runner.slots or ()) for runner in pool.values()]


def test_a_runner_gathers_the_next_batch_while_there_can_be_another_runner() -> None:
    assert given(1, max_batch_size=16, max_containers=2) == [32]


@pytest.mark.parametrize(("size", "most"), [(1, 8), (16, 128), (200, 512), (1000, 2000)])
def test_a_runner_beside_which_there_can_be_no_other_gathers_several(size: int, most: int) -> None:
    assert given(1, max_batch_size=size, max_containers=1) == [most]


def test_what_is_beyond_a_batch_for_each_is_spread() -> None:
    assert given(2, max_batch_size=4, max_containers=2) == [32, 32]


def test_side_by_side_there_are_never_more_than_declared() -> None:
    assert given(1, max_inputs=8, target_inputs=4, max_containers=1) == [8]


def with_loads(*loads: int) -> tuple[ManyDispatcher, list[Any]]:
    """Runners that have so many inputs each, of eight."""
    dispatcher, pool = made(len(loads), max_inputs=8, max_containers=len(loads))
    for runner, load in zip(pool.values(), loads, strict=True):
        for _ in range(load):
            runner.slots.take(1)  # type: ignore[union-attr]
    return dispatcher, list(pool.values())


def test_the_runner_with_the_least_is_emptied_and_none_that_waits_for_its_calls() -> None:
    dispatcher, (waits, more, less) = with_loads(1, 4, 3)
    waits.waits_at = 0
    assert dispatcher.give_one_up() is less
    assert dispatcher.pick(0) is waits
    assert dispatcher.give_one_up() is more and dispatcher.giving == 2
    assert dispatcher.give_one_up() is None and dispatcher.giving == 2


def test_a_runner_that_is_emptied_takes_what_it_waits_for_itself() -> None:
    dispatcher, (one,) = with_loads(1)
    assert dispatcher.give_one_up() is one
    assert dispatcher.pick(0) is dispatcher.pick(1) is None
    one.waits_at = 0
    assert dispatcher.pick(0) is None and dispatcher.pick(1) is one


def test_one_that_ended_of_itself_is_not_counted_among_those_that_are_emptied() -> None:
    dispatcher, (first, second, _) = with_loads(1, 2, 4)
    assert [dispatcher.give_one_up(), dispatcher.give_one_up()] == [first, second]
    del dispatcher._runners[first.id]  # it died, and the first of those that wait has its place
    dispatcher.give_no_more_than(1)
    assert dispatcher.giving == 1 and second.emptying
    dispatcher.give_no_more_than(0)
    assert dispatcher.giving == 0 and dispatcher.pick(0) is second


def test_a_runner_that_was_emptied_ends_once_it_has_nothing() -> None:
    dispatcher, (one, _) = with_loads(1, 2)
    assert dispatcher.give_one_up() is one and not dispatcher.gives_up(one)
    one.slots.release(7)
    one.slots.release(0)
    assert dispatcher.gives_up(one) and not dispatcher.gives_up(one)
