"""Azure Functions 2019: how often each function was invoked in each minute of a day.

Files ``invocations_per_function_md.anon.dNN.csv`` of AzurePublicDataset: HashOwner, HashApp,
HashFunction, Trigger, 1 ... 1440. Counts are spread over their minute at random (the same each
time), timers' at its beginning. A day of that trace has a thousand million invocations, so arrivals
are made minute by minute while they are replayed; only the counts above zero are kept.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rekindle.bench.tune.files import Functions, columns_of, number, wrong
from rekindle.bench.tune.trace import Chunk, TracedFunction
from rekindle.exception import InvalidError

_NAMES = ("HashOwner", "HashApp", "HashFunction", "Trigger")
_MINUTES = 1440
_MINUTE_S = 60.0


@dataclass(frozen=True)
class PerMinute:
    """Counts a minute, expanded as they are replayed."""

    functions: Sequence[TracedFunction]
    #: For each minute, pairs of function and count, flat.
    counts: Sequence[array[int]]
    timers: frozenset[int]
    service_s: float

    @property
    def duration_s(self) -> float:
        """The whole of the day, or of the days."""
        return len(self.counts) * _MINUTE_S

    def chunks(self) -> Iterator[Chunk]:
        """One chunk a minute."""
        rng = random.Random(1)
        service = self.service_s
        for minute, pairs in enumerate(self.counts):
            if not pairs:
                continue
            begins = minute * _MINUTE_S
            arrivals: list[tuple[float, int]] = []
            for place in range(0, len(pairs), 2):
                function, count = pairs[place], pairs[place + 1]
                if function in self.timers:
                    even_s = _MINUTE_S / count
                    arrivals += [(begins + i * even_s, function) for i in range(count)]
                else:
                    arrivals += [
                        (begins + _MINUTE_S * rng.random(), function) for _ in range(count)
                    ]
            arrivals.sort()
            yield (
                [when for when, _ in arrivals],
                [function for _, function in arrivals],
                [service] * len(arrivals),
            )

    def __len__(self) -> int:
        return sum(sum(pairs[1::2]) for pairs in self.counts)


def read(path: Path, functions: Functions) -> PerMinute:
    """Read one day. The trace says nothing of how long an invocation runs."""
    columns, lines = columns_of(path, (*_NAMES, "1"), "the 2019 format")
    place = {name: columns.index(name) for name in _NAMES}
    minutes: list[tuple[int, int]] = []
    for index, name in enumerate(columns):
        if name not in place:
            if not name.isdecimal() or not 1 <= int(name) <= _MINUTES:
                raise wrong(path, 1, name or str(index + 1), f"a minute is 1 to {_MINUTES}")
            minutes.append((index, int(name) - 1))
    timers: set[int] = set()
    counts = [array("L") for _ in range(1 + max(minute for _, minute in minutes))]
    for line, row in lines:
        if functions.is_full:
            break
        name = row[place["HashFunction"]].strip()
        function = functions.place(line, name, name)
        if function is None:
            continue
        if row[place["Trigger"]].strip() == "timer":
            timers.add(function)
        for index, minute in minutes:
            text = row[index]
            if text == "0" or not text:
                continue
            count = number(path, line, columns[index], text, least=0)
            if count != int(count):
                raise wrong(path, line, columns[index], f"{text} is not a whole number")
            if count:
                counts[minute].extend((function, int(count)))
    if not functions.taken:
        what = f" whose hash begins with {functions.only!r}" if functions.only else ""
        raise InvalidError(f"{path}: no function{what}")
    return PerMinute(functions.taken, counts, frozenset(timers), functions.service_s)
