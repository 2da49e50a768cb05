"""Promises of starts, checked against figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from lab.checks import Check
from starting import promises
from starting.figures import Figures, StartFigures
from starting.promises import KINDS
from starting.strategies import FORK, RESTORE, SPARE
from tests.bench.startings import burst, figures, start

ALL = (
    promises.spares_are_short,
    promises.forks_are_short,
    promises.restores_are_short,
    promises.first_call_after_is_warm,
    promises.forks_are_cheap,
    promises.restores_are_cheap,
    promises.bursts_are_short,
    promises.fresh_processes_are_quick,
    promises.many_leave_nothing,
    promises.second_run_is_short,
)


@pytest.mark.parametrize("check", ALL)
def test_good_figures_keep_every_promise(check: Callable[[Figures], Check]) -> None:
    assert check(figures()).kept is True


@pytest.mark.parametrize("check", ALL)
def test_what_was_not_measured_is_neither_kept_nor_broken(
    check: Callable[[Figures], Check],
) -> None:
    found = check(Figures(machine={}))
    assert found.kept is None
    assert "nan" not in found.text


OF_STARTS = {
    SPARE: promises.spares_are_short,
    FORK: promises.forks_are_short,
    RESTORE: promises.restores_are_short,
}


@pytest.mark.parametrize(
    ("strategy", "took_ms"),
    [
        (SPARE, 1.05 * promises.SPARE_TO_BARE),
        (FORK, 1.05 * promises.FORK_TO_BARE),
        (RESTORE, 10.5 * promises.RESTORE_TO_SLEEP),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_start_of_any_kind_that_is_too_long_breaks_its_own_promise_alone(
    kind: str, strategy: str, took_ms: float
) -> None:
    whole = figures()
    whole.start(kind, strategy).runs[:] = [start(took_ms)] * 3
    kept = {name: check(whole).kept for name, check in OF_STARTS.items()}
    assert kept == {name: name != strategy for name in OF_STARTS}


def test_a_kind_without_a_figure_does_not_keep_it() -> None:
    whole = figures()
    whole.start(KINDS[2], SPARE).runs.clear()
    assert promises.spares_are_short(whole).kept is None


def test_starts_are_held_against_the_floors_of_their_own_run() -> None:
    whole = figures()
    whole.bare = [replace(one, ms=0.5) for one in whole.bare]
    assert promises.forks_are_short(whole).kept is False
    assert promises.restores_are_short(whole).kept is True
    whole.sleep_ms = [5.0]
    assert promises.restores_are_short(whole).kept is False


def test_the_call_after_a_start_is_held_against_later_ones() -> None:
    whole = figures()
    whole.start(KINDS[1], RESTORE).runs[:] = [
        start(16.0, second_ms=0.11 * promises.SECOND_TO_LATER)
    ]
    assert promises.first_call_after_is_warm(whole).kept is False


@pytest.mark.parametrize(
    ("check", "strategy", "client_ms"),
    [
        (promises.forks_are_cheap, FORK, 0.4 + 0.1 * promises.FORK_CPU_TO_BARE),
        (promises.restores_are_cheap, RESTORE, 0.4 + 0.1 * promises.RESTORE_CPU_TO_BARE),
    ],
)
def test_the_processor_time_of_the_client_counts(
    check: Callable[[Figures], Check], strategy: str, client_ms: float
) -> None:
    whole = figures()
    whole.cpu = [
        replace(one, client_ms=client_ms) if one.strategy == strategy else one for one in whole.cpu
    ]
    assert check(whole).kept is False


def test_processor_time_is_a_sum_so_one_dear_floor_counts_by_its_share() -> None:
    whole = figures()
    whole.cpu = [replace(one, bare_ms=[0.1, 0.1, 1.3]) for one in whole.cpu]
    assert promises.forks_are_cheap(whole).kept is True


def test_a_burst_of_another_size_or_strategy_neither_keeps_nor_breaks_it() -> None:
    whole = figures()
    whole.bursts = [burst(FORK, 99.0, at_once=8), burst(SPARE, 99.0)]
    assert promises.bursts_are_short(whole).kept is None
    whole.bursts.append(burst(FORK, 1.04 * promises.BURST_TO_BARE))
    assert promises.bursts_are_short(whole).kept is False


def test_fresh_processes_count_only_when_they_were_sustained() -> None:
    whole = figures()
    assert whole.fresh is not None
    whole.fresh.seconds = 3.0
    assert promises.fresh_processes_are_quick(whole).kept is None
    whole.fresh.seconds = 20.0
    whole.fresh.ours = replace(whole.fresh.ours, per_second=75.0 * promises.TIMES_POOL * 0.9)
    assert promises.fresh_processes_are_quick(whole).kept is False


def test_a_pool_that_hangs_is_no_figure_to_be_ahead_of() -> None:
    whole = figures()
    assert whole.fresh is not None
    whole.fresh.pool = replace(whole.fresh.pool, per_second=0.0, errors=("hangs",))
    assert promises.fresh_processes_are_quick(whole).kept is None


@pytest.mark.parametrize("what", ["failed", "left", "grown"])
def test_one_thing_that_is_left_of_thousands_breaks_it(what: str) -> None:
    whole = figures()
    row = whole.endurance[1]
    if what == "failed":
        row.errors.append("StartError: no")
    elif what == "left":
        row.left["descriptors: agent"] = 1
    else:
        row.growth_bytes["agent"] = 17 << 20
    assert promises.many_leave_nothing(whole).kept is False


def test_fewer_in_a_row_than_promised_do_not_keep_it_but_can_break_it() -> None:
    whole = figures()
    whole.endurance[0].starts = 200
    assert promises.many_leave_nothing(whole).kept is None
    whole.endurance[0].errors.append("StartError: no")
    assert promises.many_leave_nothing(whole).kept is False


def test_a_second_run_is_held_against_an_interpreter_that_does_nothing() -> None:
    whole = figures()
    assert whole.shell is not None
    whole.shell.second.wall_ms[:] = [21.0 + promises.SECOND_RUN_MS]
    assert promises.second_run_is_short(whole).kept is False


def test_errors_say_where_they_belong() -> None:
    whole = figures()
    whole.starts.append(StartFigures("x", FORK, errors=["StartError: no"]))
    whole.bursts[0].errors.append("StartError: full")
    whole.undone.append("Starts in a row: HangsError")
    assert whole.errors == [
        "Starts in a row: HangsError",
        "x, fork: StartError: no",
        f"{KINDS[0]}, fork: StartError: full",
    ]
