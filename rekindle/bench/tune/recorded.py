"""What was recorded of one function, as a trace: its arrivals, service times, costs and settings.

The record of the controller comes as a JSON object (``rekindle.sdk.autoscaler.recorded``, or an
export of it); it keeps exact times for the newest arrivals and counts by the minute for older ones.
A simpler object of timestamps and service times, made by hand or another tool, is read too.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rekindle.bench.tune.costs import levels as measured_elsewhere
from rekindle.bench.tune.costs import parse_levels
from rekindle.bench.tune.settings import Setting
from rekindle.bench.tune.trace import Arrivals, TracedFunction, in_memory
from rekindle.controller.policies.policy import PoolSettings
from rekindle.exception import InvalidError
from rekindle.wire.pools import Figures, Level

#: Arrivals that are replayed; of a longer record the newest.
_MOST = 2_000_000


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A record of a function that has run."""

    function: str  # APP.FUNCTION
    #: For each pool of it (instances of a class), arrivals in seconds, in order.
    timestamps: Sequence[Sequence[float]]
    service_s: Sequence[Sequence[float]]  # how long each ran
    #: What starting from each level, and holding it, costs.
    levels: Mapping[Level, Figures]
    settings: PoolSettings
    #: The policy in force, as a setting to compare with.
    now: Setting
    #: Which of the costs were measured of this function, in words.
    source: str


def trace_of(record: Recorded) -> Arrivals:
    """The arrivals of all its pools as a trace, each pool a function of it."""
    series = list(zip(record.timestamps, record.service_s, strict=True))
    functions = [
        TracedFunction(
            label=record.function if len(series) == 1 else f"{record.function}#{number}",
            levels=record.levels,
            settings=record.settings,
        )
        for number in range(1, len(series) + 1)
    ]
    arrivals = [
        (when, index, service)
        for index, (times, services) in enumerate(series)
        for when, service in zip(times, services, strict=True)
    ]
    if not arrivals:
        raise InvalidError(
            f"nothing has been recorded of {record.function}: call it for a while, or replay a "
            "trace (--trace)"
        )
    first = min(when for when, _, _ in arrivals)
    return in_memory(functions, ((when - first, i, s) for when, i, s in arrivals))


def read(path: Path) -> Recorded:
    """Read an export. Raises InvalidError, naming what is wrong."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InvalidError(f"{path}: not JSON: {error}") from error
    return parse(raw, str(path))


def parse(raw: Any, where: str) -> Recorded:
    """A record from the controller's answer, or from an object of ``timestamps``."""
    if not isinstance(raw, Mapping):
        raise InvalidError(f"{where}: expected an object")
    if "series" in raw:
        series = [_series(one, f"{where}: series {n}") for n, one in enumerate(raw["series"])]
        series = [(times, services) for times, services in series if times]
    elif "timestamps" in raw:
        times = _numbers(raw["timestamps"], f"{where}: timestamps")
        given = raw.get("service_s", 0.1)
        if isinstance(given, int | float):
            services = [float(given)] * len(times)
        else:
            services = _numbers(given, f"{where}: service_s")
        if len(services) != len(times):
            raise InvalidError(
                f"{where}: {len(times)} timestamps, {len(services)} service times in service_s"
            )
        ordered = sorted(zip(times, services, strict=True))
        series = [([when for when, _ in ordered], [service for _, service in ordered])]
    else:
        raise InvalidError(f"{where}: neither 'series' nor 'timestamps' is in it")
    settings = _settings(raw, where)
    levels = parse_levels(raw["levels"], f"{where}: levels") if "levels" in raw else None
    return Recorded(
        function=str(raw.get("function", where)),
        timestamps=[times for times, _ in series],
        service_s=[services for _, services in series],
        levels=levels or measured_elsewhere(),
        settings=settings,
        now=_now(raw, settings, where),
        source=_source(raw, levels is not None),
    )


def _numbers(raw: Any, where: str) -> list[float]:
    if not isinstance(raw, list):
        raise InvalidError(f"{where}: expected a list of numbers")
    for place, value in enumerate(raw):
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise InvalidError(f"{where}: entry {place} is {value!r}, not a number")
    return [float(value) for value in raw]


