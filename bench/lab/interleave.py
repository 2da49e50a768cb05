"""Many measurements in one run, spread over it so that all of them meet the same conditions.

``harness`` compares strategies of one call; this takes anything that can be run again and again,
each as often as it can afford.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rekindle.bench.records import Run, StrategyResult
from rekindle.exception import Error

#: Called after each run: what was measured, its milliseconds, or None and the reason.
Report = Callable[[str, float | None, str], None]


@dataclass(frozen=True)
class Entry:
    """One thing to measure ``runs`` times; a rekindle error in ``measure`` is noted as such."""

    name: str
    measure: Callable[[], Run]
    runs: int


def schedule(entries: Sequence[Entry]) -> list[Entry]:
    """Every run of every entry, those of each spread evenly from beginning to end."""
    places = [
        ((index + 0.5) / entry.runs, number, entry)
        for number, entry in enumerate(entries)
        for index in range(entry.runs)
    ]
    return [entry for _place, _number, entry in sorted(places, key=lambda item: item[:2])]


def measure(
    entries: Sequence[Entry],
    *,
    settle: Callable[[], None] | None = None,
    report: Report | None = None,
) -> dict[str, StrategyResult]:
    """Run all of them, interleaved; ``settle`` is called before each run, outside of it.

    The result of an entry is under its name; a run that failed is a line in its errors.
    """
    results = {entry.name: StrategyResult(strategy=entry.name) for entry in entries}
    for entry in schedule(entries):
        if settle is not None:
            settle()
        try:
            run = entry.measure()
        except Error as error:
            reason = f"{type(error).__name__}: {error}"
            results[entry.name].errors.append(reason)
            if report is not None:
                report(entry.name, None, reason)
            continue
        results[entry.name].runs.append(run)
        if report is not None:
            report(entry.name, run.total_ms, "")
    return results
