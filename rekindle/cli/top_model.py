"""What ``rekindle top`` shows of a status report: functions and runners in their order.

Knows nothing of terminals.
"""

from __future__ import annotations

from collections import Counter
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
    queued: int = 0
    in_flight: int = 0
    delayed: int = 0
    dead: int = 0
    oldest_s: float = 0.0
    busy: int = 0
    idle: int = 0
    starting: int = 0
    spares: int = 0
    starts: Counter[str] = field(default_factory=Counter)  # of the last minute, by strategy

    @property
    def runners(self) -> int:
        """All of them."""
        return self.busy + self.idle + self.starting


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
            if found := by_id.get(runner.function_id):
                name = runner.state if runner.state in ("idle", "starting") else "busy"
                setattr(found, name, getattr(found, name) + 1)
        for pool in agent.stats.pools:
            if found := by_id.get(pool.function_id):
                found.starting += pool.starting
        for held in agent.stats.held:
            if found := by_id.get(held.function_id):
                found.spares += held.spares
    return sorted(rows.values(), key=lambda row: (_order(row, sort), row.name), reverse=reverse)


def _add(row: FunctionRow, one: pb.FunctionStatus) -> None:
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
    row.starts.update(last.starts)


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


def runners(report: pb.StatusReply) -> list[tuple[str, pb.RunnerStats]]:
    """The runners of all nodes, with APP.FUNCTION: those that work first, then the newest."""
    names = {
        one.function_id: f"{app.name}.{one.name}" for app in report.apps for one in app.functions
    }
    rows = [
        (names.get(one.function_id, one.function), one)
        for agent in _connected(report)
        for one in agent.stats.runners
    ]
    return sorted(rows, key=lambda row: (_BUSIEST_FIRST.get(row[1].state, 3), row[1].age_s))


@dataclass
class ObjectRow:
    """A Dict or Queue."""

    one: pb.ObjectStatus
    #: Entries or items a second since the last report, by what was done.
    rates: dict[str, float]


def objects(report: pb.StatusReply, before: pb.StatusReply | None) -> list[ObjectRow]:
    """All of them: those that most is done with first, then those that have most in them."""
    passed_s = report.uptime_s - before.uptime_s if before is not None else 0.0
    last = {one.object_id: one for one in before.objects.objects} if before is not None else {}
    rows: list[ObjectRow] = []
    for one in report.objects.objects:
        rates: dict[str, float] = {}
        if passed_s > 0 and one.object_id in last:
            then = last[one.object_id].operations
            rates = {
                name: max(0, count - then.get(name, 0)) / passed_s
                for name, count in sorted(one.operations.items())
            }
        rows.append(ObjectRow(one, rates))
    return sorted(rows, key=lambda row: (-sum(row.rates.values()), -row.one.count, row.one.name))


def _connected(report: pb.StatusReply) -> Iterator[pb.AgentStatus]:
    return (agent for agent in report.agents if agent.connected)
