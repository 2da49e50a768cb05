"""Systems side by side: the best form of each, ratios, targets."""

from __future__ import annotations

import json
import math

import pytest

from peers import report
from peers.versus import OURS, Row, Target, Versus, ratio, shown, worst

CALL = Row("call", "a call", "ms")
RATE = Row("rate", "a rate", "a second", count=1000)


@pytest.fixture
def versus() -> Versus:
    made = Versus(machine={}, rows=[CALL, RATE], versions={"ray": "Ray 2", OURS: "rekindle 0"})
    made.form("call", OURS, "remote").samples += [1.0, 3.0, 2.0]
    made.form("call", "ray", "actor").samples += [4.0, 4.0, 100.0]
    made.form("call", "ray", "task").samples += [9.0]
    made.form("rate", OURS, "map").samples += [0.5]
    made.form("rate", "ray", "actors").samples += [2.0]
    made.form("rate", "ray", "tasks").samples += [5.0]
    return made


def test_the_best_form_is_the_quickest_by_its_median(versus: Versus) -> None:
    best = versus.best("call", "ray")
    assert best is not None and best.form == "actor"
    assert versus.best_value("call", "ray") == 4.0


def test_of_a_rate_the_greatest_is_the_best(versus: Versus) -> None:
    assert versus.best_value("rate", "ray") == 500.0
    assert versus.best_value("rate", OURS) == 2000.0


def test_an_advantage_is_how_many_times_better_whatever_the_unit(versus: Versus) -> None:
    assert versus.advantage("call", "ray") == 2.0
    assert versus.advantage("rate", "ray") == 4.0


def test_what_was_not_measured_is_no_advantage_and_keeps_no_target(versus: Versus) -> None:
    assert math.isnan(versus.advantage("call", "celery"))
    assert math.isnan(worst([2.0, math.nan]))
    assert not Target("S1", "", 2.0, math.nan).kept
    assert Target("S1", "", 2.0, 2.0).kept


def test_a_form_that_is_far_behind_is_not_measured_again(versus: Versus) -> None:
    assert versus.in_the_running("call", "ray", "actor")
    assert not versus.in_the_running("call", "ray", "task")
    assert not versus.in_the_running("rate", "ray", "tasks")
    assert versus.in_the_running("rate", "celery", "group")  # nothing is known yet


def test_a_form_that_failed_is_not_tried_again_where_another_works(versus: Versus) -> None:
    versus.form("call", "ray", "graph").errors.append("no")
    assert not versus.in_the_running("call", "ray", "graph")


def test_figures_are_shown_with_their_unit(versus: Versus) -> None:
    assert shown(CALL, versus, versus.form("call", OURS, "remote")) == "2 ms"
    assert shown(RATE, versus, versus.form("rate", OURS, "map")) == "2,000/s"
    many = versus.form("call", OURS, "many")
    many.samples += [float(n) for n in range(101)]
    assert shown(CALL, versus, many) == "50 / 99 ms"
    assert [ratio(value) for value in (3.14, 0.256, math.nan)] == ["3.1x", "0.26x", "-"]


def test_every_sample_is_in_the_json(versus: Versus) -> None:
    versus.missing["rate"] = {"celery": "does not start"}
    told = json.loads(json.dumps(versus.to_dict()))
    rows = {row["key"]: row for row in told["rows"]}
    assert rows["call"]["systems"]["ray"][0]["samples"] == [4.0, 4.0, 100.0]
    assert rows["rate"]["systems"][OURS][0]["value"] == 2000.0
    assert rows["rate"]["missing"] == {"celery": "does not start"}
    assert versus.systems() == [OURS, "ray"]


def held_against(ours: float, theirs: float, row: str, system: str, unit: str) -> Versus:
    made = Versus(machine={})
    made.rows += [Row(key, key, "ms") for key in ("warm", "warm_compiled", "sent_array_100")]
    made.rows += [Row(key, key, "a second", 1000) for key in ("fan_out", "slots")]
    made.rows += [Row(key, key, "MiB") for key in ("memory", "memory_all")]
    assert made.row(row).unit == unit
    made.form("warm" if row == "warm_compiled" else row, OURS, "remote").samples.append(ours)
    made.form(row, system, "theirs").samples.append(theirs)
    return made


@pytest.mark.parametrize(
    ("number", "row", "system", "unit"),
    [
        ("S21", "warm_compiled", "ray", "ms"),
        ("S22", "slots", "pool", "a second"),  # of seconds for all of them, too
        ("S23", "sent_array_100", "ray", "ms"),
    ],
)
def test_where_rekindle_must_not_be_behind_equal_is_kept_and_slower_is_not(
    number: str, row: str, system: str, unit: str
) -> None:
    for ours, kept in ((0.9, True), (1.0, True), (1.01, False)):
        found = held_against(ours, 1.0, row, system, unit)
        (target,) = [one for one in report.targets(found) if one.number == number]
        assert target.kept is kept
        assert [one.number for one in report.targets(found) if one.kept] == [number] * kept
