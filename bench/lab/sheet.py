"""Figures as sheets: title, header and rows, for a terminal or for Markdown."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.table import Table

from lab.markdown import table as markdown_table


@dataclass(frozen=True)
class Sheet:
    """A table of text; the first column is words, the others are figures."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""

    def rich(self) -> Table:
        """For a terminal."""
        table = Table(title=self.title, title_justify="left", header_style="bold")
        for number, name in enumerate(self.header):
            table.add_column(name, justify="right" if number else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        if self.note:
            table.caption = self.note
            table.caption_justify = "left"
        return table

    def markdown(self) -> str:
        """For a document."""
        lines = [f"**{self.title}**", "", *markdown_table([self.header, *self.rows])]
        if self.note:
            lines += ["", self.note]
        return "\n".join(lines) + "\n"


def times(ratio: float) -> str:
    """A ratio to read: three figures that matter."""
    if math.isnan(ratio):
        return "-"
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:,.0f}"
