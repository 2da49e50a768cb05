"""Azure Functions 2021: every invocation, with the time at which it ended and how long it ran.

The file ``AzureFunctionsInvocationTraceForTwoWeeksJan2021.txt`` of AzurePublicDataset: app, func,
end_timestamp, duration, in seconds. Invocations are ordered by their end, and replayed by their
arrival.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rekindle.bench.tune.files import Functions, columns_of, number
from rekindle.bench.tune.trace import Arrivals, in_memory
from rekindle.exception import InvalidError

_NAMES = ("app", "func", "end_timestamp", "duration")


def read(path: Path, functions: Functions) -> Arrivals:
    """Read a trace."""
    columns, lines = columns_of(path, _NAMES, "the 2021 format")
    app, func, end, duration = (columns.index(name) for name in _NAMES)

    def arrivals() -> Iterator[tuple[float, int, float]]:
        for line, row in lines:
            key = (row[app], row[func])
            place = functions.place(key, key[1], f"{key[0][:12]}.{key[1][:12]}")
            if place is not None:
                ran_s = number(path, line, "duration", row[duration], least=0)
                yield number(path, line, "end_timestamp", row[end]) - ran_s, place, ran_s

    found = in_memory(functions.taken, arrivals(), from_first=True)
    if not len(found):
        only = functions.only
        what = f" of a function whose name begins with {only!r}" if only else ""
        raise InvalidError(f"{path}: no invocation{what}")
    return found
