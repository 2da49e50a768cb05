from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.bench.tune.outcome import outcome
from rekindle.bench.tune.pools import Node
from rekindle.bench.tune.search import (
    Recommendation,
    Tried,
    pareto,
    recommend,
    try_all,
    with_spares,
)
from rekindle.bench.tune.settings import Setting, candidates, spare_counts
from rekindle.bench.tune.simulator import Simulation
from rekindle.controller import policies
from rekindle.controller.policies import REGISTRY
from rekindle.controller.policies.policy import PoolSettings, Prices
from rekindle.exception import InvalidError
from tests.bench.tune.traces import SNAPSHOT, plain, trace

_TRACE = trace([(0.0, 0.1)], plain(1.0))
_OUTCOME = outcome(Simulation(_TRACE, policies.make("fixed")).run(), Prices())


def tried(name: str, cost: float, p95_ms: float, **setting: Any) -> Tried:
    made = replace(_OUTCOME, cost=cost, p95_ms=p95_ms)
    return Tried(Setting("fixed", {"name": name}, **setting), made, 0.1)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=20))
def test_the_front_is_what_nothing_beats_in_both(points: list[tuple[int, int]]) -> None:
    found = [tried(str(n), float(cost), float(ms)) for n, (cost, ms) in enumerate(points)]
    front = pareto(found, 95)
    for one in front:
        assert not any(
            other.outcome.cost <= one.outcome.cost
            and other.outcome.p95_ms <= one.outcome.p95_ms
            and (other.outcome.cost, other.outcome.p95_ms) != (one.outcome.cost, one.outcome.p95_ms)
            for other in found
        )
    for one in found:
        assert any(
            f.outcome.cost <= one.outcome.cost and f.outcome.p95_ms <= one.outcome.p95_ms
            for f in front
        )


def test_the_cheapest_that_meets_the_target_is_recommended_and_it_says_why() -> None:
    found = [
        tried("late", 1.0, 900.0),
        tried("good", 2.0, 400.0),
        tried("better", 3.0, 100.0),
        tried("now", 4.0, 450.0, current=True),
    ]
    chosen = recommend(found, target_ms=500, percentile=95)
    assert chosen.tried is found[1]
    assert chosen.meets_target
    assert "cheapest of 3 settings (of 4)" in chosen.why
    assert "50% less than now, which gives 450 ms" in chosen.why
    assert "(fixed name=late) is late: 900 ms" in chosen.why


def test_of_two_that_cost_the_same_the_quicker_one_is_recommended() -> None:
    slow, quick = tried("slow", 1.0, 100.0), tried("quick", 1.0, 100.0)
    quick = replace(quick, outcome=replace(quick.outcome, mean_ms=slow.outcome.mean_ms - 1))
    assert recommend([slow, quick], target_ms=500, percentile=95).tried is quick


def counted(spares: int, cost: float, mean_ms: float, p95_ms: float = 10.0) -> Tried:
    one = tried("a", cost, p95_ms, overrides={"spare_containers": spares})
    made = replace(one.outcome, mean_ms=mean_ms, calls=3_600_000, spared=1000, spare_cost=0.1)
    return replace(one, outcome=made)


def test_so_many_spares_are_recommended_as_cost_less_than_the_waiting_that_they_save() -> None:
    before = replace(counted(0, 1.0, 10.0), setting=Setting("fixed"))  # 10 hours of waiting
    chosen = Recommendation(before, True, "the cheapest")
    offers = [counted(0, 0.9, 12.0), counted(2, 3.0, 5.0), counted(8, 9.0, 4.0)]
    limits = {"target_ms": 50.0, "percentile": 95}
    best = with_spares(chosen, offers, Prices(waiting_hour=1.0), **limits)
    assert best.tried is offers[1] and best.meets_target
    assert "the cheapest; spares: 2, which" in best.why and "3.3% of the cost" in best.why
    cheap = with_spares(chosen, offers, Prices(waiting_hour=0.0), **limits)
    assert cheap.tried is offers[0] and "spares: none" in cheap.why
    late = [counted(2, 3.0, 5.0, p95_ms=90.0)]
    same = with_spares(chosen, late, Prices(), **limits)
    assert same.tried is before and "as many as the policy has it" in same.why
    assert with_spares(chosen, [], Prices(), **limits) is chosen


def test_numbers_of_spares_are_tried_where_a_function_can_have_any() -> None:
    setting = Setting("fixed", {"keep_s": 2.0}, {"min_containers": 1}, current=True)
    found = spare_counts(setting, trace([(0.0, 0.1)], SNAPSHOT))
    assert [one.label for one in found][:2] == [
        "fixed 2 s, min 1, spare 0",
        "fixed 2 s, min 1, spare 1",
    ]
    assert not spare_counts(found[0], trace([(0.0, 0.1)], SNAPSHOT))
    assert not spare_counts(setting, _TRACE)


def test_where_none_meets_the_target_the_nearest_is_named_and_it_says_so() -> None:
    found = [tried("a", 1.0, 900.0), tried("b", 9.0, 600.0)]
    chosen = recommend(found, target_ms=500, percentile=95)
    assert chosen.tried is found[1]
    assert not chosen.meets_target
    assert "none meets 500 ms at p95" in chosen.why


def test_every_policy_asked_for_is_tried_under_several_settings() -> None:
    names = [name for name in policies.REGISTRY if name != "declared"]
    settings = candidates(names, _TRACE, target_ms=100, quantile=0.95, prices=Prices())
    assert {setting.policy for setting in settings} == set(names)
    assert len({setting.label for setting in settings}) == len(settings) > 12
    for setting in settings:
        assert type(setting.make()) is REGISTRY[setting.policy]
    with pytest.raises(InvalidError, match="no policy 'psychic'"):
        candidates(["psychic"], _TRACE, target_ms=100, quantile=0.95, prices=Prices())


def test_prices_that_were_given_reach_the_policy() -> None:
    settings = candidates(
        ["snapshot-aware"], _TRACE, target_ms=100, quantile=0.95, prices=Prices(gpu_hour=9.0)
    )
    assert all(setting.parameters["gpu_hour"] == 9.0 for setting in settings)
    assert all("gib_hour" not in setting.parameters for setting in settings)


def test_overrides_hold_while_they_are_tried_and_no_longer() -> None:
    made = trace([(100.0, 0.1)], SNAPSHOT, PoolSettings(max_containers=3))
    setting = Setting("fixed", {"keep_s": 2.0}, {"min_containers": 2})
    assert setting.label == "fixed 2 s, min 2"
    found = try_all(made, [setting, Setting("fixed", {"keep_s": 2.0})], Prices(), Node())
    assert found[0].outcome.warm == 1
    assert found[1].outcome.warm == 0
    assert setting.on(made).functions[0].settings == PoolSettings(
        min_containers=2, max_containers=3
    )
