"""What the controller recorded, as a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from rekindle.bench.tune import recorded
from rekindle.exception import InvalidError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.pools import Level

#: As the controller answers.
ANSWER: dict[str, Any] = {
    "function": "shop.embed",
    "settings": {
        "min_containers": 1,
        "max_containers": 8,
        "scaledown_window": 30.0,
        "policy": "histogram",
        "policy_options": {"head": {"number": 0.1}},
    },
    "levels": {
        "warm": {"memory_bytes": 50_000_000},
        "none": {"start_s": 4.2, "cpu_s": 4.2},
    },
    "measured": {"cold": True, "restore": False, "template_bytes": False},
    "series": [
        {
            "arrivals": {"at": [1000.0, 1010.5], "count": [2, 1]},
            "minutes": {"at": [840, 960], "count": [3, 2]},
            "service": {"count": 8, "mean_s": 0.5, "p50_s": 0.5, "p95_s": 0.5},
        },
        {"params": "abc", "arrivals": {"at": [1005.0], "count": [1]}},
        {"params": "unused"},
    ],
}


def record(**fields: Any) -> pb.RecordedReply:
    return json_format.ParseDict({**ANSWER, **fields}, pb.RecordedReply())


def trace(given: pb.RecordedReply) -> Any:
    return recorded.trace_of(given, recorded.levels_of(given))


def test_the_controllers_answer_becomes_a_trace_with_its_costs_and_settings() -> None:
    given = record()
    assert recorded.settings_of(given).max_containers == 8
    assert recorded.settings_of(given).scaledown_window_s == 30.0
    assert recorded.levels_of(given)[Level.NONE].start_s == 4.2
    assert recorded.in_force(given).policy == "histogram"
    assert recorded.in_force(given).label == "histogram head=0.1 (now)"
    assert recorded.source_of(given) == "measured of this function, but for restore"
    made = trace(given)
    assert [f.label for f in made.functions] == ["shop.embed#1", "shop.embed#2"]
    assert made.functions[0].settings.max_containers == 8
    assert len(made) == 7  # of the minute of 960 exact times are known
    assert set(made.services) == {0.5, 0.0}


def test_minutes_before_the_first_exact_arrival_are_spread_over_themselves() -> None:
    times = trace(record()).times
    # They count from the first; when the last one was is known.
    early = [1010.5 - (times[-1] - when) for when in times[:3]]
    assert all(840 <= when < 900 for when in early)
    assert len(times) == 7


def test_of_a_long_record_the_newest_arrivals_are_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    series = {"arrivals": {"at": [1.0, 2.0, 50.0, 60.0], "count": [1] * 4}}
    monkeypatch.setattr(recorded, "_MOST", 2)
    assert list(trace(record(series=[series])).times) == [0.0, 10.0]


def test_service_times_have_the_recorded_mean_and_median() -> None:
    series = {
        "arrivals": {"at": [float(i) for i in range(4000)], "count": [1] * 4000},
        "service": {"mean_s": 1.0, "p50_s": 0.5},
    }
    services = sorted(trace(record(series=[series])).services)
    assert sum(services) / len(services) == pytest.approx(1.0, rel=0.1)
    assert services[len(services) // 2] == pytest.approx(0.5, rel=0.1)


def test_an_export_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    recorded.write(record(), path)
    assert recorded.read(path) == record()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not an export"),
        ('{"timestamps": [1, 2]}', 'no field named "timestamps"'),
        ('{"series": [{"arrivals": {"at": ["now"]}}]}', "now"),
        ('{"series": [{"arrivals": {"at": [1, 2], "count": [1]}}]}', "2 times, 1 counts"),
        ('{"series": [{"minutes": {"at": ["NaN"], "count": [1]}}]}', "nan is no time"),
    ],
)
def test_what_is_wrong_with_an_export_is_said(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "export.json"
    path.write_text(text)
    with pytest.raises(InvalidError, match=r"export\.json: not an export") as caught:
        recorded.read(path)
    assert problem in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="cannot read"):
        recorded.read(tmp_path / "missing.json")


def test_a_level_or_policy_that_there_is_not_is_an_error() -> None:
    with pytest.raises(InvalidError, match="hot"):
        recorded.levels_of(record(levels={"hot": {}}))
    with pytest.raises(InvalidError, match="no figures of level 'none'"):
        trace(record(levels={"warm": {}}))
    with pytest.raises(InvalidError, match="no policy 'psychic'"):
        recorded.in_force(record(settings={"policy": "psychic"}))


def test_a_function_that_nothing_is_recorded_of_is_an_error() -> None:
    with pytest.raises(InvalidError, match=r"nothing has been recorded of shop\.embed"):
        trace(record(series=[]))
