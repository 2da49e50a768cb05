"""What ``rekindle top`` shows, as plain rows made from a status report.

Knows nothing of terminals. A report of another version may lack anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

Report = dict[str, Any]


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
    age_s: float | None
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


def functions(report: Report, sort: Sort, *, reverse: bool = False) -> list[FunctionRow]:
    """The functions of open apps; those that do nothing last."""
    rows: dict[str, FunctionRow] = {}
    by_id: dict[str, FunctionRow] = {}
    for app in report.get("apps", []):
        for one in app.get("functions", []):
            name = f"{app.get('name', '?')}.{one.get('name', '?')}"
            row = rows.setdefault(name, FunctionRow(name))
            by_id[one.get("function_id", "")] = row
            _add(row, one)
    for agent in _connected(report):
        for runner in _stats(agent).get("runners", []):
            found = by_id.get(runner.get("function_id", ""))
            if found is None:
                continue
            if runner.get("state") == "idle":
                found.idle += 1
            elif runner.get("state") == "starting":
                found.starting += 1
            else:
                found.busy += 1
        for pool in _stats(agent).get("pools", []):
            found = by_id.get(pool.get("function_id", ""))
            if found is not None:
                found.starting += int(pool.get("starting", 0))
    return sorted(rows.values(), key=lambda row: (_order(row, sort), row.name), reverse=reverse)


def _add(row: FunctionRow, one: dict[str, Any]) -> None:
    row.ids.append(one.get("function_id", ""))
    row.calls_per_s += one.get("calls_per_s", 0.0)
    for key in ("queued", "in_flight", "delayed", "dead"):
        setattr(row, key, getattr(row, key) + int(one.get(key, 0) or 0))
    row.oldest_s = max(row.oldest_s, one.get("oldest_s") or 0.0)
    for key, told, percent in (
        ("p50", "call_ms", "p50"),
        ("p95", "call_ms", "p95"),
        ("start_p50", "start_ms", "p50"),
        ("start_p95", "start_ms", "p95"),
    ):
        value = one.get(told, {}).get(percent)
        if value is not None:
            setattr(row, key, max(value, getattr(row, key) or 0.0))
    for strategy, count in one.get("starts", {}).items():
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


def runners(report: Report) -> list[RunnerRow]:
    """The runners of all nodes: those that work first, then the newest."""
    names = {
        one.get("function_id", ""): f"{app.get('name', '?')}.{one.get('name', '?')}"
        for app in report.get("apps", [])
        for one in app.get("functions", [])
    }
    rows = [
        RunnerRow(
            id=one.get("id", "?"),
            function=names.get(one.get("function_id", ""), one.get("function", "?")),
            state=one.get("state", "?"),
            strategy=one.get("strategy", "?"),
            age_s=one.get("age_s"),
            inputs=int(one.get("inputs", 0)),
            pid=int(one.get("pid", 0)),
            pss_bytes=int(one.get("pss_bytes", 0)),
            node=agent.get("host", "?"),
        )
        for agent in _connected(report)
        for one in _stats(agent).get("runners", [])
    ]
    return sorted(rows, key=lambda row: (_BUSIEST_FIRST.get(row.state, 3), row.age_s or 0.0))


def starts(report: Report, now: float | None = None) -> list[StartRow]:
    """The last starts, the newest first."""
    now = time.time() if now is None else now
    return [
        StartRow(
            ago_s=max(0.0, now - one.get("at", now)),
            function=one.get("function") or one.get("function_id", "?"),
            strategy=one.get("strategy", "?"),
            ms=one.get("ms", 0.0),
            phases=one.get("phases", {}),
            ok=one.get("ok", True),
            reason=one.get("reason", ""),
        )
        for one in reversed(report.get("recent_starts", []))
    ]


def nodes(report: Report) -> Iterator[NodeRow]:
    """The nodes."""
    for agent in report.get("agents", []):
        stats = _stats(agent)
        memory = stats.get("memory") or {}
        yield NodeRow(
            host=agent.get("host", "?"),
            connected=bool(agent.get("connected")),
            runners=len(stats.get("runners", [])),
            max_runners=int(agent.get("max_runners", 0)),
            rss=int(memory.get("rss_bytes", 0)),
            pss=int(memory.get("pss_bytes", 0)),
            mapped=int(memory.get("mapped_bytes", 0)),
            available=int(stats.get("memory_available_bytes", 0)),
            total=int(stats.get("memory_total_bytes", 0)),
            store=int(memory.get("snapshot_store_bytes", 0)),
        )


def _connected(report: Report) -> Iterator[dict[str, Any]]:
    for agent in report.get("agents", []):
        if agent.get("connected"):
            yield agent


def _stats(agent: dict[str, Any]) -> dict[str, Any]:
    stats = agent.get("stats")
    return stats if isinstance(stats, dict) else {}
