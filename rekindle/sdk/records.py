"""What each finished call took, step by step: what ``--phases`` and the bench print."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rekindle.wire.phases import Phase, durations_ms, now_ns

if TYPE_CHECKING:
    from rekindle.wire import rekindle_pb2 as pb

_KEPT = 10_000


@dataclass(frozen=True, kw_only=True)
class CallRecord:
    """One input of a call, from its submission to its value in the caller's hands.

    Milliseconds by phase; their sum is ``total_ms``. ``strategy`` says how its runner came to be;
    ``notes`` why others were passed over. ``pss_bytes`` is the runner's share of memory, where the
    strategy was asked for.
    """

    call_id: str
    index: int
    function: str
    strategy: str
    runner_id: str
    ok: bool
    total_ms: float
    phases: dict[str, float]
    notes: tuple[str, ...] = ()
    deliveries: int = 1
    pss_bytes: int = 0


_recent: deque[CallRecord] = deque(maxlen=_KEPT)
_collectors: list[list[CallRecord]] = []


def recent() -> list[CallRecord]:
    """The last calls of this process, oldest first (at most 10,000)."""
    return list(_recent)


def last() -> CallRecord | None:
    """The call that finished last."""
    return _recent[-1] if _recent else None


@contextlib.contextmanager
def collect() -> Iterator[list[CallRecord]]:
    """A list that every call which finishes meanwhile is appended to."""
    records: list[CallRecord] = []
    _collectors.append(records)
    try:
        yield records
    finally:
        # By identity: two collectors may hold equal lists.
        _collectors[:] = [known for known in _collectors if known is not records]


def add(result: pb.Result, function: str, *, ok: bool, submitted_ns: int = 0) -> CallRecord:
    """Record a result whose value has just been unpickled: this ends its last phase."""
    start = submitted_ns or result.submitted_ns
    marks = [(mark.phase, mark.at_ns) for mark in result.marks]
    marks.append((Phase.STORE_RESULT.value, now_ns()))
    phases = durations_ms(start, marks)
    record = CallRecord(
        call_id=result.call_id,
        index=result.index,
        function=function,
        strategy=result.strategy,
        runner_id=result.runner_id,
        ok=ok,
        total_ms=sum(phases.values()),
        phases=phases,
        notes=tuple(result.notes),
        deliveries=result.deliveries,
        pss_bytes=result.pss_bytes,
    )
    _recent.append(record)
    for collector in _collectors:
        collector.append(record)
    return record
