"""What ``rekindle tune`` is given, what it replays for that, and what comes of it.

Shows nothing but progress, and writes nothing.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rekindle.bench.tune import costs
from rekindle.bench.tune import recorded as records
from rekindle.bench.tune.load import load
from rekindle.bench.tune.pools import Node
from rekindle.bench.tune.search import (
    Recommendation,
    Tried,
    pareto,
    recommend,
    try_all,
    with_spares,
)
from rekindle.bench.tune.settings import Setting, candidates, spare_counts
from rekindle.bench.tune.trace import Trace
from rekindle.cli import operator
from rekindle.controller.policies import REGISTRY
from rekindle.controller.policies.policy import GIB, Prices
from rekindle.counted import counted
from rekindle.sdk.connection.client import Client
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.pools import Level


@dataclass(frozen=True)
class Given:
    """The options."""

    function: str | None
    trace_file: Path | None
    format_: str | None
    recorded: Path | None
    export: Path | None
    article: bool
    names: tuple[str, ...]
    target_ms: float
    percentile: int
    gib_hour: float
    gpu_hour: float
    cpu_hour: float
    memory_gib: float | None
    max_runners: int | None
    costs: str | None
    service_ms: float
    gpus: float
    only: str | None
    most: int
    plot_file: Path | None
    json_file: Path | None
    apply_: bool

    @property
    def prices(self) -> Prices:
        """What an hour of each costs."""
        return Prices(gib_hour=self.gib_hour, gpu_hour=self.gpu_hour, cpu_hour=self.cpu_hour)


@dataclass(frozen=True)
class Found:
    """What is replayed."""

    trace: Trace
    what: str
    source: str  # of the costs
    function: str | None
    now: Setting | None
    max_runners: int | None = None


@dataclass(frozen=True)
class Replay:
    """What came of it."""

    found: Found
    given: Given
    tried: list[Tried]
    front: list[Tried]
    chosen: Recommendation

    @property
    def title(self) -> str:
        """What was replayed, in a line."""
        trace = self.found.trace
        count = len(trace.functions)
        of = "" if count == 1 else f" of {count} functions"
        arrivals = counted(self.tried[0].outcome.calls, "arrival")
        return f"{self.found.what}: {arrivals}{of} over {_lasted(trace.duration_s)}"


def find(given: Given) -> Found:
    """The trace, with the costs and the settings that there are for it."""
    function = given.function
    record: pb.RecordedReply | None = None
    runners = given.max_runners
    if given.recorded is not None:
        record = records.read(given.recorded)
    elif function is not None:
        client = operator.connect()
        record = recorded(client, function)
        agents = operator.report(client, pools=False).agents
        runners = runners or sum(agent.max_runners for agent in agents) or None
    if given.costs is not None:
        levels, source = costs.read_levels(given.costs), "--costs"
    elif record is not None:
        levels, source = records.levels_of(record), records.source_of(record)
    else:
        levels, source = costs.levels(), costs.SOURCE
    if given.gpus and Level.WARM in levels:  # without it no trace is made: that error says so
        levels[Level.WARM] = dataclasses.replace(levels[Level.WARM], gpus=given.gpus)
    now = settings = None
    if record is not None:
        function = function or record.function
        now, settings = records.in_force(record), records.settings_of(record)
    if given.trace_file is None:
        assert record is not None
        trace: Trace = records.trace_of(record, levels)
        return Found(trace, f"recorded of {function}", source, function, now, runners)
    trace = load(
        given.trace_file,
        levels,
        settings,
        format_=given.format_,
        service_s=given.service_ms / 1000,
        only=given.only,
        most=given.most,
    )
    return Found(trace, str(given.trace_file), source, function, now, runners)


def recorded(client: Client, function: str) -> pb.RecordedReply:
    """What the instance that is up has recorded of a function."""
    wanted = pb.RecordedRequest(function=function)
    return operator.request(client, "Recorded", wanted, pb.RecordedReply)


def replay(console: Console, found: Found, given: Given) -> Replay:
    """Try every setting, and then numbers of spares for the best of them."""
    percentile = given.percentile
    settings = candidates(
        given.names or tuple(name for name in REGISTRY if name != "declared"),
        found.trace,
        target_ms=given.target_ms,
        quantile=percentile / 100,
        prices=given.prices,
    )
    if found.now is not None:
        settings.insert(0, found.now)
    node = Node(
        memory_bytes=math.inf if given.memory_gib is None else given.memory_gib * GIB,
        max_runners=found.max_runners or math.inf,
        paced=True,
    )
    with console.status("replaying") as status:

        def try_each(settings: list[Setting]) -> list[Tried]:
            return try_all(
                found.trace,
                settings,
                given.prices,
                node,
                lambda text: status.update(Text(f"replaying: {text}")),
            )

        tried = try_each(settings)
        chosen = recommend(tried, target_ms=given.target_ms, percentile=percentile)
        counted = try_each(spare_counts(chosen.tried.setting, found.trace))
    tried += counted
    chosen = with_spares(
        chosen, counted, given.prices, target_ms=given.target_ms, percentile=percentile
    )
    return Replay(found, given, tried, pareto(tried, percentile), chosen)


def _lasted(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 60:.3g} min" if seconds >= 60 else f"{seconds:.3g} s"
