"""Plain CSV: one arrival a line, its time in seconds or ISO 8601, with or without a header.

With a header, columns are found by name: ``timestamp`` (or time, arrival, start, ts), and, if they
are there, ``duration`` (or service_s, duration_s, service) in seconds and ``function`` (or func,
name). Without one: timestamp[,duration[,function]].
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

from rekindle.bench.tune.files import Functions, number, rows, wrong
from rekindle.bench.tune.trace import Arrivals, in_memory
from rekindle.exception import InvalidError

_ALIASES = {
    "timestamp": ("timestamp", "time", "arrival", "start", "ts", "arrived"),
    "duration": ("duration", "service_s", "duration_s", "service"),
    "function": ("function", "func", "name"),
}


def read(path: Path, functions: Functions) -> Arrivals:
    """Read a trace."""
    columns: dict[str, int] | None = None
    arrivals: list[tuple[float, int, float]] = []
    for line, fields in rows(path):
        row = [text.strip() for text in fields]
        if columns is None:
            columns, is_header = _columns(path, line, row)
            if is_header:
                continue
        if columns["timestamp"] >= len(row):
            raise wrong(path, line, "timestamp", "missing")
        given = {name: row[place] for name, place in columns.items() if place < len(row)}
        when = _time(given["timestamp"])
        if when is None:
            problem = f"{given['timestamp']!r} is neither seconds nor a time in ISO 8601"
            raise wrong(path, line, "timestamp", problem)
        ran_s = functions.service_s
        if given.get("duration"):
            ran_s = number(path, line, "duration", given["duration"], least=0)
        name = given.get("function") or path.stem
        place = functions.place(name, name, name)
        if place is not None:
            arrivals.append((when, place, ran_s))
    if not arrivals:
        raise InvalidError(f"{path}: empty: there is no arrival to replay")
    return in_memory(functions.taken, arrivals, from_first=True)


def _columns(path: Path, line: int, row: list[str]) -> tuple[dict[str, int], bool]:
    """Where each column is, and whether this row is a header."""
    lowered = [field.lower() for field in row]
    named = {
        name: lowered.index(alias)
        for name, aliases in _ALIASES.items()
        for alias in reversed(aliases)
        if alias in lowered
    }
    if "timestamp" in named:
        return named, True
    if _time(row[0]) is not None:
        return {"timestamp": 0, "duration": 1, "function": 2}, False
    raise wrong(
        path,
        line,
        "1",
        f"{row[0]!r} is neither a time (seconds or ISO 8601) nor the header of a column "
        f"{', '.join(_ALIASES['timestamp'])}",
    )


def _time(text: str) -> float | None:
    """Seconds; a time without a zone is UTC. None for what is no time."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            given = datetime.fromisoformat(text)
        except ValueError:
            return None
        return (given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp()
    return seconds if math.isfinite(seconds) else None
