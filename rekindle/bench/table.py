"""The report as tables for a terminal (rich). Draws, never measures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rekindle.bench import machine as machines
from rekindle.bench.records import Report, StrategyResult
from rekindle.wire.phases import Phase

#: One colour a phase, in tables and plots alike; neighbours in a bar differ in hue and lightness.
COLOURS: dict[str, str] = {
    Phase.QUEUE.value: "#9aa5b1",
    Phase.IMAGE.value: "#c9b18a",
    Phase.ISOLATE.value: "#6b7a8f",
    Phase.INTERPRETER.value: "#8e6bbf",
    Phase.IMPORT.value: "#d1495b",
    Phase.ENTER.value: "#edae49",
    Phase.RESTORE.value: "#00798c",
    Phase.FORK.value: "#30a46c",
    Phase.RESEED.value: "#b5d99c",
    Phase.GPU_RESTORE.value: "#1a237e",
    Phase.GPU_CONTEXT.value: "#3f51b5",
    Phase.GPU_WEIGHTS.value: "#7986cb",
    Phase.ENTER_RUNNER.value: "#f2c9a1",
    Phase.LOAD_INPUT.value: "#b0bec5",
    Phase.EXECUTE.value: "#2e86de",
    Phase.STORE_RESULT.value: "#546e7a",
}
#: For a phase that a newer peer made up.
OTHER_COLOUR = "#444444"


def ms(value: float) -> str:
    """Milliseconds to read: three figures that matter, no more."""
    if math.isnan(value):
        return "-"
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def mebibytes(count: int) -> str:
    """Bytes as MiB, ``-`` for unknown."""
    return f"{count / 2**20:,.0f}" if count > 0 else "-"


def times(ratio: float | None) -> str:
    """A ratio to cold: ``31x``."""
    if ratio is None:
        return "-"
    return f"{ratio:.1f}x" if ratio < 10 else f"{ratio:,.0f}x"


def phases_shown(results: Sequence[StrategyResult]) -> list[str]:
    """The phases that some strategy has, in the order in which they happen."""
    present = {name for result in results for name in result.phases_ms()}
    known = [phase.value for phase in Phase if phase.value in present]
    return known + sorted(present - set(known))


def summary_table(report: Report) -> Table:
    """Strategies with p50, p95, ratio to cold, memory and errors."""
    table = Table(title=report.function, title_justify="left", header_style="bold")
    table.add_column("strategy")
    for name in ("runs", "p50 ms", "p95 ms", "faster than cold", "memory (PSS) MiB"):
        table.add_column(name, justify="right")
    failed = any(result.errors for result in report.results)
    if failed:
        table.add_column("errors", justify="right", style="red")
    for result in report.results:
        row: list[RenderableType] = [
            Text(result.strategy, style="bold"),
            str(len(result.runs)),
            ms(result.p50_ms),
            ms(result.p95_ms),
            times(report.speedup(result.strategy)),
            mebibytes(result.pss_bytes),
        ]
        if failed:
            row.append(str(len(result.errors)) if result.errors else "")
        table.add_row(*row)
    return table


def phase_table(report: Report) -> Table:
    """Milliseconds of each phase in the median run, a column for each strategy."""
    table = Table(title="phases of the median run, ms", title_justify="left", header_style="bold")
    table.add_column("phase")
    by_strategy = [(result, result.phases_ms()) for result in report.results]
    for result, _ in by_strategy:
        table.add_column(result.strategy, justify="right")
    for name in phases_shown(report.results):
        cells = [ms(phases[name]) if name in phases else "" for _, phases in by_strategy]
        table.add_row(Text("■ ", style=COLOURS.get(name, OTHER_COLOUR)) + Text(name), *cells)
    table.add_section()
    sums = [ms(sum(phases.values())) if phases else "-" for _, phases in by_strategy]
    table.add_row(Text("total", style="bold"), *sums)
    return table


def render(report: Report) -> RenderableType:
    """All of it, with the machine and the errors, for a terminal."""
    parts: list[RenderableType] = [
        summary_table(report),
        Text(),
        phase_table(report),
        Text(machines.line(report.machine), style="dim"),
    ]
    parts += [Text(f"error: {line}", style="red") for line in dict.fromkeys(report.errors)]
    return Group(*parts)
