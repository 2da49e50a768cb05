"""Cron and Period are checked where they are written."""

from __future__ import annotations

from typing import Any

import pytest

import rekindle
from rekindle.exception import InvalidError


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rekindle.Cron("every monday"), "write five fields"),
        (lambda: rekindle.Cron("0 0 30 2 *"), "Bad day-of-month"),
        (lambda: rekindle.Cron("0 9 * * *", timezone="Mars"), "no time zone 'Mars'"),
        (lambda: rekindle.Cron(5), "must be a text"),
        (lambda: rekindle.Period(), "0 s is too short: 1 s is the least"),
        (lambda: rekindle.Period(seconds=0.5), "too short"),
        (lambda: rekindle.Period(hours=-1), r"Period\(hours\)"),
        (lambda: rekindle.Period(days=1.5), r"Period\(days\)"),
    ],
)
def test_what_is_no_schedule_is_refused_where_it_is_written(make: Any, words: str) -> None:
    with pytest.raises(InvalidError, match=words):
        make()


def test_a_schedule_travels_with_all_its_parts() -> None:
    message = rekindle.Cron("0 9 * * *", "Europe/Berlin").message()
    assert (message.cron, message.timezone) == ("0 9 * * *", "Europe/Berlin")
    message = rekindle.Period(years=1, months=2, weeks=1, days=1, hours=1, minutes=1).message()
    assert (message.years, message.months) == (1, 2)
    assert message.seconds == 8 * 86_400 + 3600 + 60


def test_only_a_function_that_takes_nothing_has_a_schedule() -> None:
    app = rekindle.App("scheduled")
    daily = rekindle.Period(days=1)
    with pytest.raises(InvalidError, match="calls it without arguments"):

        @app.function(schedule=daily)
        def takes(x: int) -> int:
            return x

    with pytest.raises(InvalidError, match="only a function has a schedule"):

        @app.cls(schedule=daily)
        class Some:
            pass

    with pytest.raises(InvalidError, match=r"must be rekindle.Cron"):

        @app.function(schedule="0 9 * * *")  # type: ignore[arg-type]
        def text() -> None:
            return None

    @app.function(schedule=daily)
    def fine(x: int = 1) -> int:
        return x
