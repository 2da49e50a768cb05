"""The chart: a real picture, with the fast strategies readable."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab import latencies
from rekindle.bench import plot
from rekindle.bench.records import Report
from rekindle.exception import InvalidError, SetupError
from tests import optional
from tests.bench.reports import report

pytestmark = optional.needs("matplotlib")
pyplot = optional.module("matplotlib.pyplot")


def colours_in(path: Path) -> int:
    pixels = pyplot.imread(path)
    return len({tuple(pixel) for row in pixels[::3] for pixel in row[::3].tolist()})


def test_the_picture_is_a_png_with_bars_in_it(tmp_path: Path) -> None:
    path = tmp_path / "figures" / "phases.png"
    plot.save(report(), path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    height, width, _ = pyplot.imread(path).shape
    assert height > 500 and width > 1000
    assert colours_in(path) > 20  # a blank page has one


def test_the_fast_strategies_get_a_panel_of_their_own() -> None:
    zoomed = plot.zoomed(report().results)
    assert [result.strategy for result in zoomed] == ["restore", "fork", "warm"]
    assert plot.zoomed(report("cold").results) == []


def test_figures_are_closed_after_saving(tmp_path: Path) -> None:
    before = pyplot.get_fignums()
    plot.save(report("cold"), tmp_path / "one.png")
    assert pyplot.get_fignums() == before


def test_nothing_to_plot_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="no run succeeded"):
        plot.save(Report(function="f", machine={}, results=[]), tmp_path / "x.png")


def test_without_matplotlib_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SetupError, match=r"rekindle\[plot\]"):
        plot.save(report(), tmp_path / "x.png")


def test_a_chart_of_latencies_is_written(tmp_path: Path) -> None:
    path = tmp_path / "warm.png"
    latencies.save([1.0 + i / 100 for i in range(200)], path, title="no-op", limit_ms=5)
    assert colours_in(path) > 10
