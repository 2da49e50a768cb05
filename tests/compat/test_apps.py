"""Rows on apps, look-ups and schedules: what needs no instance.

What does is in tests/e2e/test_deployments.py and tests/e2e/test_deployment_guides.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import rekindle
from rekindle.exception import InvalidError


def test_constructor_takes_tags_and_they_can_be_set() -> None:
    app = rekindle.App("tagged", tags={"team": "search"})
    assert app.get_tags() == {"team": "search"}
    app.set_tags({"team": "ads", "tier": "1"})
    assert app.get_tags() == {"team": "ads", "tier": "1"}
    for wrong in ({"a b": "c"}, {"a": "x" * 64}, {"a": 1}, ["a"]):
        with pytest.raises(InvalidError, match="tag"):
            rekindle.App("wrong", tags=wrong)  # type: ignore[arg-type]


def test_include_has_what_another_app_declares() -> None:
    parts, whole = rekindle.App("parts", tags={"a": "1", "b": "2"}), rekindle.App("whole")
    whole.set_tags({"b": "3"})

    @parts.function()
    def part() -> int:
        return 1

    assert whole.include(parts) is whole
    assert whole.registered["part"] is part
    assert whole.get_tags() == {"a": "1", "b": "3"}
    whole.include(parts)  # once more changes nothing
    assert rekindle.App("plain").include(parts, inherit_tags=False).get_tags() == {}
    other = rekindle.App("other")

    @other.function(name="part")
    def another() -> int:
        return 2

    with pytest.raises(InvalidError, match="'part' already"):
        whole.include(other)


def test_from_name_is_lazy_and_a_dot_means_a_method() -> None:
    function = rekindle.Function.from_name("some-app", "some_function")
    assert function.name == "some_function"
    assert rekindle.Cls.from_name("some-app", "Some", version=3).name == "Some"
    with pytest.raises(InvalidError, match=r"rekindle.Cls.from_name\('a', 'C'\)\(\).m"):
        rekindle.Function.from_name("a", "C.m")
    for wrong in (0, -1, "2"):
        with pytest.raises(InvalidError, match="version"):
            rekindle.Function.from_name("a", "f", version=wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidError, match="app name"):
        rekindle.Function.from_name("a/b", "f")


def test_strategies_are_rolling_and_recreate() -> None:
    app = rekindle.App("strategies")
    with pytest.raises(InvalidError, match="'rolling' or 'recreate'"):
        app.deploy(strategy="blue-green")


@pytest.mark.parametrize("given", [{"name": ""}, {"tag": " "}])
def test_an_empty_name_and_a_blank_tag_are_refused_and_are_not_none(given: dict[str, str]) -> None:
    # With an instance it would be deployed under the app's own name.
    with pytest.raises(InvalidError, match=r"the app name ''|a tag has a word at least"):
        rekindle.App("own").deploy(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "gives",
    [
        lambda: rekindle.App("-n"),
        lambda: rekindle.App("own").deploy(name="-n"),
        lambda: rekindle.App("own").run(name="-n"),
    ],
)
def test_no_app_is_given_a_name_that_commands_take_for_an_option(
    gives: Callable[[], object],
) -> None:
    with pytest.raises(InvalidError, match="the app name '-n' must not begin with -"):
        gives()


def test_an_app_that_was_not_deployed_here_is_not_stopped() -> None:
    with pytest.raises(InvalidError, match=r"rekindle.App.lookup\('never'\).stop\(\)"):
        rekindle.App("never").stop()


@pytest.mark.parametrize(
    "make",
    [
        lambda: rekindle.Cron("* * * * *"),
        lambda: rekindle.Cron("0 6 * * *", timezone="America/New_York"),
        lambda: rekindle.Period(
            years=1, months=2, weeks=3, days=4, hours=5, minutes=6, seconds=7.5
        ),
    ],
)
def test_schedules_are_written_alike(make: Callable[[], Any]) -> None:
    app = rekindle.App("scheduled")

    @app.function(schedule=make())
    def scheduled() -> None:
        return None

    assert scheduled.local() is None
