"""What was tried as a picture: start latency, and the share of cold starts, against cost.

matplotlib (extra ``plot``), drawing to files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from rekindle.bench.plot import figure
from rekindle.bench.tune.search import Recommendation, Tried
from rekindle.exception import InvalidError

COLOURS = {
    "fixed": "#8395a7",
    "histogram": "#e1a100",
    "greedy-dual": "#8e5bb5",
    "concurrency": "#c0562f",
    "snapshot-aware": "#1e8449",
}
_OTHER = "#2e86de"
#: Places of a label around its point, in points; the first that is free is taken.
_PLACES = ((7, 4), (7, -11), (-7, 4), (-7, -11), (0, 10), (0, -16), (7, 16), (-7, 16), (7, -23))


def save(
    tried: Sequence[Tried],
    front: Collection[Tried],
    path: Path,
    *,
    title: str,
    percentile: int,
    target_ms: float | None = None,
    chosen: Recommendation | None = None,
    note: str = "",
) -> None:
    """Write the picture to ``path`` (its suffix gives the format).

    SetupError where matplotlib is missing, InvalidError where nothing was tried.
    """
    if not tried:
        raise InvalidError("nothing to plot: no setting was tried")

    def latency(one: Tried) -> float:
        return one.outcome.at(percentile)

    shape = {"figsize": (10, 9.4), "sharex": True, "height_ratios": (3, 2)}
    with figure(path, 2, 1, **shape) as (drawing, axes):
        _panel(axes[0], tried, front, latency, chosen)
        axes[0].set_yscale("symlog", linthresh=1.0, linscale=0.5)
        top = max(map(latency, tried))
        axes[0].set_ylim(-0.35, max(top, target_ms or 0.0, 1.0) * 3)
        axes[0].set_ylabel(f"p{percentile} of the start latency, ms")
        axes[0].yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        if target_ms is not None:
            axes[0].axhline(target_ms, color="black", linestyle=":", linewidth=1)
            where = {"transform": axes[0].get_yaxis_transform(), "ha": "right", "va": "bottom"}
            axes[0].text(0.99, target_ms, f"target {target_ms:g} ms", fontsize=8, **where)
        _panel(axes[1], tried, (), _not_warm, chosen)
        axes[1].set_ylabel("calls that waited for a\nstart by any strategy, %")
        axes[1].set_ylim(bottom=0)
        axes[0].set_title(title, loc="left")
        axes[1].set_xlabel("cost a day" + (f"\n{note}" if note else ""))
        handles, _ = axes[0].get_legend_handles_labels()
        style = {"frameon": False, "fontsize": 9, "ncols": len(handles)}
        drawing.legend(handles=handles, loc="outside upper center", **style)
        _labels(drawing, axes[0], tried, front, latency)
        _labels(drawing, axes[1], tried, front, _not_warm)


def _not_warm(one: Tried) -> float:
    out = one.outcome
    return 100 * out.started / max(1, out.calls)


def _panel(
    axis: Any,
    tried: Sequence[Tried],
    front: Collection[Tried],
    y: Callable[[Tried], float],
    chosen: Recommendation | None,
) -> None:
    for policy in dict.fromkeys(one.setting.policy for one in tried):
        points = [(t.outcome.cost_per_day, y(t)) for t in tried if t.setting.policy == policy]
        style = {"color": COLOURS.get(policy, _OTHER), "edgecolor": "white", "linewidth": 0.8}
        axis.scatter(*zip(*points, strict=True), s=52, zorder=3, label=policy, **style)
    if front:
        line = [(t.outcome.cost_per_day, y(t)) for t in sorted(front, key=lambda t: t.outcome.cost)]
        style = {"color": "#1e8449", "alpha": 0.35, "linewidth": 5, "solid_capstyle": "round"}
        axis.step(*zip(*line, strict=True), where="post", zorder=1, label="Pareto front", **style)
    if chosen is not None:
        at = (chosen.tried.outcome.cost_per_day, y(chosen.tried))
        ring = {"facecolor": "none", "edgecolor": "black", "linewidth": 1.4}
        axis.scatter(*at, s=190, zorder=4, label="to take", **ring)
    axis.set_xscale("log")
    axis.margins(x=0.08)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_formatter(lambda value, _: _minor(value))
    axis.tick_params(axis="x", which="minor", labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, which="both", linewidth=0.5)
    axis.set_axisbelow(True)


def _minor(value: float) -> str:
    """Labels for 2 and 5 of each decade."""
    first = f"{value:e}"[0]
    return f"{value:g}" if first in "25" else ""


def _short(one: Tried) -> str:
    """Without the policy, which its colour says, where something else is left."""
    return one.label.removeprefix(one.setting.policy).strip() or one.label


def _labels(
    drawing: Any,
    axis: Any,
    tried: Sequence[Tried],
    front: Collection[Tried],
    y: Callable[[Tried], float],
) -> None:
    """Name the points; a label that finds no free place is left out, the front's come first."""
    drawing.canvas.draw()
    renderer = drawing.canvas.get_renderer()
    inside = axis.get_window_extent(renderer)
    points = [axis.transData.transform((t.outcome.cost_per_day, y(t))) for t in tried]
    taken: list[Any] = []
    for one in sorted(tried, key=lambda t: (t not in front, t.outcome.cost)):
        size, color = (7.5, "black") if one in front else (6.5, "#555555")
        for dx, dy in _PLACES:
            label = axis.annotate(
                _short(one),
                (one.outcome.cost_per_day, y(one)),
                xytext=(dx, dy),
                textcoords="offset points",
                ha="left" if dx > 0 else "right" if dx < 0 else "center",
                fontsize=size,
                color=color,
                zorder=5,
            )
            box = label.get_window_extent(renderer)
            hidden = any(box.overlaps(other) for other in taken) or any(
                box.contains(*point) for point in points
            )
            if not hidden and inside.contains(box.x0, box.y0) and inside.containsx(box.x1):
                taken.append(box)
                break
            label.remove()
