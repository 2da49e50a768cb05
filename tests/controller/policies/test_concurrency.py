import pytest

from rekindle.controller import policies
from rekindle.controller.policies.policy import PoolView, Sizer
from rekindle.wire.pools import Level, PoolPlan
from tests.controller.policies.views import view


def load(
    sizer: Sizer,
    in_flight: float,
    *,
    begins: float,
    ends: float,
    idle: int = 0,
    demand: float = 0.0,
) -> tuple[PoolPlan, float]:
    """Ticks of 2 s with so many inputs in flight on average; the last plan, the demand so far."""
    now = begins
    plan = PoolPlan()
    while now <= ends:
        sizer.arrived(now)
        plan = sizer.plan(view(now, busy=round(in_flight), idle=idle, demand_s=demand))
        demand += 2.0 * in_flight
        now += 2.0
    return plan, demand


def test_in_the_long_run_there_are_runners_for_the_load_at_the_target() -> None:
    sizer = policies.make("concurrency").sizer()
    plan, _ = load(sizer, 7.0, begins=0.0, ends=300.0, idle=3)
    assert plan.runners == 10  # 7 in flight at 70 %


def test_a_burst_is_followed_within_the_panic_window() -> None:
    sizer = policies.make("concurrency").sizer()
    _, demand = load(sizer, 1.0, begins=0.0, ends=120.0)
    plan, _ = load(sizer, 40.0, begins=122.0, ends=128.0, demand=demand)
    assert "panic" in plan.why
    assert plan.runners > 40


def test_nothing_is_scaled_down_while_it_panics() -> None:
    sizer = policies.make("concurrency").sizer()
    _, demand = load(sizer, 1.0, begins=0.0, ends=120.0)
    high, demand = load(sizer, 40.0, begins=122.0, ends=128.0, demand=demand)
    low, _ = load(sizer, 1.0, begins=130.0, ends=160.0, idle=high.runners, demand=demand)
    assert low.runners >= high.runners


def test_it_goes_down_by_half_at_most() -> None:
    sizer = policies.make("concurrency").sizer()
    _, demand = load(sizer, 7.0, begins=0.0, ends=300.0, idle=33)
    plan, _ = load(sizer, 1.0, begins=600.0, ends=600.0, idle=39, demand=demand)
    assert plan.runners >= 20


def test_to_zero_after_a_window_without_inputs_and_the_grace() -> None:
    sizer = policies.make("concurrency").sizer()
    sizer.arrived(100.0)
    plan = sizer.plan(view(100.0, busy=1))
    assert plan.runners == 1
    plan = sizer.plan(view(150.0, idle=1, demand_s=1.0))
    assert plan.runners == 1
    assert plan.again_s == pytest.approx(40.0)
    plan = sizer.plan(view(190.0, idle=1, demand_s=1.0))
    assert plan.runners == 0
    assert plan.again_s is None
    assert plan.level_at(1.0) is Level.DISK


def test_only_the_autoscaler_adds_runners_where_there_is_one() -> None:
    sizer = policies.make("concurrency").sizer()
    sizer.arrived(0.0)
    made: PoolView = view(0.0, busy=1, queued=5)
    assert sizer.plan(made).patience_s == float("inf")
