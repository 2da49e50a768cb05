"""What a pool makes of its plan: how many runners, which go, what is held below them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import pytest

from rekindle.runtime.agent.pools.plan import Sizing, declared_plan
from rekindle.wire.pools import SPARES, Level, PoolPlan, Rest
from rekindle.wire.spec import FunctionSpec


@dataclass
class Idle:
    idle_since: float


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the test moves."""
    now = [1000.0]
    monkeypatch.setattr("rekindle.runtime.agent.pools.plan.time.monotonic", lambda: now[0])
    return now


def sizing(clock: list[float], **plan: object) -> Sizing:
    return Sizing(PoolPlan(**plan), quiet_since=clock[0])  # type: ignore[arg-type]


def used(one: Sizing) -> Sizing:
    one.see(True)
    one.see(False)
    return one


def test_a_declared_plan_is_what_the_decorator_says() -> None:
    spec = FunctionSpec(
        app_name="a",
        name="f",
        min_containers=2,
        max_containers=5,
        buffer_containers=1,
        scaledown_window_s=7,
    )
    plan = declared_plan(spec)
    assert (plan.runners, plan.max_runners, plan.buffer, plan.keep_s) == (2, 5, 1, 7)
    assert plan.base is Level.SPARE and plan.level_at(7.1) is Level.SPARE
    assert (plan.spares, plan.ahead) == (SPARES, False)
    many = declared_plan(dataclasses.replace(spec, spare_containers=9))
    assert (many.spares, many.ahead) == (5, True), "never more than there may be runners"
    without = declared_plan(dataclasses.replace(spec, spare_containers=0))
    assert without.base is Level.BOOTED and without.level_at(7.1) is Level.BOOTED


def test_min_containers_are_wanted_however_quiet_it_is(clock: list[float]) -> None:
    one = sizing(clock, runners=2, rest=(Rest(Level.DISK),))
    assert one.wanted(0) == 2
    clock[0] += 1e6
    assert one.wanted(0) == 2
    assert one.wanted(3) == 3


def test_a_buffer_is_held_by_a_pool_that_is_used_and_for_a_while_after(clock: list[float]) -> None:
    one = sizing(clock, buffer=2, active_s=60.0, rest=(Rest(Level.DISK),))
    assert one.wanted(0) == 0, "nobody has used it"
    one.see(True)
    assert one.wanted(1) == 3
    one.see(False)
    clock[0] += 59
    assert one.wanted(0) == 2
    clock[0] += 2
    assert one.wanted(0) == 0


def test_a_pool_that_was_never_used_keeps_nothing_warm_from_its_opening_on(
    clock: list[float],
) -> None:
    rest = (Rest(Level.WARM, 60.0), Rest(Level.DISK))
    assert sizing(clock, rest=rest).wanted(0) == 0
    assert used(sizing(clock, rest=rest)).wanted(0) == 1


def test_what_a_plan_makes_ready_later_is_made_ready_in_a_pool_that_was_never_used(
    clock: list[float],
) -> None:
    one = sizing(clock, rest=(Rest(Level.DISK, 100.0), Rest(Level.WARM, 50.0), Rest(Level.DISK)))
    clock[0] += 99
    assert one.wanted(0) == 0
    clock[0] += 2
    assert one.wanted(0) == 1
    clock[0] += 50
    assert one.wanted(0) == 0


def test_an_idle_runner_goes_when_its_window_is_over_the_longest_idle_first(
    clock: list[float],
) -> None:
    one = used(sizing(clock, keep_s=10.0, rest=(Rest(Level.WARM, math.inf),), runners=1))
    old, older, young = Idle(clock[0] - 11), Idle(clock[0] - 12), Idle(clock[0] - 1)
    assert one.surplus([young, old, older], 0, clock[0]) == [older, old]


def test_the_last_runner_goes_when_the_plan_rests_below_warm(clock: list[float]) -> None:
    one = used(sizing(clock, keep_s=60.0, rest=(Rest(Level.WARM, 5.0), Rest(Level.DISK))))
    runner = Idle(clock[0])
    assert one.surplus([runner], 0, clock[0] + 1) == []
    clock[0] += 6
    assert one.surplus([runner], 0, clock[0]) == [runner]


def test_what_is_over_the_limit_goes_at_once(clock: list[float]) -> None:
    one = used(sizing(clock, max_runners=1, keep_s=60.0))
    first, second = Idle(clock[0] - 1), Idle(clock[0])
    assert one.surplus([first, second], 0, clock[0]) == [first]
    one.order(PoolPlan(max_runners=2, keep_s=60.0))
    assert one.surplus([first, second], 0, clock[0]) == []


def test_beside_runners_the_base_is_held_and_afterwards_what_the_plan_rests_at(
    clock: list[float],
) -> None:
    one = used(sizing(clock, base=Level.MAPPED, rest=(Rest(Level.CACHED, 10.0), Rest(Level.DISK))))
    assert one.level(1) is Level.MAPPED
    assert one.level(0) is Level.CACHED
    clock[0] += 11
    assert one.level(0) is Level.DISK
    one.see(True)
    assert one.level(0) is Level.MAPPED
