"""Cron and Period: when a deployed function runs by itself. Standard library only in runners.

They are checked where they are written; in a runner, which runs nothing by them, only their form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rekindle.exception import InvalidError
from rekindle.execution.context import is_local
from rekindle.sdk import checks
from rekindle.sdk.user_frames import trims

if TYPE_CHECKING:
    from rekindle.wire import rekindle_pb2 as pb

_DAY_S = 86_400
#: The shortest period: what is due more often is better a loop in one function.
_LEAST_S = 1.0


@trims
@dataclass(frozen=True)
class Cron:
    """The times of a cron expression, as in ``Cron("0 9 * * 1-5", timezone="Europe/Berlin")``.

    ``cron_string``: minute, hour, day of the month, month, day of the week. ``timezone``: a name of
    the IANA database; a time that its clocks skip in spring runs right after the gap, one that
    they show twice in autumn runs once. Raises InvalidError for an expression that is none or that
    never comes, and for an unknown time zone.
    """

    cron_string: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        for name in ("cron_string", "timezone"):
            if not isinstance(getattr(self, name), str):
                raise InvalidError(f"Cron({name}={getattr(self, name)!r}) must be a text")
        if is_local():
            from rekindle.wire import schedules

            schedules.check(self.message())

    def message(self) -> pb.Schedule:
        """As it travels."""
        from rekindle.wire import rekindle_pb2 as pb

        return pb.Schedule(cron=self.cron_string, timezone=self.timezone)


@trims
@dataclass(frozen=True, kw_only=True)
class Period:
    """Again and again after a period, the first time one period after it was deployed.

    Months and years are those of the calendar (UTC). Raises InvalidError for a value below 0 and
    for less than a second in all.
    """

    years: int = 0
    months: int = 0
    weeks: int = 0
    days: int = 0
    hours: int = 0
    minutes: int = 0
    seconds: float = 0

    def __post_init__(self) -> None:
        for name in ("years", "months", "weeks", "days", "hours", "minutes"):
            checks.number(f"Period({name})", getattr(self, name), 0, None, whole=True)
        checks.number("Period(seconds)", self.seconds, 0, None)
        if not (self.years or self.months) and self._seconds() < _LEAST_S:
            least = f"{_LEAST_S:g} s is the least, as in Period(minutes=5)"
            raise InvalidError(f"a Period of {self._seconds():g} s is too short: {least}")
        if is_local():
            from rekindle.wire import schedules

            schedules.check(self.message())

    def _seconds(self) -> float:
        days = 7 * self.weeks + self.days
        return days * _DAY_S + self.hours * 3600 + self.minutes * 60 + self.seconds

    def message(self) -> pb.Schedule:
        """As it travels."""
        from rekindle.wire import rekindle_pb2 as pb

        return pb.Schedule(years=self.years, months=self.months, seconds=self._seconds())


def check(where: str, schedule: object) -> Cron | Period | None:
    """Refuse what is no schedule. Raises InvalidError."""
    if schedule is None or isinstance(schedule, Cron | Period):
        return schedule
    raise InvalidError(
        f"{where}: schedule={schedule!r} must be rekindle.Cron(...) or rekindle.Period(...)"
    )
