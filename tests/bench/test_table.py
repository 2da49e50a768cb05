"""Tables for the terminal and for documents."""

from __future__ import annotations

import io
import math

from rich.console import Console

from lab import markdown
from rekindle.bench import table
from rekindle.bench.records import Report
from tests.bench.reports import report


def text_of(whole: Report) -> str:
    console = Console(width=140, no_color=True, file=io.StringIO(), record=True)
    console.print(table.render(whole))
    return console.export_text()


def test_the_table_shows_strategies_ratios_phases_and_the_machine() -> None:
    text = text_of(report())
    for word in ("cold", "restore", "fork", "warm", "p50", "p95", "import", "reseed", "total"):
        assert word in text
    assert "24.6x" in text or "25x" in text  # restore beside cold
    assert "Some CPU" in text
    assert "CRIU 4.1.1" in text


def test_errors_are_shown_once_each_and_counted() -> None:
    whole = report()
    whole.results[1].errors += ["asked for restore, served by cold"] * 3
    text = text_of(whole)
    assert text.count("asked for restore, served by cold") == 1
    assert "errors" in text


def test_a_report_without_runs_can_still_be_shown() -> None:
    whole = report("cold", "fork")
    whole.results[1].runs.clear()
    assert "fork" in text_of(whole)
    assert "| fork | - | - | - | - |" in markdown.of_report(whole)


def test_markdown_rows_have_as_many_cells_as_their_header() -> None:
    for block in markdown.of_report(report()).split("\n\n")[:2]:
        widths = {row.count("|") for row in block.splitlines()}
        assert len(widths) == 1


def test_phases_come_in_the_order_in_which_they_happen_and_unknown_ones_last() -> None:
    whole = report("cold", "fork")
    whole.results[0].runs[1].phases["teleport"] = 1.0
    shown = table.phases_shown(whole.results)
    known = ["queue", "isolate", "import", "enter", "fork", "reseed", "execute"]
    assert shown == [*known, "teleport"]


def test_figures_keep_three_digits_that_matter() -> None:
    shown = [table.ms(value) for value in (0.1234, 12.34, 123.4, 12345.6, math.nan)]
    assert shown == ["0.12", "12.3", "123", "12,346", "-"]
    assert [table.times(ratio) for ratio in (None, 1.0, 31.4)] == ["-", "1.0x", "31x"]
    assert [table.mebibytes(count) for count in (0, 3 * 2**20)] == ["-", "3"]
