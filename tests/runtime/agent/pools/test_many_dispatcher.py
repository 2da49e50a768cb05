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


def given(runners: int, **declared: Any) -> list[int]:
    """How many inputs each of so many runners has when none takes another."""
    spec = FunctionSpec(app_name="app", name="f", **declared)
    pool = RunnerSet(Sizing(declared_plan(spec)))
    for number in range(runners):
        slots: Slots[int] = Slots(spec.slots)
        played: Any = SimpleNamespace(
            id=str(number),
            state=RunnerState.BUSY,
            private=False,
            dying="",
            slots=slots,
            slices=[],
            idle_since=0.0,
            waits_at=-1,
        )
        pool[str(number)] = played
    dispatcher = ManyDispatcher(spec, pool, SimpleNamespace(), lambda event: None)  # type: ignore[arg-type]
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
