"""Figures as sheets: title, header and rows, for a terminal or for Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from lab.markdown import table as markdown_table
from rekindle.bench import machine as machines


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
            table.add_row(*(cell.replace("**", "") for cell in row))  # bold is for documents
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


def for_terminal(
    sheets: Iterable[Sheet], machine: dict[str, Any], errors: Iterable[str]
) -> RenderableType:
    """Sheets, the machine and each error once, for a terminal."""
    parts: list[RenderableType] = []
    for sheet in sheets:
        parts += [sheet.rich(), ""]
    parts.append(f"[dim]{machines.line(machine)}[/]")
    parts += [f"[red]error: {line}[/]" for line in dict.fromkeys(errors)]
    return Group(*parts)


def for_document(sheets: Iterable[Sheet], machine: dict[str, Any], note: str = "") -> str:
    """Sheets and the machine, for a document."""
    parts = [sheet.markdown() for sheet in sheets]
    parts.append(f"{note}{machines.line(machine)}.\n")
    return "\n".join(parts)


def times(ratio: float) -> str:
    """A ratio to read: three figures that matter."""
    if math.isnan(ratio):
        return "-"
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:,.0f}"
