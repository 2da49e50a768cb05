"""Azure Functions 2021: every invocation, with the time at which it ended and how long it ran.

The file ``AzureFunctionsInvocationTraceForTwoWeeksJan2021.txt`` of AzurePublicDataset: app, func,
end_timestamp, duration, in seconds. Read line by line; 20 bytes an invocation are kept, because
they are ordered by their end and are replayed by their arrival.
"""

from __future__ import annotations

from array import array
from pathlib import Path

from rekindle.bench.tune.files import Functions, columns_of, number
from rekindle.bench.tune.trace import Arrivals
from rekindle.exception import InvalidError

_NAMES = ("app", "func", "end_timestamp", "duration")


def read(path: Path, functions: Functions) -> Arrivals:
    """Read a trace."""
    columns, lines = columns_of(path, _NAMES, "the 2021 format")
    app, func, end, duration = (columns.index(name) for name in _NAMES)
    begins, which, services = array("d"), array("L"), array("d")
    for line, row in lines:
        key = (row[app], row[func])
        place = functions.place(key, key[1], f"{key[0][:12]}.{key[1][:12]}")
        if place is None:
            continue
        ran_s = number(path, line, "duration", row[duration], least=0)
        begins.append(number(path, line, "end_timestamp", row[end]) - ran_s)
        which.append(place)
        services.append(ran_s)
    if not begins:
        only = functions.only
        what = f" of a function whose name begins with {only!r}" if only else ""
        raise InvalidError(f"{path}: no invocation{what}")
    first = min(begins)
    order = sorted(range(len(begins)), key=begins.__getitem__)
    times = array("d", (begins[place] - first for place in order))
    ended = max(begins[place] + services[place] for place in order) - first
    return Arrivals(
        functions.taken,
        times,
        array("L", (which[place] for place in order)),
        array("d", (services[place] for place in order)),
        ended,
    )