def _pairs(raw: Any, where: str) -> list[tuple[float, int]]:
    """Times and counts."""
    if not isinstance(raw, list):
        raise InvalidError(f"{where}: expected a list of pairs")
    found = []
    for place, pair in enumerate(raw):
        if not isinstance(pair, list) or len(pair) != 2:
            raise InvalidError(f"{where}: entry {place} is {pair!r}, not a time and a count")
        when, count = _numbers(pair, f"{where}: entry {place}")
        found.append((when, max(0, int(count))))
    return sorted(found)


def _series(raw: Any, where: str) -> tuple[list[float], list[float]]:
    """Arrivals of one pool: exact ones, and before the first of them the counts of minutes."""
    if not isinstance(raw, Mapping):
        raise InvalidError(f"{where}: expected an object")
    exact = _pairs(raw.get("arrivals", []), f"{where}: arrivals")
    minutes = _pairs(raw.get("minutes", []), f"{where}: minutes")
    first = exact[0][0] if exact else math.inf
    rng = random.Random(1)
    times = [when for when, count in exact for _ in range(count)]
    for begins, count in reversed(minutes):
        if begins + 60 > first:
            continue  # of it, exact times are known
        times += [begins + 60 * rng.random() for _ in range(count)]
        if len(times) > _MOST:
            break
    times = sorted(times)[-_MOST:]
    service = raw.get("service")
    service = service if isinstance(service, Mapping) else {}
    return times, list(_services(service, len(times), rng))


def _services(raw: Mapping[str, Any], count: int, rng: random.Random) -> Iterator[float]:
    """Service times with the recorded mean and median: log-normal where the mean is above."""
    mean = float(raw.get("mean_s") or 0.0)
    median = float(raw.get("p50_s") or 0.0)
    if mean > median > 0:
        deviation = min(math.sqrt(2 * math.log(mean / median)), 3.0)
        for _ in range(count):
            yield rng.lognormvariate(math.log(mean) - deviation**2 / 2, deviation)
    else:
        for _ in range(count):
            yield mean


def _settings(raw: Mapping[str, Any], where: str) -> PoolSettings:
    given = raw.get("settings", raw)
    if not isinstance(given, Mapping):
        raise InvalidError(f"{where}: settings is an object")
    values: dict[str, Any] = {}
    for name, key in (
        ("min_containers", "min_containers"),
        ("max_containers", "max_containers"),
        ("buffer_containers", "buffer_containers"),
        ("scaledown_window", "scaledown_window_s"),
        ("scaledown_window_s", "scaledown_window_s"),
    ):
        value = given.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise InvalidError(f"{where}: {name} is {value!r}, not a number of 0 or more")
        values[key] = float(value) if key == "scaledown_window_s" else int(value)
    if values.get("max_containers") == 0:
        del values["max_containers"]
    return PoolSettings(**values)


def _now(raw: Mapping[str, Any], settings: PoolSettings, where: str) -> Setting:
    policy = raw.get("policy")
    options = raw.get("policy_options") or {}
    if policy is None:
        return Setting("fixed", {"keep_s": settings.scaledown_window_s}, current=True)
    if not isinstance(policy, str) or not isinstance(options, Mapping):
        raise InvalidError(f"{where}: policy is a name and policy_options an object")
    setting = Setting(policy, dict(options), current=True)
    setting.make()  # says what is wrong with it
    return setting


def _source(raw: Mapping[str, Any], has_levels: bool) -> str:
    if not has_levels:
        return ""
    measured = raw.get("measured")
    if not isinstance(measured, Mapping):
        return "as the record says"
    missing = [name for name, known in _starts(measured) if not known]
    if not missing:
        return "measured of this function"
    return f"measured of this function, but for {', '.join(missing)}"


def _starts(measured: Mapping[str, Any]) -> Iterable[tuple[str, bool]]:
    return ((name, bool(known)) for name, known in measured.items() if not name.endswith("bytes"))
