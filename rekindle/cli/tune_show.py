"""What ``rekindle tune`` prints: the settings that were tried, and the worked example."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from rekindle.bench.tune.search import Recommendation, Tried
    from rekindle.bench.tune.trace import Trace

#: Of a console that is not a terminal; there, text is not broken into lines.
WIDE = 160
#: Percentiles of fewer arrivals are not worth much.
FEW = 50


def show(
    console: Console,
    trace: Trace,
    what: str,
    source: str,
    tried: Sequence[Tried],
    front: Sequence[Tried],
    chosen: Recommendation,
) -> None:
    """The table of all settings, and which to take."""
    from rekindle.bench.tune.table import LEGEND, table

    console.print(title(trace, what, tried), markup=False)
    console.print(f"[dim]{_costs(trace, source)}[/]", soft_wrap=True)
    if tried[0].outcome.calls < FEW:
        console.print(f"[yellow]fewer than {FEW} arrivals: the figures say little[/]")
    many = len(trace.functions) > 1
    console.print(table(tried, front, chosen, title="", even=many))
    console.print(f"[dim]{LEGEND}[/]\n")
    mark = "take" if chosen.meets_target else "nearest"
    console.print(f"[bold green]{mark}: {chosen.tried.label}[/]: {chosen.why}", soft_wrap=True)


def title(trace: Trace, what: str, tried: Sequence[Tried]) -> str:
    """What was replayed, in a line."""
    out = tried[0].outcome
    count = len(trace.functions)
    of = "" if count == 1 else f" of {count} functions"
    return f"{what}: {out.calls:,} arrivals{of} over {_lasted(trace.duration_s)}"


def _lasted(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 60:.3g} min" if seconds >= 60 else f"{seconds:.3g} s"


def _costs(trace: Trace, source: str) -> str:
    """The start costs that were taken, of the first function."""
    from rekindle.wire.pools import Level

    levels = trace.functions[0].levels
    parts = [
        f"{level.value} {_ms(1000 * figures.start_s)} ms"
        for level, figures in levels.items()
        if level is not Level.WARM
    ]
    held = [
        f"{level.value} {figures.memory_bytes / 2**20:,.0f}"
        for level, figures in levels.items()
        if figures.memory_bytes
    ]
    return f"start from {', '.join(parts)}; held MiB: {', '.join(held)} ({source})"


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def article(console: Console, json_file: Path | None) -> int:
    """The worked example: each figure as claimed, by closed form and simulated."""
    from rich import box
    from rich.table import Table

    from rekindle.bench.tune import article as example
    from rekindle.controller.policies import Prices

    with console.status("simulating"):
        rows = example.rows()
    shown = Table(
        title=f"GPU-hours a day: {example.REQUESTS} requests, {example.SERVICE_S:g} s each, "
        f"{example.COLD_S:g} s cold, {1000 * example.RESTORE_S:g} ms restored",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    shown.add_column("what is computed")
    for heading in ("article", "closed form", "simulated", "warm", "p95, ms"):
        shown.add_column(heading, justify="right")
    for row in rows:
        hours, hits, out = row.simulated_hours, row.hits, row.simulated
        shown.add_row(
            row.what,
            "" if row.claimed is None else f"{row.claimed:g}",
            f"{row.closed:.2f}",
            "" if hours is None else f"{hours:.2f}",
            "" if hits is None else f"{hits:.1%}",
            "" if out is None else f"{out.p95_ms:,.0f}",
            style="bold" if row.claimed is not None else "",
        )
    console.print(shown)
    console.print(f"[dim]simulated: Poisson arrivals, {example.DAYS} days, the mean of a day[/]\n")
    for text in example.verdicts(Prices()):
        console.print(f"- {text}", soft_wrap=console.width >= WIDE)
    if json_file is not None:
        whole = {"rows": example.as_json(rows), "verdicts": example.verdicts(Prices())}
        json_file.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    return 0
