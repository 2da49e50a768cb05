"""Percentiles."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.bench.summary import median, percentile

values = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


@given(values)
def test_median_agrees_with_the_standard_library(numbers: list[float]) -> None:
    assert median(numbers) == pytest.approx(statistics.median(numbers))


@given(values, st.floats(0, 100))
def test_a_percentile_lies_between_the_extremes(numbers: list[float], q: float) -> None:
    slack = 1e-9 * max(numbers)
    assert min(numbers) - slack <= percentile(numbers, q) <= max(numbers) + slack


def test_percentiles_are_interpolated() -> None:
    assert percentile([10, 20, 30, 40, 50], 95) == pytest.approx(48)
    assert percentile([50, 10, 30, 20, 40], 0) == 10
    assert percentile([50, 10, 30, 20, 40], 100) == 50


def test_no_values_have_no_percentile() -> None:
    assert math.isnan(percentile([], 50))


@pytest.mark.parametrize("q", [-1, 100.1, math.nan])
def test_a_percentile_out_of_range_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        percentile([1.0], q)
