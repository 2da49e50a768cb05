"""What is replayed: functions, and when their inputs arrived. Knows no format and no policy."""

from __future__ import annotations

import operator
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field
from typing import Any, ClassVar, Protocol

from rekindle.controller.policies.policy import PoolSettings
from rekindle.exception import InvalidError
from rekindle.wire.pools import Figures, Level, template_of

#: Arrivals of one stretch of time, in order: when (seconds), of which function, run for how long.
Chunk = tuple[Sequence[float], Sequence[int], Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class TracedFunction:
    """A function of a trace: what starting and holding it costs, and what its user has set."""

    label: str
    levels: Mapping[Level, Figures]
    settings: PoolSettings = field(default_factory=PoolSettings)

    def __post_init__(self) -> None:
        for level in (Level.WARM, Level.NONE):
            if level not in self.levels:
                raise InvalidError(
                    f"{self.label}: no figures of level {level.value!r}: an idle runner and a cold "
                    "start are always possible, so both must be given"
                )
        if Level.SPARE in self.levels and template_of(self.levels) is None:
            raise InvalidError(
                f"{self.label}: level 'spare' needs its template: give 'mapped' or 'booted', too"
            )
        most, least = self.settings.max_containers, self.settings.min_containers
        if most is not None and (most < 1 or least > most):
            raise InvalidError(
                f"{self.label}: max_containers is {most} and min_containers {least}: no input "
                "could run, or more would be kept than may be"
            )


class Trace(Protocol):
    """Arrivals of functions over ``duration_s``, in order, as often as one asks; a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def functions(self) -> Sequence[TracedFunction]:
        """What the arrivals are of; their index is what a chunk names."""

    @property
    def duration_s(self) -> float:
        """What is held is paid for until then."""

    def chunks(self) -> Iterator[Chunk]:
        """All arrivals, ordered by time; every call gives the same."""


@dataclass(frozen=True)
class Arrivals:
    """A trace that is in memory."""

    functions: Sequence[TracedFunction]
    times: Sequence[float]
    which: Sequence[int]
    services: Sequence[float]
    duration_s: float

    def chunks(self) -> Iterator[Chunk]:
        """One chunk of everything."""
        yield self.times, self.which, self.services

    def __len__(self) -> int:
        return len(self.times)


def in_memory(
    functions: Sequence[TracedFunction],
    arrivals: Iterable[tuple[float, int, float]],
    *,
    duration_s: float | None = None,
    from_first: bool = False,
) -> Arrivals:
    """A trace from (time, function, service time) in any order, in 24 bytes each.

    Without ``duration_s`` it ends with the last arrival's end. ``from_first``: time begins, at 0,
    with the first arrival.
    """
    times, which, services = array("d"), array("L"), array("d")
    for when, function, service in arrivals:
        times.append(when)
        which.append(function)
        services.append(service)
    order = sorted(range(len(times)), key=lambda i: (times[i], which[i], services[i]))
    first = min(times, default=0.0) if from_first else 0.0
    begins = array("d", (times[i] - first for i in order))
    ran = array("d", (services[i] for i in order))
    if duration_s is None:
        duration_s = max(map(operator.add, begins, ran), default=0.0)
    return Arrivals(functions, begins, array("L", (which[i] for i in order)), ran, duration_s)
