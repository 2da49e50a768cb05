"""What the controller recorded of one function, as a trace with costs and settings.

The record has exact times of the newest arrivals, and counts by the minute of older ones. An export
of it is the same message as JSON.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf import json_format

from rekindle.bench.records import write_json
from rekindle.bench.tune.settings import Setting
from rekindle.bench.tune.trace import Arrivals, TracedFunction, in_memory
from rekindle.controller.policies.policy import PoolSettings
from rekindle.exception import InvalidError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import as_dict, option_values
from rekindle.wire.pools import Figures, Level

#: Arrivals that are replayed; of a longer record the newest.
_MOST = 2_000_000


def read(path: Path) -> pb.RecordedReply:
    """Read an export. Raises InvalidError, naming what is wrong."""
    try:
        record = json_format.Parse(path.read_text(encoding="utf-8"), pb.RecordedReply())
        for series in record.series:
            _check(series.arrivals)
            _check(series.minutes)
        return record
    except OSError as error:
        raise InvalidError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, json_format.ParseError) as error:
        raise InvalidError(f"{path}: not an export of `rekindle tune`: {error}") from error


def _check(known: pb.Arrivals) -> None:
    """Raise ValueError for what is no arrivals."""
    if len(known.at) != len(known.count):
        raise ValueError(f"{len(known.at)} times, {len(known.count)} counts")
    for when in known.at:
        if not math.isfinite(when):
            raise ValueError(f"{when} is no time")


def write(record: pb.RecordedReply, path: Path) -> None:
    """Write an export; its directory is made where it is not there."""
    write_json(path, json_format.MessageToDict(record, preserving_proto_field_name=True))


def levels_of(record: pb.RecordedReply) -> dict[Level, Figures]:
    """What starting from each level, and holding it, costs. Raises InvalidError."""
    try:
        return {Level(name): Figures(**as_dict(one)) for name, one in record.levels.items()}
    except ValueError as error:
        raise InvalidError(f"the record of {record.function}: {error}") from None


def source_of(record: pb.RecordedReply) -> str:
    """Which of the costs were measured of this function, in words."""
    missing = [
        name for name, known in record.measured.items() if not known and not name.endswith("bytes")
    ]
    but = f", but for {', '.join(missing)}" if missing else ""
    return f"measured of this function{but}"


def settings_of(record: pb.RecordedReply) -> PoolSettings:
    """What its user has set."""
    given = record.settings
    return PoolSettings(
        min_containers=given.min_containers,
        max_containers=given.max_containers if given.HasField("max_containers") else None,
        buffer_containers=given.buffer_containers,
        spare_containers=given.spare_containers if given.HasField("spare_containers") else None,
        scaledown_window_s=given.scaledown_window,
    )


def in_force(record: pb.RecordedReply) -> Setting:
    """Its policy, as a setting to compare with. Raises InvalidError."""
    options = option_values(record.settings.policy_options)
    setting = Setting(record.settings.policy, options, current=True)
    setting.make()  # says what is wrong with it
    return setting


def trace_of(record: pb.RecordedReply, levels: Mapping[Level, Figures]) -> Arrivals:
    """The arrivals of all its pools as a trace, each pool (instance of a class) a function of it.

    Raises InvalidError where there are none.
    """
    pools = [pool for pool in record.series if pool.arrivals.at or pool.minutes.at]
    functions = [
        TracedFunction(
            label=record.function if len(pools) == 1 else f"{record.function}#{number}",
            levels=levels,
            settings=settings_of(record),
        )
        for number in range(1, len(pools) + 1)
    ]
    arrivals = [
        (when, index, service_s)
        for index, pool in enumerate(pools)
        for when, service_s in _arrivals(pool)
    ]
    if not arrivals:
        raise InvalidError(
            f"nothing has been recorded of {record.function}: call it for a while, or replay a "
            "trace (--trace)"
        )
    return in_memory(functions, arrivals, from_first=True)


def _arrivals(pool: pb.RecordedSeries) -> Iterator[tuple[float, float]]:
    """Exact ones, and before the first of them the counts of minutes; with service times."""
    exact = sorted(zip(pool.arrivals.at, pool.arrivals.count, strict=True))
    minutes = sorted(zip(pool.minutes.at, pool.minutes.count, strict=True), reverse=True)
    first = exact[0][0] if exact else math.inf
    rng = random.Random(1)
    times = [when for when, count in exact for _ in range(count)]
    for begins, count in minutes:
        if begins + 60 > first:
            continue  # of it, exact times are known
        times += [begins + 60 * rng.random() for _ in range(count)]
        if len(times) > _MOST:
            break
    for when in sorted(times)[-_MOST:]:
        yield when, _service_s(pool.service, rng)


def _service_s(known: pb.ServiceTimes, rng: random.Random) -> float:
    """A service time, of the recorded mean and median: log-normal where the mean is above."""
    mean, median = known.mean_s, known.p50_s
    if not mean > median > 0:
        return mean
    deviation = min(math.sqrt(2 * math.log(mean / median)), 3.0)
    return rng.lognormvariate(math.log(mean) - deviation**2 / 2, deviation)
