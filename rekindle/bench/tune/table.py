"""What was tried, as rows of text, as a table for the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from rich import box
from rich.table import Table

from rekindle.bench.tune.outcome import Outcome
from rekindle.bench.tune.search import Recommendation, Tried

#: Under the table: what the columns mean.
LEGEND = (
    "start latency: from an input's arrival until a runner begins it, ms; held: memory of runners, "
    "spares, templates and cached snapshots; idle: of it, while nothing ran there; cost: held "
    "memory and GPUs and the CPU time of starts, a day; • on the Pareto front"
)

_Column = tuple[str, Callable[[Outcome], str]]


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
    headings, *cells = rows(tried, front, even=even)
    for heading in headings[1:]:
        shown.add_column(heading.replace(" ", "\n", 1).replace(",", ""), justify="right")
    for one, row in zip(_ordered(tried), cells, strict=True):
        style = "bold green" if chosen is not None and one is chosen.tried else ""
        shown.add_row(*row, style=style)
    return shown


def rows(tried: Sequence[Tried], front: Collection[Tried], *, even: bool) -> list[list[str]]:
    """The headings, and one row a setting, cheapest first."""
    columns = _columns(tried, even=even)
    return [
        ["setting", *(heading for heading, _ in columns)],
        *(
            [
                ("• " if one in front else "  ") + one.label,
                *(cell(one.outcome) for _, cell in columns),
            ]
            for one in _ordered(tried)
        ),
    ]


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


def _columns(tried: Sequence[Tried], *, even: bool) -> list[_Column]:
    """Those behind the setting: their headings, and what is in them."""
    spares = any(one.outcome.spared for one in tried)
    columns: list[_Column] = [
        ("cold", lambda out: f"{out.cold:,}"),
        ("restored", lambda out: f"{out.restored:,}"),
        ("forked", lambda out: f"{out.forked:,}"),
        *([("spare", lambda out: f"{out.spared:,}")] if spares else []),
        ("warm", lambda out: f"{out.warm:,}"),
        ("p50", lambda out: _ms(out.p50_ms)),
        ("p95", lambda out: _ms(out.p95_ms)),
        ("p99", lambda out: _ms(out.p99_ms)),
    ]
    if even:
        columns.append(("p50, even", lambda out: _ms(out.even_p50_ms)))
        columns.append(("p95, even", lambda out: _ms(out.even_p95_ms)))
    columns.append(("held GiB·h", lambda out: _short(out.gib_hours)))
    columns.append(("idle GiB·h", lambda out: _short(out.idle_gib_hours)))
    if any(one.outcome.gpu_hours for one in tried):
        columns.append(("GPU·h", lambda out: _short(out.gpu_hours)))
    if any(one.outcome.evictions for one in tried):
        columns.append(("evicted", lambda out: f"{out.evictions:,}"))
    columns.append(("cost a day", lambda out: f"{out.cost_per_day:.3g}"))
    return columns


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
