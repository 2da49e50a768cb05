"""Promises of restores and forks, checked against figures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.checks import Check
from restoring import promises, scaling
from restoring.scaling import AtOnceFigures, Figures, SharedFigures
from tests.bench.scales import figures, size

ALL = (
    promises.restore_is_flat,
    promises.restore_is_faster,
    promises.fork_is_flat,
    promises.memory_is_shared,
    promises.concurrent_restores_succeed,
)


@pytest.mark.parametrize("check", ALL)
def test_good_figures_keep_every_promise(check: Callable[[Figures], Check]) -> None:
    assert check(figures()).kept is True


@pytest.mark.parametrize("check", ALL)
def test_what_was_not_measured_is_neither_kept_nor_broken(
    check: Callable[[Figures], Check],
) -> None:
    found = check(Figures(machine={}))
    assert found.kept is None or "0 of 0" in found.text
    assert "nan" not in found.text


@pytest.mark.parametrize(
    ("check", "changed"),
    [
        (promises.restore_is_flat, {"FLOOR": 16.0}),  # 25 / 16 is over 1.5
        (promises.restore_is_flat, {"SMALL": 19.0}),
        (promises.restore_is_faster, {"COPIED": 1200.0}),
        (promises.restore_is_faster, {"COLD": 7000.0}),
        (promises.fork_is_flat, {"FORK": 19.0}),
        (promises.fork_is_flat, {"SMALL_FORK": 2.0}),
    ],
)
def test_one_broken_half_breaks_it(
    check: Callable[[Figures], Check], changed: dict[str, float]
) -> None:
    whole = figures()
    whole.sizes[1] = size(4.0, **changed)
    assert check(whole).kept is False


def test_flatness_is_checked_at_the_largest_size_there_is() -> None:
    whole = figures()
    whole.sizes = [size(0.1), size(0.5, FLOOR=10.0)]
    found = promises.restore_is_flat(whole)
    assert found.kept is False and found.text.startswith("at 0.5 GB")


def test_times_faster_are_promised_of_the_full_size_alone() -> None:
    whole = figures()
    whole.sizes = [size(0.1), size(0.5)]
    assert promises.restore_is_faster(whole).kept is None


def test_a_half_that_is_missing_does_not_hide_that_the_other_is_broken() -> None:
    whole = figures()
    whole.sizes[1] = size(4.0, FLOOR=10.0)
    del whole.sizes[1].results[scaling.SMALL]
    assert promises.restore_is_flat(whole).kept is False
    whole.sizes[1] = size(4.0)
    del whole.sizes[1].results[scaling.SMALL]
    assert promises.restore_is_flat(whole).kept is None


def test_memory_counts_only_with_enough_runners() -> None:
    whole = figures()
    whole.shared = SharedFigures(model_bytes=1, alone_pss_bytes=100, pss_bytes=[50] * 8)
    assert promises.memory_is_shared(whole).kept is False
    whole.shared = SharedFigures(model_bytes=1, alone_pss_bytes=100, pss_bytes=[50] * 2)
    assert promises.memory_is_shared(whole).kept is None


def test_a_slow_way_to_the_node_does_not_break_the_promise_of_forks() -> None:
    whole = figures()
    for run in whole.sizes[1].results[scaling.FORK].runs:
        run.phases["queue"] = 100.0
    assert promises.fork_is_flat(whole).kept is True


def test_one_failed_restore_of_fifty_breaks_it_and_forks_do_not_count() -> None:
    whole = figures()
    whole.at_once[0].errors.append("StartError: no")
    assert promises.concurrent_restores_succeed(whole).kept is False
    whole.at_once = [
        AtOnceFigures(what="x", strategy="fork", at_once=50, took_ms=[1.0], cpu_ms=1.0)
    ]
    assert promises.concurrent_restores_succeed(whole).kept is None
