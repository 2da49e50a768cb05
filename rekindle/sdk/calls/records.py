"""What each finished call took, step by step: what ``--phases`` and the bench print.

A program may finish many thousand calls a second, so records are made only while one is collected.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rekindle.wire.phases import Phase, Strategy, durations_ms, now_ns

if TYPE_CHECKING:
    from rekindle.sdk.calls.call_record import CallRecord
    from rekindle.wire import rekindle_pb2 as pb
    from rekindle.wire.granted import Began


#: By identity: two collectors may hold equal lists.
_collectors: dict[int, list[CallRecord]] = {}


@contextlib.contextmanager
def collect() -> Iterator[list[CallRecord]]:
    """A list that every call which finishes meanwhile is appended to."""
    records: list[CallRecord] = []
    key = id(records)
    try:
        _collectors[key] = records
        yield records
    finally:
        _collectors.pop(key, None)


def collecting() -> bool:
    """Whether records are made now."""
    return bool(_collectors)


def add(result: pb.Result, function: str, *, ok: bool, submitted_ns: int = 0) -> None:
    """Record a result whose value has just been unpickled: this ends its last phase."""
    if not _collectors:
        return
    from rekindle.sdk.calls.call_record import CallRecord

    marks = [(mark.phase, mark.at_ns) for mark in result.marks]
    marks.append((Phase.STORE_RESULT.value, now_ns()))
    phases = durations_ms(submitted_ns or result.submitted_ns, marks)
    _collect(
        CallRecord(
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
    )


def add_direct(
    call_id: str,
    function: str,
    runner_id: str,
    *,
    ok: bool,
    submitted_ns: int,
    marks: tuple[int, int, int],
    began: Began | None = None,
) -> None:
    """Record a direct call.

    ``marks``: when it was received, loaded and executed; ``began``: the start of its runner, where
    it waited for that.
    """
    if not _collectors:
        return
    from rekindle.sdk.calls.call_record import CallRecord

    received_ns, loaded_ns, executed_ns = marks
    if began is None:
        way = [(Phase.QUEUE.value, received_ns)]
    else:
        way = [(Phase.QUEUE.value, began.began_ns)]
        way += began.marks
    way.append((Phase.LOAD_INPUT.value, loaded_ns))
    way.append((Phase.EXECUTE.value, executed_ns))
    way.append((Phase.STORE_RESULT.value, now_ns()))
    phases = durations_ms(submitted_ns, way)
    _collect(
        CallRecord(
            call_id=call_id,
            index=0,
            function=function,
            strategy=Strategy.WARM.value if began is None else began.strategy,
            runner_id=runner_id,
            ok=ok,
            total_ms=sum(phases.values()),
            phases=phases,
            notes=() if began is None else tuple(began.notes),
        )
    )


def _collect(record: CallRecord) -> None:
    for collector in list(_collectors.values()):
        collector.append(record)
