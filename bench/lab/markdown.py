"""Figures as Markdown, for the README and bench/results."""

from __future__ import annotations

from collections.abc import Sequence

from rekindle.bench import machine as machines
from rekindle.bench.records import Report
from rekindle.bench.table import mebibytes, ms, phases_shown, times


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first row is the header, the first column words, the others figures."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---|" + "--:|" * (len(rows[0]) - 1))
    return lines


def of_report(report: Report) -> str:
    """The same figures as Markdown, to be pasted into a document."""
    rows = [["strategy", "p50 ms", "p95 ms", "faster than cold", "memory (PSS) MiB"]]
    for r in report.results:
        faster = times(report.speedup(r.strategy))
        rows.append([r.strategy, ms(r.p50_ms), ms(r.p95_ms), faster, mebibytes(r.pss_bytes)])
    by_strategy = [r.phases_ms() for r in report.results]
    phases = [["phase, ms", *(r.strategy for r in report.results)]]
    phases += [
        [name, *(ms(one[name]) if name in one else "" for one in by_strategy)]
        for name in phases_shown(report.results)
    ]
    totals = (f"**{ms(sum(one.values()))}**" if one else "-" for one in by_strategy)
    phases.append(["**total**", *totals])
    runs = max((len(r.runs) for r in report.results), default=0)
    note = (
        f"`{report.function}`, {runs} interleaved runs of each strategy; the phases are those of "
        f"the median run. {machines.line(report.machine)}."
    )
    return "\n".join([*table(rows), "", *table(phases), "", note]) + "\n"
