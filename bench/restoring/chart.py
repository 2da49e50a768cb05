"""Starts against the size of the model, on logarithmic scales (matplotlib, extra ``plot``)."""

from __future__ import annotations

import math
from pathlib import Path

from rekindle.bench import machine as machines
from rekindle.bench.plot import figure
from rekindle.bench.table import ms
from rekindle.exception import InvalidError
from restoring import scaling
from restoring.scaling import Figures

#: (series, label, colour, line): in the order of the legend, slowest first.
LINES = (
    (scaling.COLD, "cold", "#d1495b", "-"),
    (scaling.COPIED, "restore, copied", "#edae49", "-"),
    (scaling.RESTORE, "restore, mapped", "#00798c", "-"),
    (scaling.FLOOR, "restore, no model", "#00798c", ":"),
    (scaling.FORK, "fork of a restored template", "#30a46c", "-"),
    (scaling.FLOOR_FORK, "fork, no model", "#30a46c", ":"),
    (scaling.BARE_FORK, "os.fork of an empty Python", "#6b7a8f", ":"),
)


def points(figures: Figures, series: str) -> list[tuple[float, float]]:
    """(gigabytes, milliseconds) of a series, where it was measured."""
    return [
        (size.gigabytes, size.p50_ms(series))
        for size in sorted(figures.sizes, key=lambda size: size.gigabytes)
        if not math.isnan(size.p50_ms(series))
    ]


def save(figures: Figures, path: Path) -> None:
    """Write the chart to ``path``.

    SetupError where matplotlib is missing, InvalidError where nothing was measured.
    """
    drawn = [(points(figures, series), *look) for series, *look in LINES]
    if not any(line for line, *_look in drawn):
        raise InvalidError("nothing to plot: no run succeeded")
    with figure(path, figsize=(9, 5.6)) as (_, axis):
        for line, label, colour, style in drawn:
            if not line:
                continue
            across, up = zip(*line, strict=True)
            axis.plot(
                across, up, label=label, color=colour, linestyle=style, marker="o", markersize=4
            )
            if style == "-":
                axis.annotate(
                    f"{ms(up[-1])} ms",
                    (across[-1], up[-1]),
                    textcoords="offset points",
                    xytext=(7, -3),
                    fontsize=8,
                    color=colour,
                )
        axis.set_xscale("log")
        axis.set_yscale("log")
        ticks = [size.gigabytes for size in figures.sizes]
        axis.set_xticks(ticks, [f"{tick:g} GB" for tick in ticks])
        axis.set_xticks([], minor=True)
        axis.margins(x=0.15)
        axis.set_xlabel("size of the model\n" + machines.line(figures.machine))
        axis.set_ylabel("ms from a call to its first completed no-op (median)")
        axis.set_title("Starts against the size of the model", loc="left")
        axis.grid(alpha=0.25, which="both")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
