"""Reading trace files line by line: errors that name file, line and column, and which format it is.

The formats themselves: azure2019.py, azure2021.py, timestamps.py.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from rekindle.exception import InvalidError


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


def header(path: Path, names: Sequence[str], what: str) -> list[str]:
    """The columns of a file that must have these."""
    found = next(rows(path), None)
    if found is None:
        raise InvalidError(f"{path}: empty; {what} has the columns {', '.join(names)}")
    line, columns = found
    columns = [column.strip() for column in columns]
    for name in names:
        if name not in columns:
            raise wrong(path, line, name, f"missing from the header; {what} has {', '.join(names)}")
    return columns


def guess_format(path: Path) -> str:
    """``azure2019``, ``azure2021`` or ``csv``, from the header."""
    found = next(rows(path), None)
    if found is None:
        raise InvalidError(f"{path}: empty: there is no arrival to replay")
    columns = [column.strip() for column in found[1]]
    if "HashFunction" in columns:
        return "azure2019"
    if "end_timestamp" in columns:
        return "azure2021"
    return "csv"
