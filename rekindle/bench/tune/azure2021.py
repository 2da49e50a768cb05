"""Azure Functions 2021: every invocation, with the time at which it ended and how long it ran.

The file ``AzureFunctionsInvocationTraceForTwoWeeksJan2021.txt`` of AzurePublicDataset: app, func,
end_timestamp, duration, in seconds. Read line by line; 20 bytes an invocation are kept, because
they are ordered by their end and are replayed by their arrival.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path

from rekindle.bench.tune.files import header, number, rows, wrong
from rekindle.bench.tune.trace import Arrivals, TracedFunction
from rekindle.exception import InvalidError

_NAMES = ("app", "func", "end_timestamp", "duration")


def read(
    path: Path,
    function: Callable[[str], TracedFunction],
    *,
    only: str | None = None,
    most: int | None = None,
) -> Arrivals:
    """Read a trace. ``only`` takes functions whose name begins so, ``most`` so many functions."""
    columns = header(path, _NAMES, "the 2021 format")
    app, func, end, duration = (columns.index(name) for name in _NAMES)
    known: dict[tuple[str, str], int] = {}
    functions: list[TracedFunction] = []
    begins, which, services = array("d"), array("L"), array("d")
    found = rows(path)
    next(found)
    for line, row in found:
        if len(row) != len(columns):
            raise wrong(path, line, "", f"{len(row)} fields, the header has {len(columns)}")
        key = (row[app], row[func])
        if only is not None and not key[1].startswith(only):
            continue
        index = known.get(key)
        if index is None:
            if most is not None and len(functions) >= most:
                continue
            index = known[key] = len(functions)
            functions.append(function(f"{key[0][:12]}.{key[1][:12]}"))
        ran_s = number(path, line, "duration", row[duration], least=0)
        begins.append(number(path, line, "end_timestamp", row[end]) - ran_s)
        which.append(index)
        services.append(ran_s)
    if not begins:
        what = f" of a function whose name begins with {only!r}" if only else ""
        raise InvalidError(f"{path}: no invocation{what}")
    first = min(begins)
    order = sorted(range(len(begins)), key=begins.__getitem__)
    times = array("d", (begins[place] - first for place in order))
    ended = max(begins[place] + services[place] for place in order) - first
    return Arrivals(
        functions,
        times,
        array("L", (which[place] for place in order)),
        array("d", (services[place] for place in order)),
        ended,
    )
