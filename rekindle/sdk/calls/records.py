"""What each finished call took, step by step: what ``--phases`` and the bench print.

A program may finish many thousand calls a second and look at none of their records, so what came
is kept as it came, without the value, and made a record when it is looked at.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rekindle.wire.phases import Phase, Strategy, durations_ms, now_ns

if TYPE_CHECKING:
    from rekindle.wire import rekindle_pb2 as pb

_KEPT = 10_000
#: A result with more data than this is made a record at once: to keep it would keep the data.
_SMALL_BYTES = 1024


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


@dataclass(slots=True)
class DirectRecord:
    """What a direct call took; a CallRecord when it is looked at."""

    call_id: str
    function: str
    runner_id: str
    ok: bool
    submitted_ns: int
    received_ns: int
    loaded_ns: int
    executed_ns: int
    stored_ns: int
    #: The start of the runner, where the call waited for it.
    began: pb.RunnerBegan | None = None

    def record(self) -> CallRecord:
        """The same as every call's record."""
        began = self.began
        if began is None:
            way = [(Phase.QUEUE.value, self.received_ns)]
        else:
            start = [(mark.phase, mark.at_ns) for mark in began.marks]
            way = [(Phase.QUEUE.value, began.began_ns), *start]
        phases = durations_ms(
            self.submitted_ns,
            [
                *way,
                (Phase.LOAD_INPUT.value, self.loaded_ns),
                (Phase.EXECUTE.value, self.executed_ns),
                (Phase.STORE_RESULT.value, self.stored_ns),
            ],
        )
        return CallRecord(
            call_id=self.call_id,
            index=0,
            function=self.function,
            strategy=Strategy.WARM.value if began is None else began.strategy,
            runner_id=self.runner_id,
            ok=self.ok,
            total_ms=sum(phases.values()),
            phases=phases,
            notes=() if began is None else tuple(began.notes),
        )


#: A result (serialized: it takes less room), the function's name, whether it succeeded, when it was
#: submitted and when unpickled.
_Kept = tuple["pb.Result | bytes", str, bool, int, int]

_recent: deque[_Kept | CallRecord | DirectRecord] = deque(maxlen=_KEPT)
_collectors: list[list[CallRecord]] = []


def recent() -> list[CallRecord]:
    """The last calls of this process, oldest first (at most 10,000)."""
    return [_record(kept) for kept in list(_recent)]


def last() -> CallRecord | None:
    """The call that finished last."""
    return _record(_recent[-1]) if _recent else None


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


def add(
    result: pb.Result | bytes, function: str, *, ok: bool, submitted_ns: int = 0, size: int = 0
) -> None:
    """Record a result whose value has just been unpickled: this ends its last phase.

    ``size``: of its data.
    """
    _keep((result, function, ok, submitted_ns, now_ns()), as_it_is=ok and size <= _SMALL_BYTES)


def add_direct(kept: DirectRecord) -> None:
    """Record a direct call."""
    _keep(kept, as_it_is=True)


def _keep(kept: _Kept | DirectRecord, *, as_it_is: bool) -> None:
    if as_it_is and not _collectors:
        _recent.append(kept)
        return
    record = _record(kept)
    _recent.append(record)
    for collector in _collectors:
        collector.append(record)


def _record(kept: _Kept | CallRecord | DirectRecord) -> CallRecord:
    if isinstance(kept, CallRecord):
        return kept
    if not isinstance(kept, tuple):
        return kept.record()
    result, function, ok, submitted_ns, stored_ns = kept
    if isinstance(result, bytes):
        from rekindle.wire import rekindle_pb2 as pb

        result = pb.Result.FromString(result)
    marks = [(mark.phase, mark.at_ns) for mark in result.marks]
    marks.append((Phase.STORE_RESULT.value, stored_ns))
    phases = durations_ms(submitted_ns or result.submitted_ns, marks)
    return CallRecord(
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
