"""What was tried, as a table for the terminal, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from rich import box
from rich.table import Table

from rekindle.bench.tune.search import Recommendation, Tried

#: Under the table: what the columns mean.
LEGEND = (
    "start latency: from an input's arrival until a runner begins it, ms; held: memory of runners, "
    "templates and cached snapshots; idle: of it, while nothing ran there; cost: held memory and "
    "GPUs and the CPU time of starts, a day; • on the Pareto front"
)

_HEADINGS = ("setting", "cold", "restored", "forked", "warm", "p50", "p95", "p99")


def table(
    tried: Sequence[Tried],
    front: Collection[Tried],
    chosen: Recommendation | None = None,
    *,
    title: str,
    even: bool = False,
) -> Table:
    """One row a setting, cheapest first; the one to take stands out."""
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown.add_column("setting", overflow="fold", min_width=20)
    for heading in _headings(tried, even=even)[1:]:
        shown.add_column(heading.replace(" ", "\n", 1).replace(",", ""), justify="right")
    for row, one in zip(_rows(tried, front, even=even), _ordered(tried), strict=True):
        style = "bold green" if chosen is not None and one is chosen.tried else ""
        shown.add_row(*row, style=style)
    return shown


def markdown(tried: Sequence[Tried], front: Collection[Tried], *, even: bool = False) -> str:
    """The same as a Markdown table."""
    headings = _headings(tried, even=even)
    lines = ["| " + " | ".join(headings) + " |", "|---|" + "--:|" * (len(headings) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in _rows(tried, front, even=even)]
    return "\n".join(lines) + "\n"


def as_json(tried: Sequence[Tried], front: Collection[Tried]) -> list[dict[str, Any]]:
    """Everything, for a file."""
    return [
        {
            **one.outcome.to_dict(),
            "setting": one.setting.to_dict(),
            "label": one.label,
            "pareto": one in front,
            "arrivals_per_cpu_s": round(one.outcome.calls / max(one.took_s, 1e-9)),
        }
        for one in _ordered(tried)
    ]


def _ordered(tried: Sequence[Tried]) -> list[Tried]:
    return sorted(tried, key=lambda one: one.outcome.cost)


def _headings(tried: Sequence[Tried], *, even: bool) -> list[str]:
    headings = list(_HEADINGS)
    if even:
        headings += ["p50, even", "p95, even"]
    headings += ["held GiB·h", "idle GiB·h"]
    if any(one.outcome.gpu_hours for one in tried):
        headings.append("GPU·h")
    if any(one.outcome.evictions for one in tried):
        headings.append("evicted")
    return [*headings, "cost a day"]


def _rows(tried: Sequence[Tried], front: Collection[Tried], *, even: bool) -> list[list[str]]:
    gpus = any(one.outcome.gpu_hours for one in tried)
    evicted = any(one.outcome.evictions for one in tried)
    rows = []
    for one in _ordered(tried):
        out = one.outcome
        row = [("• " if one in front else "  ") + one.label]
        row += [f"{count:,}" for count in (out.cold, out.restored, out.forked, out.warm)]
        row += [_ms(out.at(q)) for q in (50, 95, 99)]
        if even:
            row += [_ms(out.at(q, even=True)) for q in (50, 95)]
        row += [_short(out.gib_hours), _short(out.idle_gib_hours)]
        if gpus:
            row.append(_short(out.gpu_hours))
        if evicted:
            row.append(f"{out.evictions:,}")
        rows.append([*row, f"{out.cost_per_day:.3g}"])
    return rows


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
