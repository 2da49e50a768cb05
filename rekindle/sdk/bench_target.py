"""A function of a running app as what the bench harness measures.

The total is taken around ``.remote()`` itself; the phases are those of the call's record.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from rekindle.bench.harness import Measurement
from rekindle.bench.records import Run
from rekindle.exception import InternalFailure
from rekindle.sdk import records
from rekindle.sdk.function import Function
from rekindle.sdk.running import ask_strategy
from rekindle.wire.phases import Strategy


@dataclass(frozen=True)
class FunctionTarget:
    """``function.remote(*args, **kwargs)``, in an app that runs."""

    function: Function[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    prepare_timeout_s: float = 600.0

    @property
    def name(self) -> str:
        """``f`` or ``Cls.method``."""
        return self.function.name

    def prepare(self, strategy: Strategy) -> None:
        """Make the strategy possible; StrategyUnavailableError with the reason where it is not."""
        self.function.prepare(strategy.value, self.prepare_timeout_s)

    def call(self, strategy: Strategy) -> Measurement:
        """Call by exactly this strategy; raises what the call raises."""
        with records.collect() as finished, ask_strategy(strategy.value):
            began = time.perf_counter_ns()
            value = self.function.remote(*self.args, **self.kwargs)
            total_ms = (time.perf_counter_ns() - began) / 1e6
        if not finished:
            raise InternalFailure(f"{self.name}: the call left no record")
        record = finished[-1]
        run = Run(
            total_ms=total_ms,
            phases=record.phases,
            pss_bytes=record.pss_bytes,
            runner_id=record.runner_id,
        )
        return Measurement(strategy=record.strategy, value=value, run=run)
