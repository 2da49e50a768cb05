"""Calls that are made by exactly one strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rekindle.bench.records import Run
from rekindle.exception import StrategyUnavailableError
from rekindle.sdk.bench_target import FunctionTarget
from rekindle.wire.phases import Strategy


def forced(
    function: Any,
    strategy: Strategy,
    *args: Any,
    on_value: Callable[[Any], None] | None = None,
) -> Callable[[], Run]:
    """A call of ``function(*args)``, as something that can be measured again and again."""
    target = FunctionTarget(function, args)

    def measure() -> Run:
        measured = target.call(strategy)
        if measured.strategy != strategy.value:
            raise StrategyUnavailableError(
                f"asked for {strategy.value}, served by {measured.strategy or 'an unknown one'}"
            )
        if on_value is not None:
            on_value(measured.value)
        return measured.run

    return measure


def prepare(function: Any, strategy: Strategy) -> None:
    """Make a strategy possible. Raises StrategyUnavailableError."""
    FunctionTarget(function, prepare_timeout_s=900.0).prepare(strategy)
