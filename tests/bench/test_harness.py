"""The order of a measurement, and what counts as an error of a run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import pytest

from rekindle.bench.harness import Measurement, measure, parse_strategies
from rekindle.bench.records import Run
from rekindle.exception import InvalidError, RunnerLostError, StrategyUnavailableError
from rekindle.wire.phases import Strategy

ALL = [Strategy.COLD, Strategy.RESTORE, Strategy.FORK, Strategy.WARM]


@dataclass
class FakeTarget:
    """Answers at once with ``served_by(strategy)``; remembers what was done to it."""

    served_by: Callable[[Strategy], str] = lambda strategy: strategy.value
    name: str = "f"
    done: list[tuple[str, str]] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    def prepare(self, strategy: Strategy) -> None:
        self.done.append(("prepare", strategy.value))

    def call(self, strategy: Strategy) -> Measurement:
        self.done.append(("call", strategy.value))
        run = Run(total_ms=1.0, phases={"execute": 1.0}, runner_id=f"ru-{len(self.done)}")
        return Measurement(strategy=self.served_by(strategy), value=len(self.done), run=run)

    def memory(self, runner_ids: Collection[str]) -> dict[str, int]:
        return {name: size for name, size in self.sizes.items() if name in runner_ids}


def test_all_is_prepared_first_then_strategies_take_turns_and_each_call_is_prepared() -> None:
    target = FakeTarget()
    asked: list[Strategy] = []
    report = measure(target, strategies=ALL, runs=3, machine={}, preparing=asked.append)
    before = [("prepare", strategy.value) for strategy in ALL]
    once = [(step, strategy.value) for strategy in ALL for step in ("prepare", "call")]
    assert target.done == before + once * 3
    assert asked == ALL
    assert [len(result.runs) for result in report.results] == [3, 3, 3, 3]
    assert report.errors == []


def test_a_call_served_by_another_strategy_is_an_error_of_that_run() -> None:
    target = FakeTarget(served_by=lambda s: "cold" if s is Strategy.FORK else s.value)
    report = measure(target, strategies=[Strategy.FORK, Strategy.WARM], runs=2, machine={})
    fork, warm = report.results
    assert fork.runs == []
    assert fork.errors == ["asked for fork, served by cold"] * 2
    assert len(warm.runs) == 2


@dataclass
class Unavailable(FakeTarget):
    error: Exception = field(default_factory=lambda: StrategyUnavailableError("no snapshot yet"))
    asked: int = 0

    def prepare(self, strategy: Strategy) -> None:
        if strategy is Strategy.RESTORE:
            self.asked += 1
            raise self.error


@pytest.mark.parametrize("error", [StrategyUnavailableError("gone"), RunnerLostError("gone")])
def test_a_strategy_that_cannot_be_taken_does_not_stop_the_others(error: Exception) -> None:
    target = Unavailable(error=error)
    report = measure(target, strategies=ALL, runs=2, machine={})
    assert target.asked == 1  # not again in each run: a preparation can take long
    assert report.errors == [f"restore: {type(error).__name__}: gone"] * 2
    assert [len(result.runs) for result in report.results] == [2, 0, 2, 2]


def test_an_exception_of_the_users_code_ends_the_measurement() -> None:
    with pytest.raises(KeyError):
        measure(Unavailable(error=KeyError("x")), strategies=ALL, runs=2, machine={})


def test_progress_and_values_are_told_as_they_come() -> None:
    told: list[tuple[str, int, int, bool]] = []
    values: list[tuple[str, Any]] = []
    measure(
        FakeTarget(),
        strategies=[Strategy.COLD, Strategy.WARM],
        runs=2,
        machine={},
        progress=lambda s, done, total, run, _: told.append((s.value, done, total, bool(run))),
        on_value=lambda strategy, value: values.append((strategy.value, value)),
    )
    assert told == [
        ("cold", 1, 4, True),
        ("warm", 2, 4, True),
        ("cold", 3, 4, True),
        ("warm", 4, 4, True),
    ]
    assert [strategy for strategy, _ in values] == ["cold", "warm", "cold", "warm"]


def test_sizes_of_runners_that_are_told_late_are_filled_in() -> None:
    target = FakeTarget(sizes={"ru-3": 30, "ru-7": 70, "ru-99": 1})
    report = measure(target, strategies=[Strategy.WARM], runs=3, machine={})
    assert [run.pss_bytes for run in report.results[0].runs] == [30, 0, 70]


def test_no_runs_are_refused() -> None:
    with pytest.raises(InvalidError, match="at least one run"):
        measure(FakeTarget(), strategies=ALL, runs=0, machine={})


def test_strategies_are_read_from_text() -> None:
    assert parse_strategies(" warm, COLD,warm ") == [Strategy.WARM, Strategy.COLD]
    with pytest.raises(InvalidError, match="'tepid'; choose from cold, restore, fork, warm"):
        parse_strategies("cold,tepid")
    with pytest.raises(InvalidError, match="no strategy given"):
        parse_strategies(" , ")
