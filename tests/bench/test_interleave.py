"""Measurements that are spread over one run."""

from __future__ import annotations

from collections.abc import Callable

from lab import interleave
from lab.interleave import Entry
from rekindle.bench.records import Run
from rekindle.exception import StartError


def taking(took_ms: float) -> Callable[[], Run]:
    return lambda: Run(total_ms=took_ms, phases={})


def test_the_runs_of_each_are_spread_from_beginning_to_end() -> None:
    entries = [Entry("often", taking(1), 6), Entry("seldom", taking(100), 2)]
    order = [entry.name for entry in interleave.schedule(entries)]
    assert order.count("often") == 6 and order.count("seldom") == 2
    first, second = (place for place, name in enumerate(order) if name == "seldom")
    assert first < len(order) / 2 <= second
    assert "often" in order[first + 1 : second]


def test_equally_frequent_ones_take_turns() -> None:
    entries = [Entry("a", taking(1), 3), Entry("b", taking(1), 3)]
    assert [entry.name for entry in interleave.schedule(entries)] == ["a", "b"] * 3


def test_everything_is_settled_before_each_run_and_every_run_is_told() -> None:
    settled: list[int] = []
    told: list[tuple[str, float | None, str]] = []
    results = interleave.measure(
        [Entry("a", taking(1.5), 2)],
        settle=lambda: settled.append(len(told)),
        report=lambda *what: told.append(what),
    )
    assert settled == [0, 1]
    assert told == [("a", 1.5, "")] * 2
    assert [run.total_ms for run in results["a"].runs] == [1.5, 1.5]


def test_a_run_that_fails_is_an_error_and_the_others_go_on() -> None:
    def fail() -> Run:
        raise StartError("no runner came")

    told: list[tuple[str, float | None, str]] = []
    results = interleave.measure(
        [Entry("a", fail, 2), Entry("b", taking(1), 2)], report=lambda *what: told.append(what)
    )
    assert results["a"].errors == ["StartError: no runner came"] * 2
    assert not results["a"].runs and len(results["b"].runs) == 2
    assert ("a", None, "StartError: no runner came") in told
