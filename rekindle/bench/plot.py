"""The report as a stacked bar chart of phases (matplotlib, extra ``plot``).

Cold is a hundred times the length of a fork, so on one scale every other bar would be a line:
the upper panel shows all strategies on one scale, the lower one zooms into the fast ones.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rekindle.bench import machine as machines
from rekindle.bench.records import Report, StrategyResult
from rekindle.bench.table import COLOURS, OTHER_COLOUR, ms, phases_shown, times
from rekindle.exception import InvalidError, SetupError

#: Strategies this many times shorter than the longest go to the zoomed panel.
ZOOM_BELOW = 0.25
#: A part of a bar is labelled when it is at least this share of its panel's width.
LABEL_FROM = 0.055


def save(report: Report, path: Path) -> None:
    """Write the chart to ``path`` (the suffix gives the format: .png, .svg, .pdf).

    SetupError where matplotlib is missing, InvalidError where no run succeeded.
    """
    drawn = [result for result in report.results if result.runs]
    if not drawn:
        raise InvalidError("nothing to plot: no run succeeded")
    fast = zoomed(drawn)
    panels = [drawn, fast] if fast else [drawn]
    heights = [1.0 + len(panel) for panel in panels]
    size = (10, 1.9 + 0.62 * sum(heights))
    shape = {"figsize": size, "height_ratios": heights, "squeeze": False}
    with figure(path, len(panels), 1, **shape) as (drawing, axes):
        for axis, panel in zip(axes[:, 0], panels, strict=True):
            _draw_panel(axis, panel, report)
        axes[0, 0].set_title(f"{report.function}: what the caller waits, by phase", loc="left")
        if fast:
            axes[1, 0].set_title("the same, zoomed into the fast strategies", loc="left")
        handles = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels()), strict=True))
        phases = [handles[name] for name in phases_shown(drawn)]
        style = {"fontsize": 8, "frameon": False, "title": "phase"}
        drawing.legend(handles=phases, loc="outside right upper", **style)
        axes[-1, 0].set_xlabel("milliseconds (median run)\n" + machines.line(report.machine))


@contextmanager
def figure(path: Path, *shape: int, **settings: Any) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes (``pyplot.subplots``), written to ``path`` when all is drawn."""
    pyplot = load_pyplot()
    made, axes = pyplot.subplots(*shape, layout="constrained", **settings)
    try:
        yield made, axes
        path.parent.mkdir(parents=True, exist_ok=True)
        made.savefig(path, dpi=144)
    finally:
        pyplot.close(made)


def zoomed(results: Sequence[StrategyResult]) -> list[StrategyResult]:
    """Those too short to read next to the longest; empty when all are."""
    longest = max(result.p50_ms for result in results)
    return [result for result in results if result.p50_ms < longest * ZOOM_BELOW]


def load_pyplot() -> Any:
    """matplotlib.pyplot, drawing to files. Raises SetupError where it is missing."""
    try:
        import matplotlib
    except ImportError as error:
        raise SetupError(
            "a plot needs matplotlib: pip install 'rekindle[plot]', or leave --plot out"
        ) from error
    matplotlib.use("Agg", force=True)  # no display is needed, or looked for
    return importlib.import_module("matplotlib.pyplot")


def _draw_panel(axis: Any, panel: Sequence[StrategyResult], report: Report) -> None:
    widths = [sum(result.phases_ms().values()) for result in panel]
    limit = max(widths) * 1.18  # room for the figure behind the longest bar
    for place, (result, width) in enumerate(zip(panel, widths, strict=True)):
        left = 0.0
        for name, length in result.phases_ms().items():
            colour = COLOURS.get(name, OTHER_COLOUR)
            bar = axis.barh(place, length, left=left, height=0.62, color=colour, label=name)
            if length >= limit * LABEL_FROM:
                text = [f"{name}\n{ms(length)}"]
                axis.bar_label(bar, text, label_type="center", fontsize=7, color=_ink(colour))
            left += length
        label = f" {ms(result.p50_ms)} ms"
        if result.strategy != "cold" and report.speedup(result.strategy) is not None:
            label += f" ({times(report.speedup(result.strategy))})"
        axis.text(width, place, label, va="center", fontsize=9, fontweight="bold")
    axis.set_yticks(range(len(panel)), [result.strategy for result in panel])
    axis.invert_yaxis()
    axis.set_xlim(0, limit)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", alpha=0.25)
    axis.set_axisbelow(True)


def _ink(colour: str) -> str:
    """Black or white, whichever is read on ``colour``."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
