"""The report of a benchmark as Markdown, for the README."""

from __future__ import annotations

from rekindle.bench import machine as machines
from rekindle.bench.records import Report
from rekindle.bench.table import mebibytes, ms, phases_shown, times


def of_report(report: Report) -> str:
    """The same figures as Markdown, to be pasted into a document."""
    rows = ["| strategy | p50 ms | p95 ms | faster than cold | memory (PSS) MiB |"]
    rows.append("|---|--:|--:|--:|--:|")
    rows += [
        f"| {r.strategy} | {ms(r.p50_ms)} | {ms(r.p95_ms)} | {times(report.speedup(r.strategy))} "
        f"| {mebibytes(r.pss_bytes)} |"
        for r in report.results
    ]
    rows += ["", "| phase, ms | " + " | ".join(r.strategy for r in report.results) + " |"]
    rows.append("|---|" + "--:|" * len(report.results))
    by_strategy = [r.phases_ms() for r in report.results]
    for name in phases_shown(report.results):
        cells = [ms(phases[name]) if name in phases else "" for phases in by_strategy]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    totals = [f"**{ms(sum(phases.values()))}**" if phases else "-" for phases in by_strategy]
    rows.append("| **total** | " + " | ".join(totals) + " |")
    runs = max((len(r.runs) for r in report.results), default=0)
    rows.append("")
    rows.append(
        f"`{report.function}`, {runs} interleaved runs of each strategy; the phases are those of "
        f"the median run. {machines.line(report.machine)}."
    )
    return "\n".join(rows) + "\n"
