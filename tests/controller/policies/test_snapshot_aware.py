import math
from collections.abc import Mapping
from typing import Any

import pytest

from rekindle.controller import policies
from rekindle.controller.policies.policy import PoolSettings, Sizer
from rekindle.controller.policies.snapshot_aware import runners_for
from rekindle.wire.pools import Figures, Level, PoolPlan
from tests.controller.policies.views import MIB, PLAIN, SNAPSHOT, view


def after(
    gaps_s: list[float],
    levels: Mapping[Level, Figures] = SNAPSHOT,
    service_s: float = 0.1,
    settings: PoolSettings | None = None,
    **parameters: Any,
) -> tuple[PoolPlan, Sizer, float]:
    """The plan after inputs with these quiet times between them."""
    sizer = policies.make("snapshot-aware", **parameters).sizer()
    now, demand = 0.0, 0.0
    for gap in [*gaps_s, None]:
        sizer.arrived(now)
        sizer.plan(view(now, levels, settings, busy=1, demand_s=demand, service_s=service_s))
        demand += service_s
        now += service_s
        sizer.quiet(now)
        now += gap or 0.0
    plan = sizer.plan(view(now, levels, settings, demand_s=demand, service_s=service_s))
    return plan, sizer, now


def test_before_the_first_input_a_plan_already_keeps_what_it_will_make() -> None:
    plan = policies.make("snapshot-aware").sizer().plan(view(0.0))
    assert plan.runners == plan.buffer == 0
    assert plan.level_at(0.0) is Level.WARM  # of a pool that was used; nodes keep unused ones cold
    assert plan.level_at(1e6) is Level.DISK


def test_min_containers_are_kept_all_the_same() -> None:
    settings = PoolSettings(min_containers=2)
    plan = policies.make("snapshot-aware").sizer().plan(view(0.0, settings=settings))
    assert plan.wanted(0, 1e6) == 2


def test_a_cheap_restore_shortens_the_warm_time_of_a_sparse_function() -> None:
    warm_s = {}
    for levels in (SNAPSHOT, PLAIN):
        plan, _, _ = after([200.0] * 3, levels)
        warm_s[levels is PLAIN] = plan.rest[0].for_s
        assert plan.rest[0].level is Level.WARM
    assert warm_s[True] > 20 * warm_s[False]


def test_a_busy_function_stays_warm() -> None:
    plan, _, _ = after([0.2] * 50)
    assert plan.level_at(0.2) is Level.WARM


def test_a_dear_gpu_is_let_go_at_once_when_restores_are_quick() -> None:
    gpu = {**SNAPSHOT, Level.WARM: Figures(start_s=0.0, memory_bytes=44 * MIB, gpus=1.0)}
    plan, _, _ = after([30.0] * 20, gpu)
    assert plan.level_at(1.0) is not Level.WARM


def test_a_timers_function_is_ready_just_before_it_fires() -> None:
    plan, _, _ = after([300.0] * 20, PLAIN, target_ms=100.0)
    assert plan.level_at(150.0) is Level.NONE
    assert plan.level_at(300.0) is Level.WARM
    assert plan.level_at(295.0) is Level.WARM


def test_a_tighter_target_holds_more() -> None:
    gaps = [float(place * place) for place in range(1, 60)]
    loose, _, _ = after(gaps, target_ms=1000.0)
    tight, _, _ = after(gaps, target_ms=50.0)
    at = [float(s) for s in range(10, 3000, 50)]
    held = [sum(plan.level_at(s) is not Level.DISK for s in at) for plan in (loose, tight)]
    assert held[1] > held[0]


def test_an_input_waits_for_a_busy_runner_only_while_inputs_are_shorter_than_a_start() -> None:
    short, _, _ = after([0.01] * 30, service_s=0.002)
    long, _, _ = after([0.01] * 30, service_s=2.0)
    assert 0 < short.patience_s <= SNAPSHOT[Level.CACHED].start_s
    assert long.patience_s == 0


