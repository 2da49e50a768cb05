"""When schedules are due: cron expressions in time zones, periods by the calendar."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from rekindle.exception import InvalidError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import schedules

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo | None = None) -> float:
    """A moment."""
    return datetime.fromisoformat(text).replace(tzinfo=zone or UTC).timestamp()


def cron(expression: str, timezone: str = "UTC") -> pb.Schedule:
    """A cron schedule."""
    return pb.Schedule(cron=expression, timezone=timezone)


def test_a_cron_expression_is_due_at_the_local_time_also_when_clocks_change() -> None:
    nine = cron("0 9 * * *", "Europe/Berlin")
    before, after = at("2026-03-28T09:00", BERLIN), at("2026-03-29T09:00", BERLIN)
    assert schedules.next_after(nine, before, 0) == after
    assert after - before == 23 * 3600


@pytest.mark.parametrize(
    ("expression", "since", "due"),
    [
        ("30 2 * * *", "2026-03-29T00:00", ["2026-03-29T03:00", "2026-03-30T02:30"]),  # no 2:30
        ("30 2 * * *", "2026-10-25T00:00", ["2026-10-25T02:30", "2026-10-26T02:30"]),  # two 2:30
    ],
)
def test_a_time_that_clocks_skip_or_show_twice_is_due_once(
    expression: str, since: str, due: list[str]
) -> None:
    moment, found = at(since, BERLIN), []
    for _ in due:
        moment = schedules.next_after(cron(expression, "Europe/Berlin"), moment, 0)
        found.append(moment)
    assert found == [at(text, BERLIN) for text in due]


def test_the_latest_due_time_is_found_however_many_there_were() -> None:
    often = cron("*/5 * * * *")
    after, until = at("2026-01-01T00:00"), at("2026-06-01T10:12:30")
    assert schedules.latest_until(often, after, until, 0) == at("2026-06-01T10:10")
    exactly = at("2026-06-01T10:10")
    assert schedules.latest_until(often, after, exactly, 0) == exactly
    assert schedules.latest_until(often, exactly, exactly + 299, 0) is None


def test_a_period_counts_from_where_it_began() -> None:
    hours = pb.Schedule(seconds=3 * 3600)
    anchor = at("2026-01-01T00:10")
    assert schedules.next_after(hours, anchor, anchor) == at("2026-01-01T03:10")
    assert schedules.next_after(hours, at("2026-01-02T06:10"), anchor) == at("2026-01-02T09:10")
    assert schedules.latest_until(hours, anchor, at("2026-01-02T06:09"), anchor) == at(
        "2026-01-02T03:10"
    )
    assert schedules.latest_until(hours, anchor, anchor + 60, anchor) is None


def test_months_are_those_of_the_calendar_and_the_day_is_kept_where_it_can_be() -> None:
    monthly = pb.Schedule(months=1)
    anchor, moment, found = at("2026-01-31T08:00"), at("2026-01-31T08:00"), []
    for _ in range(3):
        moment = schedules.next_after(monthly, moment, anchor)
        found.append(moment)
    days = ["2026-02-28T08:00", "2026-03-31T08:00", "2026-04-30T08:00"]
    assert found == [at(day) for day in days]


def test_fractions_of_a_second_do_not_lose_or_repeat_a_due_time() -> None:
    period, anchor = pb.Schedule(seconds=1.1), 1_795_893_513.7
    moment = anchor
    for count in range(1, 2000):
        following = schedules.next_after(period, moment, anchor)
        assert following == anchor + count * 1.1
        assert schedules.latest_until(period, moment, following, anchor) == following
        moment = following


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (cron("0 25 * * *"), "is no cron expression"),
        (cron("0 9 * *"), "write five fields"),
        (cron("0 9 * * * *"), "write five fields"),
        (cron("0 0 31 2 *"), "Bad day-of-month"),
        (cron("0 9 * * *", "Europe/Berlim"), "no time zone 'Europe/Berlim'"),
        (cron("0 9 * * *", "../etc/passwd"), "no time zone"),
        (pb.Schedule(), "without a time"),
        (pb.Schedule(years=9000), "never is due"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(schedule: pb.Schedule, words: str) -> None:
    with pytest.raises(InvalidError, match=words):
        schedules.check(schedule)


def test_a_schedule_reads_as_people_write_it() -> None:
    assert schedules.shown(cron("0 9 * * 1-5", "Europe/Berlin")) == "0 9 * * 1-5 (Europe/Berlin)"
    assert schedules.shown(pb.Schedule(seconds=90_061.5)) == "every 1 d 1 h 1 min 1.5 s"
    assert schedules.shown(pb.Schedule(months=1)) == "every month"
    assert schedules.shown(pb.Schedule(years=1, months=2)) == "every 1 y 2 months"


def test_what_is_never_due_is_at_no_time() -> None:
    assert schedules.next_after(pb.Schedule(years=9000), 0.0, 0.0) == math.inf
