import json
from pathlib import Path
from typing import Any

import pytest

from rekindle.bench.tune import recorded
from rekindle.exception import InvalidError
from rekindle.wire.pools import Level

#: As the controller answers.
ANSWER: dict[str, Any] = {
    "function": "shop.embed",
    "min_containers": 1,
    "max_containers": 8,
    "buffer_containers": 0,
    "scaledown_window": 30.0,
    "policy": "histogram",
    "policy_options": {"head": 0.1},
    "levels": {
        "warm": {
            "start_s": 0.0,
            "memory_bytes": 50_000_000,
            "disk_bytes": 0,
            "cpu_s": 0,
            "gpus": 0,
        },
        "none": {"start_s": 4.2, "memory_bytes": 0, "disk_bytes": 0, "cpu_s": 4.2, "gpus": 0},
    },
    "measured": {"cold": True, "restore": False, "template_bytes": False},
    "series": [
        {
            "params": "",
            "arrivals": [[1000.0, 2], [1010.5, 1]],
            "minutes": [[840, 3], [960, 2]],
            "service": {"count": 8, "mean_s": 0.5, "p50_s": 0.5, "p95_s": 0.5},
        },
        {"params": "abc", "arrivals": [[1005.0, 1]], "minutes": [], "service": {}},
        {"params": "unused", "arrivals": [], "minutes": [], "service": {}},
    ],
}


def changed(**fields: Any) -> dict[str, Any]:
    return {**ANSWER, **fields}


def test_the_controllers_answer_becomes_a_trace_with_its_costs_and_settings() -> None:
    record = recorded.parse(ANSWER, "answer")
    assert record.function == "shop.embed"
    assert record.settings.max_containers == 8
    assert record.settings.scaledown_window_s == 30.0
    assert record.levels[Level.NONE].start_s == 4.2
    assert record.now.policy == "histogram"
    assert record.now.label == "histogram head=0.1 (now)"
    assert record.source == "measured of this function, but for restore"
    trace = recorded.trace_of(record)
    assert [f.label for f in trace.functions] == ["shop.embed#1", "shop.embed#2"]
    assert len(trace) == 7  # the minute of 960 is told exactly, by the arrivals
    assert set(trace.services) == {0.5, 0.0}


def test_minutes_before_the_first_exact_arrival_are_spread_over_themselves() -> None:
    record = recorded.parse(ANSWER, "answer")
    early = [when for when in record.timestamps[0] if when < 1000]
    assert len(early) == 3
    assert all(840 <= when < 900 for when in early)


def test_service_times_have_the_recorded_mean_and_median() -> None:
    series = {
        "arrivals": [[float(i), 1] for i in range(4000)],
        "service": {"mean_s": 1.0, "p50_s": 0.5},
    }
    services = sorted(recorded.parse(changed(series=[series]), "x").service_s[0])
    assert sum(services) / len(services) == pytest.approx(1.0, rel=0.1)
    assert services[len(services) // 2] == pytest.approx(0.5, rel=0.1)


def test_a_plain_object_of_timestamps_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps({"function": "a.f", "timestamps": [3, 1.5], "service_s": [1, 2]}))
    record = recorded.read(path)
    assert record.timestamps == [[1.5, 3.0]]
    assert record.service_s == [[2.0, 1.0]]
    assert record.now.label == "fixed 60 s (now)"
    assert Level.MAPPED in record.levels
    assert record.source == ""


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ([], "expected an object"),
        ({}, "neither 'series' nor 'timestamps'"),
        ({"timestamps": "now"}, "timestamps: expected a list"),
        ({"timestamps": [1, "2"]}, "entry 1 is '2', not a number"),
        ({"timestamps": [1, float("nan")]}, "entry 1 is nan"),
        ({"timestamps": [1, 2], "service_s": [1]}, "2 timestamps, 1 service times"),
        (changed(levels={"warm": {}}), "level 'none' is missing"),
        (changed(series=[{"arrivals": [5]}]), "entry 0 is 5, not a time and a count"),
        (changed(min_containers="one"), "min_containers is 'one'"),
        (changed(policy="psychic"), "no policy 'psychic'"),
    ],
)
def test_what_is_wrong_with_a_record_is_said(raw: Any, problem: str) -> None:
    with pytest.raises(InvalidError) as caught:
        recorded.parse(raw, "export.json")
    assert problem in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="cannot read"):
        recorded.read(tmp_path / "missing.json")
    path = tmp_path / "export.json"
    path.write_text("{")
    with pytest.raises(InvalidError, match=r"export\.json: not JSON"):
        recorded.read(path)


def test_a_function_that_nothing_is_recorded_of_is_an_error() -> None:
    with pytest.raises(InvalidError, match=r"nothing has been recorded of shop\.embed"):
        recorded.trace_of(recorded.parse(changed(series=[]), "answer"))
