"""What ``rekindle top`` shows, as plain rows made from a status report.

Knows nothing of terminals.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from rekindle.wire import rekindle_pb2 as pb


class Sort(Enum):
    """By what functions are ordered."""

    CALLS = "calls/s"
    LATENCY = "p95"
    QUEUE = "queued"
    RUNNERS = "runners"
    NAME = "function"

    def next(self) -> Sort:
        """The one after it."""
        order = list(Sort)
        return order[(order.index(self) + 1) % len(order)]


@dataclass
class FunctionRow:
    """One function, over all apps of its name."""

    name: str
    calls_per_s: float = 0.0
    p50: float | None = None  # milliseconds, of calls of the last minute
    p95: float | None = None
    start_p50: float | None = None
    start_p95: float | None = None
    queued: int = 0
    in_flight: int = 0
    delayed: int = 0
    dead: int = 0
    oldest_s: float = 0.0
    busy: int = 0
    idle: int = 0
    starting: int = 0
    starts: dict[str, int] = field(default_factory=dict)  # of the last minute, by strategy
    ids: list[str] = field(default_factory=list)

    @property
    def runners(self) -> int:
        """All of them."""
        return self.busy + self.idle + self.starting


@dataclass(frozen=True)
class RunnerRow:
    """One runner."""

    id: str
    function: str
    state: str
    strategy: str
    age_s: float
    inputs: int
    pid: int
    pss_bytes: int
    node: str


@dataclass(frozen=True)
class StartRow:
    """One start."""

    ago_s: float
    function: str
    strategy: str
    ms: float
    phases: dict[str, float]
    ok: bool
    reason: str


@dataclass(frozen=True)
class NodeRow:
    """One node."""

    host: str
    connected: bool
    runners: int
    max_runners: int
    rss: int
    pss: int
    mapped: int
    available: int
    total: int
    store: int


_BUSIEST_FIRST = {"busy": 0, "lent": 0, "starting": 1, "idle": 2}


def functions(report: pb.StatusReply, sort: Sort, *, reverse: bool = False) -> list[FunctionRow]:
    """The functions of open apps; those that do nothing last."""
    rows: dict[str, FunctionRow] = {}
    by_id: dict[str, FunctionRow] = {}
    for app in report.apps:
        for one in app.functions:
            name = f"{app.name}.{one.name}"
            row = by_id[one.function_id] = rows.setdefault(name, FunctionRow(name))
            _add(row, one)
    for agent in _connected(report):
        for runner in agent.stats.runners:
            found = by_id.get(runner.function_id)
            if found is None:
                continue
            if runner.state == "idle":
                found.idle += 1
            elif runner.state == "starting":
                found.starting += 1
            else:
                found.busy += 1
        for pool in agent.stats.pools:
            found = by_id.get(pool.function_id)
            if found is not None:
                found.starting += pool.starting
    return sorted(rows.values(), key=lambda row: (_order(row, sort), row.name), reverse=reverse)


def _add(row: FunctionRow, one: pb.FunctionStatus) -> None:
    row.ids.append(one.function_id)
    row.queued += one.queued
    row.in_flight += one.in_flight
    row.delayed += one.delayed
    row.dead += one.dead
    row.oldest_s = max(row.oldest_s, one.oldest_s)
    last = one.last_minute
    row.calls_per_s += last.calls_per_s
    if last.HasField("call_ms"):
        row.p50 = max(last.call_ms.p50, row.p50 or 0.0)
        row.p95 = max(last.call_ms.p95, row.p95 or 0.0)
    if last.HasField("start_ms"):
        row.start_p50 = max(last.start_ms.p50, row.start_p50 or 0.0)
        row.start_p95 = max(last.start_ms.p95, row.start_p95 or 0.0)
    for strategy, count in last.starts.items():
        row.starts[strategy] = row.starts.get(strategy, 0) + count


def _order(row: FunctionRow, sort: Sort) -> tuple[float, ...]:
    """Smaller is further up."""
    if sort is Sort.NAME:
        return (0.0,)
    if sort is Sort.LATENCY:
        return (-(row.p95 or 0.0), -row.calls_per_s)
    if sort is Sort.QUEUE:
        return (-(row.queued + row.delayed), -row.oldest_s, -row.in_flight)
    if sort is Sort.RUNNERS:
        return (-row.runners, -row.busy)
    return (-row.calls_per_s, -(row.in_flight + row.queued), -row.runners)


def runners(report: pb.StatusReply) -> list[RunnerRow]:
    """The runners of all nodes: those that work first, then the newest."""
    names = {
        one.function_id: f"{app.name}.{one.name}" for app in report.apps for one in app.functions
    }
    rows = [
        RunnerRow(
            id=one.id,
            function=names.get(one.function_id, one.function),
            state=one.state,
            strategy=one.strategy,
            age_s=one.age_s,
            inputs=one.inputs,
            pid=one.pid,
            pss_bytes=one.pss_bytes,
            node=agent.host,
        )
        for agent in _connected(report)
        for one in agent.stats.runners
    ]
    return sorted(rows, key=lambda row: (_BUSIEST_FIRST.get(row.state, 3), row.age_s))


def starts(report: pb.StatusReply, now: float | None = None) -> list[StartRow]:
    """The last starts, the newest first."""
    now = time.time() if now is None else now
    return [
        StartRow(
            ago_s=max(0.0, now - one.at),
            function=one.function,
            strategy=one.strategy,
            ms=one.ms,
            phases=dict(one.phases),
            ok=one.ok,
            reason=one.reason,
        )
        for one in reversed(report.recent_starts)
    ]


def nodes(report: pb.StatusReply) -> Iterator[NodeRow]:
    """The nodes."""
    for agent in report.agents:
        stats = agent.stats
        yield NodeRow(
            host=agent.host,
            connected=agent.connected,
            runners=len(stats.runners),
            max_runners=agent.max_runners,
            rss=stats.memory.rss_bytes,
            pss=stats.memory.pss_bytes,
            mapped=stats.memory.mapped_bytes,
            available=stats.memory_available_bytes,
            total=stats.memory_total_bytes,
            store=stats.memory.snapshot_store_bytes,
        )


def _connected(report: pb.StatusReply) -> Iterator[pb.AgentStatus]:
    return (agent for agent in report.agents if agent.connected)
