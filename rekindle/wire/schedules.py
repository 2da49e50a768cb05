"""Schedules: what a Schedule message means, and when it is due. Knows nothing of functions.

Times are seconds since the epoch. cronsim finds those of cron expressions.
"""

from __future__ import annotations

import calendar
import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from rekindle.exception import InvalidError
from rekindle.wire import rekindle_pb2 as pb

#: Behind the last year that a datetime can have: what is due then never is.
_NEVER = math.inf


def check(schedule: pb.Schedule) -> None:
    """Raise InvalidError for a schedule that makes no sense, or that never is due."""
    now = datetime.now(UTC).timestamp()
    if schedule.cron:
        _zone(schedule.timezone)
        if len(schedule.cron.split()) != 5:
            raise InvalidError(
                f"Cron({schedule.cron!r}): write five fields, as in '0 9 * * 1-5': minute, hour, "
                f"day of the month, month, day of the week"
            )
    elif not (schedule.years or schedule.months or schedule.seconds):
        raise InvalidError("a schedule without a time")
    if next_after(schedule, now, now) == _NEVER:
        raise InvalidError(f"the schedule {shown(schedule)} never is due")


def shown(schedule: pb.Schedule) -> str:
    """As people write it."""
    if schedule.cron:
        return f"{schedule.cron} ({schedule.timezone or 'UTC'})"
    years, months = schedule.years, schedule.months
    parts = [f"{years} y"] if years else []
    if months:
        parts.append(f"{months} months" if months > 1 else "month")
    left = schedule.seconds
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count:.0f} {name}")
    if left:
        parts.append(f"{left:g} s")
    return "every " + " ".join(parts)


def next_after(schedule: pb.Schedule, moment: float, anchor: float) -> float:
    """The first due time after ``moment``; ``anchor``: when a period began. inf: none comes.

    Raises InvalidError for a cron expression that is none.
    """
    if schedule.cron:
        return _next_of_cron(schedule, moment)
    return _next_of_period(schedule, moment, anchor)


def latest_until(schedule: pb.Schedule, after: float, until: float, anchor: float) -> float | None:
    """The last due time that is later than ``after`` and not later than ``until``."""
    if next_after(schedule, after, anchor) > until:
        return None
    if not schedule.cron:
        return _last_of_period(schedule, until, anchor)
    zone = _zone(schedule.timezone)
    # Backwards from just behind the moment: cronsim leaves out the one that it begins at.
    start = datetime.fromtimestamp(math.floor(until) + 1, zone)
    try:
        found = next(CronSim(schedule.cron, start, reverse=True)).timestamp()
    except StopIteration:
        return None
    return found if after < found <= until else None


def _next_of_cron(schedule: pb.Schedule, moment: float) -> float:
    start = datetime.fromtimestamp(moment, _zone(schedule.timezone))
    try:
        return next(CronSim(schedule.cron, start)).timestamp()
    except CronSimError as error:
        raise InvalidError(f"Cron({schedule.cron!r}) is no cron expression: {error}") from None
    except StopIteration:
        return _NEVER


def _next_of_period(schedule: pb.Schedule, moment: float, anchor: float) -> float:
    if moment < anchor:
        return _after_periods(schedule, anchor, 1)
    return _after_periods(schedule, anchor, _periods_until(schedule, moment, anchor) + 1)


def _last_of_period(schedule: pb.Schedule, until: float, anchor: float) -> float:
    return _after_periods(schedule, anchor, _periods_until(schedule, until, anchor))


def _periods_until(schedule: pb.Schedule, moment: float, anchor: float) -> int:
    """How many periods have ended at a moment."""
    months = 12 * schedule.years + schedule.months
    rough_s = months * 31 * 86_400 + schedule.seconds  # no period is longer
    count = max(0, int((moment - anchor) / rough_s))
    while _after_periods(schedule, anchor, count + 1) <= moment:
        count += 1
    while count and _after_periods(schedule, anchor, count) > moment:  # rounding
        count -= 1
    return count


def _after_periods(schedule: pb.Schedule, anchor: float, count: int) -> float:
    months = count * (12 * schedule.years + schedule.months)
    if not months:
        return anchor + count * schedule.seconds
    begin = datetime.fromtimestamp(anchor, UTC)
    year, month = divmod(begin.month - 1 + months, 12)
    try:
        last_day = calendar.monthrange(begin.year + year, month + 1)[1]
        moved = begin.replace(year=begin.year + year, month=month + 1, day=min(begin.day, last_day))
        return (moved + timedelta(seconds=count * schedule.seconds)).timestamp()
    except (ValueError, OverflowError):
        return _NEVER


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidError(
            f"there is no time zone {name!r}; write a name of the IANA database, as in "
            f"'Europe/Berlin'"
        ) from None
