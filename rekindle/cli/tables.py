"""How every command shows tables, JSON, durations and sizes.

Text of the user is shown as it is: the consoles made here take no markup of rich's, in which
``[/a]`` is an error and ``[dim]`` vanishes. Colours are those of Text objects.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Columns where the output is no terminal: a line is an entry, for grep and awk.
_WIDE = 1000

json_option = click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")


def print_json(value: Any) -> None:
    """What ``--json`` prints."""
    click.echo(json.dumps(value, indent=2))


def console(width: int = _WIDE) -> Console:
    """Where tables go; ``width`` is that of files and pipes."""
    made = Literal()
    return made if made.is_terminal else _Plain(width=width)


class Literal(Console):
    """Shows every text as it is. Commands make no other console: a test holds them to it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def on_broken_pipe(self) -> None:
        """As of any other output, whose reader has gone (lost_output.py)."""
        raise  # the error that this is called for


class _Plain(Literal):
    """For files and pipes: no line ends with the spaces that fill up its last column."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As of any console."""
        with self.capture() as captured:
            super().print(*objects, **options)
        for line in captured.get().splitlines():
            self.file.write(line.rstrip() + "\n")


def table(*columns: str) -> Table:
    """A plain table; a column whose name starts with ``>`` is right-aligned."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        made.add_column(column.lstrip(">"), justify="right" if right else "left", overflow="fold")
    return made


def listing(rows: Iterable[tuple[str | Text, ...]]) -> Table:
    """Rows without a header: names and values."""
    rows = list(rows)
    made = table(*[""] * max(map(len, rows), default=0))
    made.show_header = False
    for row in rows:
        made.add_row(*row)
    return made


def duration(seconds: float, units: int = 2) -> str:
    """``3 d 4 h``, ``5 min 2 s``: the two largest units."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:units])


def since(at_ns: int) -> str:
    """``5 min 2 s ago``: how long a moment lies back."""
    return ago(at_ns / 1e9)


def ago(at_s: float) -> str:
    """The same, of seconds since the epoch."""
    return f"{lapsed(at_s, units=2)} ago"


def lapsed(at_s: float, units: int = 1) -> str:
    """``5 min``: what has passed since a moment in seconds since the epoch."""
    return duration(time.time() - at_s, units)


def utc(at_s: float) -> str:
    """``2026-11-28T21:40:05Z``: a moment in seconds since the epoch, for ``--json``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))


def age(seconds: float) -> str:
    """Short, for a column: ``0.3s``, ``12s``, ``5m``, ``3h``, ``2d``."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f}s"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def millis(ms: float | None) -> str:
    """A duration in milliseconds, to three figures: ``0.42ms``, ``12.3ms``, ``1.9s``."""
    if ms is None:
        return "-"
    if ms >= 10_000:
        return f"{ms / 1000:.0f}s"
    if ms >= 1000:
        return f"{ms / 1000:.1f}s"
    return f"{ms:.0f}ms" if ms >= 100 else f"{ms:.1f}ms" if ms >= 1 else f"{ms:.2f}ms"


def size(count: float) -> str:
    """Bytes, in the unit that fits: ``512 B``, ``84 MiB``, ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
