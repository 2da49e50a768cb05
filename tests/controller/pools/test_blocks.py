"""How arrivals are stored: nothing is lost, and a time takes a few bytes."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from rekindle.controller.pools.blocks import (
    Minutes,
    pack_arrivals,
    pack_minutes,
    unpack_arrivals,
    unpack_minutes,
)


@given(st.lists(st.tuples(st.integers(0, 10**13), st.integers(1, 10**6)), max_size=50))
def test_packed_arrivals_come_back_to_the_millisecond(raw: list[tuple[int, int]]) -> None:
    arrivals = [(at_ms / 1000, count) for at_ms, count in sorted(raw)]
    back = unpack_arrivals(pack_arrivals(arrivals))
    assert [(round(at * 1000), count) for at, count in back] == [
        (round(at * 1000), count) for at, count in arrivals
    ]


def test_an_arrival_takes_a_few_bytes() -> None:
    rng = random.Random(1)
    at = 1.7e9
    arrivals = []
    for _ in range(1024):
        at += rng.expovariate(0.2)
        arrivals.append((at, 1))
    assert len(pack_arrivals(arrivals)) < 4 * 1024


def test_minutes_come_back_and_an_empty_day_takes_next_to_nothing() -> None:
    minutes = Minutes()
    minutes.count(0, 3)
    minutes.count(1439, 1)
    minutes.count(1439, 1)
    packed = pack_minutes(minutes)
    assert list(unpack_minutes(packed).counted()) == [(0, 3), (1439, 2)]
    assert len(packed) < 100
