"""Figures of starts against size as tables and as a plot."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from lab.sheet import Sheet, times
from rekindle.exception import InvalidError
from restoring import chart, scaling, sheets
from restoring.scaling import Figures
from tests.bench.scales import figures

SHEETS = sheets.sheets(figures())


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.title)
def test_every_row_has_a_cell_for_each_column(sheet: Sheet) -> None:
    assert sheet.rows
    assert {len(row) for row in sheet.rows} == {len(sheet.header)}
    assert not any("nan" in cell for row in sheet.rows for cell in row)


def test_the_terminal_shows_figures_ratios_errors_and_the_machine() -> None:
    whole = figures()
    whole.sizes[0].results[scaling.COLD].errors.append("StartError: no runner")
    console = Console(width=100, no_color=True, file=io.StringIO(), record=True)
    console.print(sheets.render(whole))
    text = console.export_text()
    for words in ("4 GB", "25.0", "1.25", "Some CPU", "error: 0.1 GB, cold: StartError: no runner"):
        assert words in text


def test_markdown_has_the_same_tables() -> None:
    text = sheets.markdown(figures())
    for sheet in SHEETS:
        assert f"**{sheet.title}**" in text
        assert "| " + " | ".join(sheet.rows[0]) + " |" in text


def test_a_size_that_lacks_a_series_has_a_dash_in_its_place() -> None:
    whole = figures()
    del whole.sizes[0].results[scaling.SMALL]
    row = next(row for row in sheets.starts(whole.sizes).rows if row[0] == scaling.SMALL)
    assert row[1:] == ["-", "22.0"]


def test_nothing_measured_gives_no_tables() -> None:
    assert sheets.sheets(Figures(machine={})) == []


def test_ratios_keep_three_figures() -> None:
    shown = [times(ratio) for ratio in (1.234, 12.34, 1234.5, float("nan"))]
    assert shown == ["1.23", "12.3", "1,234", "-"]


def test_the_plot_is_drawn_from_what_there_is(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    whole = figures()
    del whole.sizes[0].results[scaling.COLD]
    assert chart.points(whole, scaling.COLD) == [(4.0, 16000.0)]
    path = tmp_path / "new" / "restore.png"
    chart.save(whole, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_plot_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="nothing to plot"):
        chart.save(Figures(machine={}), tmp_path / "x.png")
