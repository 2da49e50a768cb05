"""Calls of which it is known which strategy served them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rekindle.bench.records import Run
from rekindle.bench.target import FunctionTarget
from rekindle.exception import StrategyUnavailableError
from rekindle.sdk.calls import records
from rekindle.sdk.calls.call_record import CallRecord
from rekindle.wire.phases import Strategy


def forced(function: Any, strategy: Strategy, *args: Any) -> Callable[[], Run]:
    """A call of ``function(*args)``, as something that can be measured again and again."""
    target = FunctionTarget(function, args)

    def measure() -> Run:
        measured = target.call(strategy)
        if measured.strategy != strategy.value:
            raise StrategyUnavailableError(
                f"asked for {strategy.value}, served by {measured.strategy or 'an unknown one'}"
            )
        return measured.run

    return measure


def plain(function: Any, expected: Strategy, *args: Any) -> tuple[float, Any, CallRecord]:
    """A call as any user makes it: its milliseconds, value and record.

    Raises StrategyUnavailableError where another strategy than the expected one served it.
    """
    with records.collect() as finished:
        began = time.perf_counter_ns()
        value = function.remote(*args)
        took = (time.perf_counter_ns() - began) / 1e6
    record = finished[-1]
    if record.strategy != expected.value:
        notes = f" ({'; '.join(record.notes)})" if record.notes else ""
        raise StrategyUnavailableError(
            f"{expected.value} was expected, {record.strategy} served{notes}"
        )
    return took, value, record


def prepare(function: Any, strategy: Strategy) -> None:
    """Make a strategy possible. Raises StrategyUnavailableError."""
    FunctionTarget(function, prepare_timeout_s=900.0).prepare(strategy)
