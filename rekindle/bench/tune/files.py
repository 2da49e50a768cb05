"""What all formats of trace files share: lines, errors that name file, line and column, functions.

The formats themselves: azure2019.py, azure2021.py, timestamps.py.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rekindle.bench.tune.trace import TracedFunction
from rekindle.controller.policies.policy import PoolSettings
from rekindle.exception import InvalidError
from rekindle.wire.pools import Figures, Level


@dataclass
class Functions:
    """The functions of a file that are taken, in the order in which they come.

    ``only``: those whose name begins so; ``most``: so many, the first ones. ``service_s`` is how
    long an input runs where the file does not say.
    """

    levels: Mapping[Level, Figures]
    settings: PoolSettings
    service_s: float
    only: str | None = None
    most: int | None = None
    taken: list[TracedFunction] = field(default_factory=list)
    _places: dict[Hashable, int] = field(default_factory=dict)

    def place(self, key: Hashable, name: str, label: str) -> int | None:
        """Where a function is in ``taken``; None where it is not wanted."""
        if key not in self._places:
            if self.is_full or not name.startswith(self.only or ""):
                return None
            self._places[key] = len(self.taken)
            self.taken.append(
                TracedFunction(label=label, levels=self.levels, settings=self.settings)
            )
        return self._places[key]

    @property
    def is_full(self) -> bool:
        """Whether no other function is taken."""
        return self.most is not None and len(self.taken) >= self.most


def wrong(path: Path, line: int, column: str, problem: str) -> InvalidError:
    """The error for one field of one line."""
    where = f"{path}, line {line}" + (f", column {column}" if column else "")
    return InvalidError(f"{where}: {problem}")


def rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Lines of a CSV file (also gzipped), with their numbers from 1; blank ones are left out.

    InvalidError where the file cannot be read or is not text.
    """
    try:
        with path.open("rb") as raw:
            gzipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            data = gzip.GzipFile(fileobj=raw) if gzipped else raw
            text = io.TextIOWrapper(data, encoding="utf-8-sig", newline="")
            reader = csv.reader(text)
            for row in reader:
                if any(field.strip() for field in row):
                    yield reader.line_num, row
    except OSError as error:
        raise InvalidError(f"cannot read {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error, EOFError) as error:
        raise InvalidError(f"{path}: not a text file of comma-separated values: {error}") from error


def number(path: Path, line: int, column: str, field: str, *, least: float | None = None) -> float:
    """A field that must be a number."""
    try:
        value = float(field)
    except ValueError:
        raise wrong(path, line, column, f"{field!r} is not a number") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise wrong(path, line, column, f"{field!r} is not a finite number")
    if least is not None and value < least:
        raise wrong(path, line, column, f"{field} is less than {least:g}")
    return value


def columns_of(
    path: Path, names: Sequence[str], what: str
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The columns of a file that must have these, and its other lines, all of that length."""
    found = rows(path)
    first = next(found, None)
    if first is None:
        raise InvalidError(f"{path}: empty; {what} has the columns {', '.join(names)}")
    line, columns = first[0], [column.strip() for column in first[1]]
    for name in names:
        if name not in columns:
            raise wrong(path, line, name, f"missing from the header; {what} has {', '.join(names)}")
    return columns, _of_length(path, found, len(columns))


def _of_length(
    path: Path, found: Iterator[tuple[int, list[str]]], length: int
) -> Iterator[tuple[int, list[str]]]:
    for line, row in found:
        if len(row) != length:
            raise wrong(path, line, "", f"{len(row)} fields, the header has {length}")
        yield line, row
