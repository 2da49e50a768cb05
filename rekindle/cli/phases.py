"""The table of ``--phases``: what each call took, and where its time went."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.table import Table

from rekindle.cli import tables
from rekindle.counted import counted
from rekindle.sdk.calls.call_record import CallRecord
from rekindle.wire.phases import Phase

#: More calls than this are only summed up.
MAX_ROWS = 20
#: A phase that took less is left out of a row, in milliseconds.
_LEAST_MS = 0.05
#: Columns where the output is no terminal.
_FILE_WIDTH = 100


def show(records: Sequence[CallRecord]) -> None:
    """Print the table."""
    console = tables.console(_FILE_WIDTH)
    console.print(table(records))
    seen = dict.fromkeys(f"{r.function}: {note}" for r in records for note in r.notes)
    for note in seen:
        console.print(f"passed over, {note}", style="dim")


def table(records: Sequence[CallRecord]) -> Table:
    """A row a call, or, of more than 20, a row for each function and strategy."""
    if len(records) > MAX_ROWS:
        return _summary(records)
    made = tables.table("call", "strategy", ">total ms", "phases, in ms")
    for record in records:
        name = record.function if record.ok else f"{record.function} (failed)"
        made.add_row(name, record.strategy or "?", f"{record.total_ms:.1f}", phrase(record.phases))
    return made


def _summary(records: Sequence[CallRecord]) -> Table:
    made = tables.table(counted(len(records), "call"), "strategy", ">median ms", "phases, in ms")
    groups: dict[tuple[str, str], list[CallRecord]] = {}
    for record in records:
        groups.setdefault((record.function, record.strategy), []).append(record)
    for (function, strategy), members in groups.items():
        phases = {
            phase.value: statistics.fmean(m.phases.get(phase.value, 0.0) for m in members)
            for phase in Phase
        }
        failed = sum(not member.ok for member in members)
        name = f"{len(members)} x {function}" + (f" ({failed} failed)" if failed else "")
        median = statistics.median(member.total_ms for member in members)
        made.add_row(name, strategy or "?", f"{median:.1f}", phrase(phases))
    return made


def phrase(phases: dict[str, float]) -> str:
    """``queue 0.3 · import 812.0``: the phases that took time, in their order."""
    parts = [f"{name} {ms:.1f}" for name, ms in phases.items() if ms >= _LEAST_MS]
    return " · ".join(part.replace(" ", "\u00a0") for part in parts)
