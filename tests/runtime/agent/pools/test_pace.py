"""Slice sizes, hand-overs ahead and new runners, from measured times."""

from __future__ import annotations

import pytest

from rekindle.runtime.agent.pools.backoff import Backoff
from rekindle.runtime.agent.pools.pace import MAX_SLICE, Pace


def measured(service_s: float, start_s: float = 0.03) -> Pace:
    pace = Pace()
    pace.note(100, 100 * service_s)
    pace.started(start_s)
    return pace


def test_the_first_slice_is_one_input_because_nothing_is_known() -> None:
    assert Pace().slice_size(10_000) == 1
    assert not Pace().ahead


@pytest.mark.parametrize(
    ("service_s", "share", "size"),
    [
        (5e-6, 10_000, MAX_SLICE),
        (1e-3, 10_000, MAX_SLICE),
        (1e-3, 6, 6),
        (10e-3, 16, 16),  # a backlog: fewer wake-ups
        (10e-3, 157, 25),
        (30e-3, 157, 1),
        (60.0, 500, 1),
        (5e-6, 13, 13),
        (5e-6, 0, 1),  # at least what it is for
    ],
)
def test_a_slice_is_a_share_of_the_backlog_of_a_quarter_of_a_second_at_most(
    service_s: float, share: int, size: int
) -> None:
    assert measured(service_s).slice_size(share) == size


def test_what_waits_lasts_as_long_as_it_takes_for_all_runners_together() -> None:
    assert measured(10e-3).lasts(0.02, waiting=4, takers=2)
    assert not measured(10e-3).lasts(0.02, waiting=3, takers=2)
    assert not measured(10.0).lasts(0.02, waiting=0, takers=2)
    assert not Pace().lasts(0.02, waiting=1000, takers=2)  # nothing is known


def test_what_a_runner_has_before_it_is_shared_where_that_pays() -> None:
    assert not Pace().worth_sharing(100)
    assert measured(10e-3).worth_sharing(2)
    assert not measured(10e-3).worth_sharing(1)
    assert not measured(1e-3).worth_sharing(9)
    assert measured(1e-3).worth_sharing(10)


def test_only_quick_inputs_are_handed_over_ahead() -> None:
    assert measured(10e-3).ahead
    assert not measured(0.5).ahead


def test_runners_are_started_for_work_that_outlasts_a_start() -> None:
    assert Pace().runners_for(7) == 7
    assert measured(1.0).runners_for(7) == 7
    assert measured(10e-6).runners_for(500) == 0
    assert measured(10e-3).runners_for(300) == 100
    assert measured(1.0, start_s=10.0).runners_for(25) == 2


def test_an_input_that_turns_out_slow_counts_while_it_still_runs() -> None:
    pace = measured(10e-6)
    pace.running_s = 5.0
    assert pace.runners_for(3) == 3


def test_the_measured_time_follows_what_inputs_take_now() -> None:
    pace = measured(10e-6)
    for _ in range(20):
        pace.note(1, 0.1)
    assert pace.service_s == pytest.approx(0.1, rel=0.01)
    pace.note(0, 0)
    assert pace.service_s == pytest.approx(0.1, rel=0.01)


def test_one_failed_start_delays_what_nobody_waits_for_and_three_are_a_loop() -> None:
    backoff = Backoff()
    backoff.start_failed()
    assert 0 < backoff.left_s() <= 1 and not backoff.is_loop
    backoff.start_failed()
    backoff.start_failed()
    assert 3 < backoff.left_s() <= 4 and backoff.is_loop
    backoff.started()
    assert backoff.left_s() == 0 and not backoff.is_loop


def test_runners_that_die_one_after_the_other_are_a_loop_until_one_serves() -> None:
    backoff = Backoff()
    backoff.died()
    backoff.died()
    assert backoff.left_s() == 0
    for _ in range(20):
        backoff.died()
        backoff.started()  # starts succeed all the time
    assert 59 < backoff.left_s() <= 60 and backoff.is_loop
    assert backoff.deaths == 22
    backoff.served()
    assert backoff.left_s() == 0 and not backoff.is_loop