def test_spare_runners_are_kept_where_a_start_would_be_late() -> None:
    for levels, spare in ((PLAIN, True), (SNAPSHOT, False)):
        sizer = policies.make("snapshot-aware", target_ms=100.0).sizer()
        demand = 0.0
        plan = PoolPlan()
        for tick in range(200):
            sizer.arrived(2.0 * tick)
            demand += 2.0 * 5  # five in flight
            plan = sizer.plan(view(2.0 * tick, levels, busy=5, demand_s=demand, service_s=1.0))
        assert (plan.buffer > 0) is spare
        assert (plan.again_s is not None) is spare


#: A template holds less than an idle runner does, as measured.
SMALL = {
    **SNAPSHOT,
    Level.WARM: Figures(start_s=0.0, memory_bytes=200 * MIB),
    Level.MAPPED: Figures(start_s=0.0075, memory_bytes=1160 * MIB, cpu_s=0.013),
}


def bursts_of(
    size: int, every_s: float, levels: Mapping[Level, Figures] = SMALL, **settings: Any
) -> PoolPlan:
    """The plan after bursts of that many inputs, a runner started for each of them."""
    sizer = policies.make("snapshot-aware").sizer()
    now, plan = 1.0, PoolPlan()
    for place in range(80):
        for _ in range(size):
            sizer.arrived(now)
        made = view(now, levels, PoolSettings(**settings), started=size * place)
        plan = sizer.plan(made)
        sizer.quiet(now + 0.1)
        now += every_s
    return plan


def test_so_many_spares_wait_as_bursts_of_that_size_pay_for() -> None:
    assert bursts_of(4, 60.0).spares == 4
    assert bursts_of(1, 60.0).spares == 1
    assert bursts_of(4, 7200.0).spares <= 1  # twelve a day are not worth the memory


def test_dearer_spares_are_fewer() -> None:
    large = {**SMALL, Level.SPARE: Figures(start_s=0.003, memory_bytes=300 * MIB)}
    assert bursts_of(4, 60.0, large).spares <= 1


def test_a_number_of_spares_that_was_set_is_kept_by_this_policy_too() -> None:
    assert bursts_of(1, 7200.0, spare_containers=6).spares == 6
    none = bursts_of(4, 60.0, spare_containers=0)
    assert none.spares == 0
    assert Level.SPARE not in {none.base, *(step.level for step in none.rest)}


def at_least(count: int, load: float) -> float:
    """The probability that so many inputs or more are in flight."""
    terms = (math.exp(n * math.log(load) - load - math.lgamma(n + 1)) for n in range(count))
    return 1 - math.fsum(terms)


@pytest.mark.parametrize(("load", "late"), [(0.04, 0.05), (0.1, 0.05), (5.0, 0.025), (50, 0.01)])
def test_runners_for_a_load_follow_the_poisson_distribution(load: float, late: float) -> None:
    runners = runners_for(load, late)
    assert at_least(runners, load) <= late + 1e-12
    assert runners == 1 or at_least(runners - 1, load) > late


def test_runners_for_a_great_load_are_near_the_poisson_distribution() -> None:
    runners = runners_for(1000.0, 0.025)
    assert at_least(runners + 3, 1000.0) <= 0.025 < at_least(runners - 3, 1000.0)


def test_what_saves_more_for_its_memory_is_worth_more() -> None:
    often, _, _ = after([1.0] * 100)
    rare, _, _ = after([100.0] * 100)
    assert often.priority_of(Level.CACHED) > rare.priority_of(Level.CACHED) > 0


def test_the_same_plan_is_given_again_while_nothing_is_learnt() -> None:
    plan, sizer, now = after([10.0] * 20)
    made = view(now + 5, demand_s=0.1 * 21, service_s=0.1)
    assert sizer.plan(made) is plan


def test_it_learns_a_new_pattern() -> None:
    plan, _, _ = after([1.0] * 600 + [600.0] * 600, PLAIN, target_ms=100.0)
    assert plan.level_at(600.0) is Level.WARM
