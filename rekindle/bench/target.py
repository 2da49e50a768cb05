"""A function of a running app as what the bench harness measures.

The total is taken around ``.remote()`` itself; the phases are those of the call's record.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from rekindle.bench.harness import Measurement
from rekindle.bench.records import Run
from rekindle.exception import InternalFailure
from rekindle.sdk.calls import records
from rekindle.sdk.connection.background import background
from rekindle.sdk.function import Function
from rekindle.sdk.running import ask_strategy
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import Strategy

#: A heartbeat comes every second.
_MEMORY_WAIT_S = 2.5


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

    def memory(self, runner_ids: Collection[str]) -> dict[str, int]:
        """What the agents have reported of these runners; they do it with a heartbeat."""
        deadline = time.monotonic() + _MEMORY_WAIT_S
        while True:
            known = self._reported()
            if set(runner_ids) <= known.keys() or time.monotonic() > deadline:
                return {name: size for name, size in known.items() if name in runner_ids}
            time.sleep(0.2)  # the status has no event to wait for

    def _reported(self) -> dict[str, int]:
        client, _, _ = self.function._declaration.resolve()
        request = client.request("Status", pb.StatusRequest(), pb.StatusReply)
        agents = background().run(request).agents
        runners = [one for agent in agents for one in agent.stats.runners if one.pss_bytes]
        known = {runner.id: runner.pss_bytes for runner in runners}
        return known | dict(
            one for agent in agents for one in agent.stats.measured_pss_bytes.items()
        )
