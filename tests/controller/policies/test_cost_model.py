import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rekindle.controller.policies.cost_model import (
    Option,
    bases,
    best_schedule,
    break_even_s,
    down_the_ladder,
    options,
    spare_price,
)
from rekindle.controller.policies.idle_times import IdleTimes, Segment
from rekindle.controller.policies.policy import Prices
from rekindle.wire.pools import Figures, Level, Rest
from tests.controller.policies.views import MIB, PLAIN, SNAPSHOT

ANY_TIME = math.inf


_OPTIONS = st.lists(
    st.tuples(st.floats(1e-6, 1.0), st.floats(1e-6, 1.0)), min_size=2, max_size=6
).map(
    lambda pairs: [
        Option(level, start_s=start, holding=holding, start=start, cpu=0.0)
        for level, start, holding in zip(
            Level,
            sorted({round(start, 6) for start, _ in pairs}),
            sorted({round(holding, 6) for _, holding in pairs}, reverse=True),
            strict=False,
        )
    ]
)


def level_at(rest: list[Rest], quiet_s: float) -> Level:
    for step in rest:
        quiet_s -= step.for_s
        if quiet_s < 0:
            return step.level
    return rest[-1].level


def test_options_are_warmest_first_and_each_cheaper_to_hold() -> None:
    found = options(SNAPSHOT, Prices())
    assert found[0].level is Level.WARM
    assert found[-1].level is Level.DISK  # as cheap as nothing, and quicker
    for one, following in pairwise(found):
        assert following.start > one.start
        assert following.holding < one.holding


def test_nothing_is_cheaper_than_a_snapshot_where_disk_is_paid_for() -> None:
    found = options(SNAPSHOT, Prices(disk_gib_hour=0.0001))
    assert found[-1].level is Level.NONE


def test_a_level_that_is_slower_and_no_cheaper_is_left_out() -> None:
    levels = {**SNAPSHOT, Level.BOOTED: Figures(start_s=0.02, memory_bytes=3000 * MIB)}
    assert Level.BOOTED not in [o.level for o in options(levels, Prices())]


def test_a_spare_is_held_with_its_template_and_pays_for_the_next_one() -> None:
    levels = {**SNAPSHOT, Level.WARM: Figures(start_s=0.0, memory_bytes=500 * MIB)}
    prices = Prices()
    by_level = {option.level: option for option in options(levels, prices)}
    spare, mapped = by_level[Level.SPARE], by_level[Level.MAPPED]
    one = spare_price(levels, prices)
    assert one is not None
    assert spare.holding == pytest.approx(mapped.holding + one.holding)
    assert spare.cpu > mapped.cpu
    assert mapped.start - spare.start == pytest.approx(one.saves)
    assert one.pays_from * one.saves == pytest.approx(one.holding)
    assert spare_price(PLAIN, prices) is None


@settings(deadline=None)
@given(choice=_OPTIONS, rate=st.floats(0, 10))
def test_the_base_is_the_cheapest_level_at_every_rate_of_starts(
    choice: list[Option], rate: float
) -> None:
    """Of options as ``options`` gives them: each starts dearer and is held cheaper."""
    found = choice[-1].level
    for begins, level in bases(choice, ANY_TIME):
        if rate >= begins:
            found = level
    price = {option.level: option.holding + rate * option.start for option in choice}
    assert price[found] <= min(price.values()) + 1e-9


def test_no_base_is_late_if_one_is_in_time() -> None:
    choice = options(SNAPSHOT, Prices())[1:]
    assert bases(choice, ANY_TIME)[0][1] is Level.DISK
    assert bases(choice, 0.1)[0][1] is Level.CACHED


def test_the_break_even_is_where_holding_has_cost_a_start() -> None:
    warm, cold = options(PLAIN, Prices())
    assert break_even_s(cold, warm.holding) * warm.holding == pytest.approx(cold.start)
    # 4.2 s of CPU and of waiting at 1 an hour, against 450 MiB: minutes, not seconds.
    assert 600 < break_even_s(cold, warm.holding) < 3600


@settings(deadline=None)
@given(choice=_OPTIONS, quiet_s=st.floats(0, 100))
def test_the_ladder_costs_at_most_twice_what_the_best_level_would(
    choice: list[Option], quiet_s: float
) -> None:
    """The warmest level starts for nothing here, as an idle runner does."""
    choice = [Option(choice[0].level, 0.0, choice[0].holding, 0.0, 0.0), *choice[1:]]
    rest = down_the_ladder(choice, target_s=ANY_TIME, unsure_s=0.0)
    by_level = {option.level: option for option in choice}
    paid, at = 0.0, 0.0
    for step in rest:
        held_s = min(step.for_s, quiet_s - at)
        paid += held_s * by_level[step.level].holding
        at += held_s
        if at >= quiet_s:
            break
    paid += by_level[level_at(rest, quiet_s)].start
    best = min(option.holding * quiet_s + option.start for option in choice)
    assert paid <= 2 * best + 1e-9


def test_while_unsure_no_level_that_is_late_is_taken() -> None:
    choice = options(SNAPSHOT, Prices())
    hasty = down_the_ladder(choice, target_s=0.1, unsure_s=0.0)
    patient = down_the_ladder(choice, target_s=0.1, unsure_s=600.0)
    assert level_at(hasty, 599) is Level.DISK
    assert level_at(patient, 599) is not Level.DISK
    assert level_at(patient, 601) is Level.DISK


def after(gap_s: float, times: int = 30) -> list[Segment]:
    gaps = IdleTimes()
    for place in range(times):
        gaps.add(gap_s * (1 + 0.0002 * (place % 5)))
    return gaps.segments()


def test_a_timer_is_made_ready_before_it_fires_and_only_then() -> None:
    choice = options(PLAIN, Prices())
    rest = best_schedule(choice, after(3600.0), target_s=0.1, may_be_late=0.025, longest_s=4 * 3600)
    assert level_at(rest, 3600.0) is Level.WARM
    assert level_at(rest, 3594.0) is Level.WARM  # it takes 4.2 s to boot
    assert level_at(rest, 1800.0) is Level.NONE
    assert level_at(rest, 7000.0) is Level.NONE


def test_a_quick_restore_makes_a_warm_minute_waste() -> None:
    levels = {**SNAPSHOT, Level.WARM: Figures(start_s=0.0, memory_bytes=1000 * MIB)}
    rest = best_schedule(
        options(levels, Prices(waiting_hour=0.05)),
        after(60.0),
        target_s=1.0,
        may_be_late=1.0,
        longest_s=4 * 3600,
    )
    assert level_at(rest, 30.0) is Level.DISK


def test_the_target_is_met_where_holding_can_meet_it() -> None:
    gaps = IdleTimes()
    for place in range(200):
        gaps.add(10.0 * 1.02**place)
    segments = gaps.segments()
    choice = options(SNAPSHOT, Prices(waiting_hour=0.0))
    in_time = {o.level for o in choice if o.start_s <= 0.1}
    for late in (0.3, 0.1, 0.02):
        rest = best_schedule(choice, segments, target_s=0.1, may_be_late=late, longest_s=1e6)
        found = sum(
            s.ending for s in segments if level_at(rest, (s.begins_s + s.ends_s) / 2) not in in_time
        )
        assert found <= late + 1e-9


def test_nothing_is_held_for_longer_than_allowed() -> None:
    rest = best_schedule(
        options(SNAPSHOT, Prices()), after(50_000.0), target_s=0.0, may_be_late=0.0, longest_s=3600
    )
    assert level_at(rest, 50_000.0) is Level.DISK
