"""Levels and plans: what a node is to hold at each moment."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.wire.phases import Strategy
from rekindle.wire.pools import Level, PoolPlan, Rest
from tests.wire.plans import PLANS


@given(PLANS, st.floats(0, 1e7))
def test_a_level_holds_until_the_next_change(plan: PoolPlan, quiet_s: float) -> None:
    change_s = plan.next_change_s(quiet_s)
    assert change_s > 0
    held = plan.level_at(quiet_s)
    if math.isinf(change_s):
        assert plan.level_at(1e9) is held
    else:
        assert plan.level_at(quiet_s + change_s * 0.999) is held


@given(PLANS, st.integers(0, 200), st.floats(0, 1e6))
def test_runners_wanted_are_never_more_than_allowed_nor_fewer_than_busy_ones(
    plan: PoolPlan, busy: int, quiet_s: float
) -> None:
    wanted = plan.wanted(busy, quiet_s)
    most = math.inf if plan.max_runners is None else plan.max_runners
    assert min(busy, most) <= wanted <= most
    assert wanted >= min(plan.runners, most)


def test_the_steps_of_a_quiet_time_follow_one_another_and_the_last_one_stays() -> None:
    plan = PoolPlan(
        keep_s=5.0,
        rest=(Rest(Level.WARM, 10), Rest(Level.DISK, 50), Rest(Level.WARM, 5), Rest(Level.NONE, 1)),
    )
    at = [plan.level_at(s) for s in (0, 9.9, 10, 59.9, 60, 65, 66, 1e9)]
    warm, disk, none = Level.WARM, Level.DISK, Level.NONE
    assert at == [warm, warm, disk, disk, warm, none, none, none]
    assert plan.next_change_s(3) == pytest.approx(7)
    assert plan.next_change_s(10) == pytest.approx(50)
    assert plan.next_change_s(66) == math.inf
    assert [plan.wanted(0, s) for s in (0.1, 30, 62)] == [1, 0, 1]
    assert plan.idle_limit_s(0) == plan.idle_limit_s(5) == 5.0
    assert plan.idle_limit_s(30) == 0.0  # none is to be warm


def test_a_buffer_is_wanted_while_the_pool_is_active() -> None:
    plan = PoolPlan(buffer=2, active_s=60, rest=(Rest(Level.DISK),))
    assert plan.wanted(3, 0.0) == 5
    assert plan.wanted(0, 59.0) == 2
    assert plan.wanted(0, 61.0) == 0


def test_levels_name_the_strategy_of_the_next_start() -> None:
    assert {level: level.strategy for level in Level} == {
        Level.WARM: Strategy.WARM,
        Level.SPARE: Strategy.SPARE,
        Level.BOOTED: Strategy.FORK,
        Level.MAPPED: Strategy.FORK,
        Level.CACHED: Strategy.RESTORE,
        Level.DISK: Strategy.RESTORE,
        Level.NONE: Strategy.COLD,
    }


def test_levels_stay_what_they_are_through_pickle() -> None:
    assert {pickle.loads(pickle.dumps(Level.DISK)): 1} == {Level.DISK: 1}
