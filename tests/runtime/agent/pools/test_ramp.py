"""How many starts for inputs a pool has under way, where each input needs one."""

from __future__ import annotations

import time

import pytest

from rekindle.runtime.agent.pools import ramp
from rekindle.runtime.agent.pools.ramp import Ramp
from rekindle.wire.phases import Phase


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still unless a test moves it."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return clock


def test_a_few_begin_and_the_next_when_one_of_them_has_ended(now: list[float]) -> None:
    starts = Ramp(places=2)
    first, _second = starts.begun(), starts.begun()
    assert starts.room() == 0
    starts.ended(first)
    assert starts.room() == 1


def test_a_start_that_takes_long_holds_up_no_other(now: list[float]) -> None:
    starts = Ramp(places=2)
    first = starts.begun()
    now[0] += ramp.YOUNG_S / 2
    starts.begun()
    assert starts.room() == 0
    assert starts.room_in_s() == pytest.approx(ramp.YOUNG_S / 2)
    now[0] += 0.6 * ramp.YOUNG_S
    assert starts.room() == 1
    starts.ended(first)  # it has ended late: nobody gets its place twice
    assert starts.room() == 1


def test_where_hooks_take_most_of_a_start_all_begin_at_once(now: list[float]) -> None:
    starts = Ramp(places=1)
    starts.begun()
    starts.started(0, [(Phase.FORK, 9_000_000), (Phase.ENTER_RUNNER, 12_000_000)])
    assert starts.room() == 0
    starts.started(0, [(Phase.FORK, 9_000_000), (Phase.ENTER_RUNNER, 900_000_000)])
    assert starts.room() > 1000
