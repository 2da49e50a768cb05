import pytest

from rekindle.controller import policies
from rekindle.controller.policies.histogram import HistogramSizer, forecast
from rekindle.wire.pools import Level
from tests.controller.policies.views import view


def told(gaps_s: list[float], **parameters: float) -> tuple[HistogramSizer, float]:
    """A sizer that has seen these idle times, and when it is now."""
    sizer = policies.make("histogram", **parameters).sizer()
    assert isinstance(sizer, HistogramSizer)
    now = 0.0
    sizer.arrived(now)
    for gap in gaps_s:
        sizer.quiet(now)
        now += gap
        sizer.arrived(now)
    sizer.quiet(now)
    return sizer, now


def test_an_hourly_function_is_stopped_at_once_and_started_again_before_the_hour() -> None:
    sizer, now = told([3600.0 + i for i in range(20)])
    plan = sizer.plan(view(now))
    # 5th percentile: bin 60, 10 % earlier; 99th: the end of bin 60, 10 % later.
    assert [step.level for step in plan.rest] == [Level.DISK, Level.WARM, Level.DISK]
    assert plan.rest[0].for_s == pytest.approx(3600 * 0.9)
    assert plan.rest[0].for_s + plan.rest[1].for_s == pytest.approx(3660 * 1.1)
    assert plan.keep_s == 0
    assert plan.wanted(0, 3000) == 0
    assert plan.wanted(0, 3600) == 1


def test_a_busy_function_is_kept_through_its_short_idle_times() -> None:
    sizer, now = told([1.0, 20.0, 3.0, 45.0] * 10)
    plan = sizer.plan(view(now))
    assert plan.keep_s == pytest.approx(66.0)  # the first bin, and the margin
    assert plan.level_at(0.0) is Level.WARM


def test_idle_times_without_a_pattern_fall_back_to_the_whole_range() -> None:
    sizer, now = told([60.0 * i + 30 for i in range(240)])  # one in each bin: variation 0
    plan = sizer.plan(view(now))
    assert plan.keep_s == 4 * 3600
    assert "no pattern" in plan.why


def test_a_function_never_idle_before_is_kept_for_the_whole_range() -> None:
    sizer, now = told([])
    assert sizer.plan(view(now)).keep_s == 4 * 3600


def test_idle_times_beyond_the_histogram_are_forecast() -> None:
    sizer, now = told([6 * 3600.0] * 5)
    plan = sizer.plan(view(now))
    assert "forecast" in plan.why
    assert plan.rest[0].for_s == pytest.approx(6 * 3600 * 0.85)
    assert plan.rest[1].for_s == pytest.approx(6 * 3600 * 0.3)


def test_a_few_idle_times_out_of_bounds_do_not_hide_the_histogram() -> None:
    sizer, now = told([30.0] * 9 + [6 * 3600.0])
    assert "histogram of 9" in sizer.plan(view(now)).why


def test_the_forecast_follows_an_alternating_series() -> None:
    assert forecast([10.0, 20.0] * 8) == pytest.approx(10.0, abs=1.5)
    assert forecast([10.0, 20.0] * 8 + [10.0]) == pytest.approx(20.0, abs=1.5)
    assert forecast([7.0]) == 7.0
    assert forecast([5.0, 5.0, 5.0]) == 5.0


def test_the_coefficient_of_variation_is_that_of_the_bins() -> None:
    sizer, _ = told([30.0, 30.0, 90.0])
    counts = [2, 1] + [0] * 238
    mean = sum(counts) / 240
    expected = (sum((c - mean) ** 2 for c in counts) / 240) ** 0.5 / mean
    assert sizer.variation() == pytest.approx(expected)
