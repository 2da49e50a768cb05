"""Measure the same call by each strategy, interleaved.

Interleaved, because machines drift (other tenants, frequency, page cache), and a strategy that is
measured in one block would get one moment of that. What a call is, the ``Target`` knows; nothing
here knows of the SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rekindle.bench.records import Report, Run, StrategyResult
from rekindle.exception import Error, InvalidError
from rekindle.wire.phases import Strategy

#: The order of tables and plots: slowest first.
STRATEGIES = (Strategy.COLD, Strategy.RESTORE, Strategy.FORK, Strategy.WARM)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a target reports of a call: which strategy served it, its value, and its figures."""

    strategy: str
    value: Any
    run: Run


class Target(Protocol):
    """One call that can be made by any strategy."""

    @property
    def name(self) -> str:
        """What is called, as the reader knows it: ``Embedder.embed``."""
        ...

    def prepare(self, strategy: Strategy) -> None:
        """Make the strategy possible, outside of what is measured; a rekindle error where not."""
        ...

    def call(self, strategy: Strategy) -> Measurement:
        """Make the call by exactly this strategy; raises what the call raises."""
        ...

    def memory(self, runner_ids: Collection[str]) -> dict[str, int]:
        """Proportional set sizes in bytes of runners, as far as they are known by now."""
        ...


#: Called before a strategy is prepared, which may take as long as a cold start and a dump.
Preparing = Callable[[Strategy], None]
#: Called after each run: the strategy, the runs done of all, the run, or the error of the run.
Progress = Callable[[Strategy, int, int, Run | None, str | None], None]
#: Called with the value of each run: the place where a caller checks answers.
OnValue = Callable[[Strategy, Any], None]


def parse_strategies(text: str) -> list[Strategy]:
    """Read ``"cold,fork"``: each strategy once, in its order; InvalidError for other words."""
    known = ", ".join(STRATEGIES)
    words = dict.fromkeys(word for part in text.split(",") if (word := part.strip().lower()))
    for word in words:
        if word not in STRATEGIES:
            raise InvalidError(f"unknown strategy {word!r}; choose from {known}")
    if not words:
        raise InvalidError(f"no strategy given; choose from {known}")
    return list(map(Strategy, words))


def measure(
    target: Target,
    *,
    strategies: Sequence[Strategy],
    runs: int,
    machine: dict[str, Any],
    preparing: Preparing | None = None,
    progress: Progress | None = None,
    on_value: OnValue | None = None,
) -> Report:
    """Call ``target`` ``runs`` times by each strategy and report.

    A run that fails, or that was served by another strategy than the one asked for, is an error
    of that run: it is in the report and not among the figures. An exception of the user's code
    ends the measurement: it would come again in every run.
    """
    if runs < 1:
        raise InvalidError(f"at least one run is needed, not {runs}")
    results = {strategy: StrategyResult(strategy=strategy.value) for strategy in strategies}
    impossible = _prepare_all(target, strategies, preparing)
    total = runs * len(strategies)
    done = 0
    for _ in range(runs):
        for strategy in strategies:
            run, error = None, impossible.get(strategy)
            if error is None:
                run, error = _one(target, strategy, on_value)
            if run is not None:
                results[strategy].runs.append(run)
            if error is not None:
                results[strategy].errors.append(error)
            done += 1
            if progress is not None:
                progress(strategy, done, total, run, error)
    _fill_in_memory(target, list(results.values()))
    return Report(function=target.name, machine=machine, results=list(results.values()))


def _prepare_all(
    target: Target, strategies: Sequence[Strategy], preparing: Preparing | None
) -> dict[Strategy, str]:
    """Everything that a strategy needs, made before the first measurement.

    So that no template boots and no snapshot is written during a call that is measured. Returns
    the reasons of those that cannot be taken; waiting for these again in each run would be in vain.
    """
    impossible: dict[Strategy, str] = {}
    for strategy in strategies:
        if preparing is not None:
            preparing(strategy)
        try:
            target.prepare(strategy)
        except Error as error:
            impossible[strategy] = _in_words(error)
    return impossible


def _one(
    target: Target, strategy: Strategy, on_value: OnValue | None
) -> tuple[Run | None, str | None]:
    try:
        target.prepare(strategy)
        measured = target.call(strategy)
    except Error as error:  # rekindle's own: the strategy could not be taken, a runner died
        return None, _in_words(error)
    if measured.strategy != strategy.value:
        return None, (
            f"asked for {strategy.value}, served by {measured.strategy or 'an unknown strategy'}"
        )
    if on_value is not None:
        on_value(strategy, measured.value)
    return measured.run, None


def _fill_in_memory(target: Target, results: Sequence[StrategyResult]) -> None:
    """Sizes that were not known when a call returned: measuring them takes time of its own."""
    unknown = {run.runner_id for r in results for run in r.runs if not run.pss_bytes}
    known = target.memory(unknown) if unknown else {}
    for result in results:
        result.runs = [
            replace(run, pss_bytes=run.pss_bytes or known.get(run.runner_id, 0))
            for run in result.runs
        ]


def _in_words(error: Error) -> str:
    return f"{type(error).__name__}: {error}"
