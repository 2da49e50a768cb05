import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.controller.policies.bursts import AT_ONCE_S, MOST, Bursts


def seen(sizes: list[int], apart_s: float = 10.0) -> tuple[Bursts, float]:
    """Bursts of these sizes, and when the last has begun."""
    bursts, now = Bursts(), 0.0
    for place, size in enumerate(sizes):
        now = apart_s * place
        for number in range(size):
            bursts.arrived(now + AT_ONCE_S * number / (2 * size))
    return bursts, now


def test_inputs_at_once_are_one_burst_and_count_once_it_is_over() -> None:
    bursts, now = seen([3, 1, 3, 1])
    assert bursts.total == 4
    assert bursts.rate(1, now) == pytest.approx(3 / now)
    assert bursts.rate(2, now) == bursts.rate(3, now) == pytest.approx(2 / now)
    assert bursts.rate(4, now) == 0.0


@given(st.lists(st.integers(1, 2 * MOST), min_size=2, max_size=60))
def test_larger_bursts_are_never_more_frequent(sizes: list[int]) -> None:
    bursts, now = seen(sizes)
    rates = [bursts.rate(size, now) for size in range(1, MOST + 1)]
    assert rates == sorted(rates, reverse=True)
    large = sum(size >= MOST for size in sizes[:-1])
    assert rates[-1] == pytest.approx(large / now)


def test_a_stream_without_a_pause_is_many_bursts() -> None:
    bursts = Bursts()
    for place in range(1000):
        bursts.arrived(0.001 * place)
    assert bursts.total == pytest.approx(1.0 / AT_ONCE_S, rel=0.1)


def test_what_was_long_ago_counts_less() -> None:
    bursts, now = seen([4] * 600 + [1] * 5000)
    assert bursts.rate(4, now) < 0.2 * 600 / now
    assert bursts.rate(1, now) == pytest.approx(0.1, rel=0.05)
    assert math.isfinite(bursts.rate(1, now))
