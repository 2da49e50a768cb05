"""The report as a stacked bar chart of phases (matplotlib, extra ``plot``).

Cold is a hundred times the length of a fork, so on one scale every other bar would be a line:
the upper panel shows all strategies on one scale, the lower one zooms into the fast ones.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rekindle.bench import machine as machines
from rekindle.bench.records import Report, StrategyResult
from rekindle.bench.summary import percentile
from rekindle.bench.table import COLOURS, OTHER_COLOUR, ms, phases_shown, times
from rekindle.exception import InvalidError, SetupError

#: Strategies this many times shorter than the longest go to the zoomed panel.
ZOOM_BELOW = 0.25
#: A part of a bar is labelled when it is at least this share of its panel's width.
LABEL_FROM = 0.055


def check_available() -> None:
    """Raise SetupError where matplotlib is missing."""
    load_pyplot()


def save(report: Report, path: Path) -> None:
    """Write the chart to ``path`` (the suffix gives the format: .png, .svg, .pdf).

    SetupError where matplotlib is missing, InvalidError where no run succeeded.
    """
    drawn = [result for result in report.results if result.runs]
    if not drawn:
        raise InvalidError("nothing to plot: no run succeeded")
    pyplot = load_pyplot()
    fast = zoomed(drawn)
    panels = [drawn, fast] if fast else [drawn]
    heights = [1.0 + len(panel) for panel in panels]
    figure, axes = pyplot.subplots(
        len(panels),
        1,
        figsize=(10, 1.9 + 0.62 * sum(heights)),
        gridspec_kw={"height_ratios": heights},
        squeeze=False,
        layout="constrained",
    )
    try:
        for axis, panel in zip(axes[:, 0], panels, strict=True):
            _draw_panel(axis, panel, report)
        axes[0, 0].set_title(f"{report.function}: what the caller waits, by phase", loc="left")
        if fast:
            axes[1, 0].set_title("the same, zoomed into the fast strategies", loc="left")
        _legend(figure, phases_shown(drawn))
        axes[-1, 0].set_xlabel("milliseconds (median run)\n" + machines.line(report.machine))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=144)
    finally:
        pyplot.close(figure)


def save_latencies(
    latencies_ms: Sequence[float], path: Path, *, title: str, limit_ms: float | None = None
) -> None:
    """Write the distribution of many like calls to ``path``; ``limit_ms`` is drawn as a line."""
    if not latencies_ms:
        raise InvalidError("nothing to plot: no call succeeded")
    pyplot = load_pyplot()
    figure, axis = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    try:
        top = max(percentile(latencies_ms, 99.5), limit_ms or 0.0) * 1.08
        axis.hist([min(ms, top) for ms in latencies_ms], bins=80, range=(0, top), color="#2e86de")
        for q, style in ((50, "-"), (99, "--")):
            place = percentile(latencies_ms, q)
            label = f"p{q}: {place:.2f} ms"
            axis.axvline(place, color="#d1495b", linestyle=style, label=label)
        if limit_ms is not None:
            axis.axvline(limit_ms, color="black", linestyle=":", label=f"promise: {limit_ms:g} ms")
        axis.set_title(title, loc="left")
        axis.set_xlabel("milliseconds the caller waited (the last bar holds what is longer)")
        axis.set_ylabel("calls")
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=144)
    finally:
        pyplot.close(figure)


def zoomed(results: Sequence[StrategyResult]) -> list[StrategyResult]:
    """Those too short to read beside the longest; empty when all are."""
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
            axis.barh(place, length, left=left, height=0.62, color=colour, edgecolor="none")
            if length >= limit * LABEL_FROM:
                axis.text(
                    left + length / 2,
                    place,
                    f"{name}\n{ms(length)}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=_ink(colour),
                )
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


def _legend(figure: Any, names: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=COLOURS.get(name, OTHER_COLOUR), label=name) for name in names]
    figure.legend(
        handles=handles, loc="outside right upper", fontsize=8, frameon=False, title="phase"
    )


def _ink(colour: str) -> str:
    """Black or white, whichever is read on ``colour``."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
