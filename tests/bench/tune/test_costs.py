import json
from pathlib import Path
from typing import Any

import pytest

from rekindle.bench.tune import costs
from rekindle.exception import InvalidError
from rekindle.wire.pools import Level

_BELOW = [Level.MAPPED, Level.CACHED, Level.DISK, Level.NONE]


def test_the_defaults_are_what_the_results_say() -> None:
    """Medians of bench/results/restore.json, for the model of 1 GB."""
    path = Path(__file__).resolve().parents[3] / "bench/results/restore.md"
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split("|") for line in lines if line.startswith("| ")]

    def of_1_gb(name: str, which: int = 0) -> float:
        found = [row for row in rows if row[1].strip() == name]
        return float(found[which][4].strip().replace(",", ""))

    assert of_1_gb("cold") == 1000 * costs.COLD_S
    starts = [float(r[4]) for r in rows if r[1].strip() == "... of it the start alone"]
    assert starts[0] == pytest.approx(1000 * costs.RESTORE_S)
    assert pytest.approx(1000 * costs.FORK_S) in starts
    assert of_1_gb("on disk, MB") == costs.SNAPSHOT_BYTES / 1e6


def test_each_level_down_takes_longer_and_holds_less() -> None:
    found = costs.levels()
    assert list(found) == [Level.WARM, Level.SPARE, *_BELOW]
    order = [Level.WARM, *_BELOW]
    starts = [found[level].start_s for level in order]
    assert starts == sorted(starts)
    below = [found[level].memory_bytes for level in order[1:]]
    assert below == sorted(below, reverse=True)


def test_a_spare_holds_no_more_than_a_runner() -> None:
    found = costs.levels(runner_bytes=1000)
    assert found[Level.SPARE].memory_bytes == found[Level.WARM].memory_bytes == 1000


def test_levels_are_read_from_json_and_from_a_file(tmp_path: Path) -> None:
    text = json.dumps(
        {"warm": {"memory_mib": 64, "gpus": 1}, "none": {"start_ms": 1500, "cpu_s": 1.2}}
    )
    found = costs.read_levels(text)
    assert found[Level.WARM].memory_bytes == 64 * 2**20
    assert found[Level.WARM].gpus == 1
    assert found[Level.NONE].start_s == 1.5
    path = tmp_path / "costs.json"
    path.write_text(text, encoding="utf-8")
    assert costs.read_levels(str(path)) == found
    assert costs.parse_levels(costs.levels_to_json(found), "again") == found


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ([], "expected an object of levels"),
        ({"lukewarm": {}}, "no level 'lukewarm'; there are warm, spare"),
        ({"warm": 3}, "level 'warm' is an object"),
        ({"warm": {"start": 3}}, "no field 'start'; there are start_ms"),
        ({"warm": {"start_ms": "3"}}, "start_ms is '3', not a number"),
        ({"warm": {"start_ms": -3}}, "start_ms is -3, not a number of 0 or more"),
        ({"warm": {}}, "level 'none' is missing"),
    ],
)
def test_what_is_wrong_with_levels_is_said(raw: Any, problem: str) -> None:
    with pytest.raises(InvalidError) as caught:
        costs.parse_levels(raw, "costs.json")
    assert problem in str(caught.value)
    assert "costs.json" in str(caught.value)


def test_a_file_that_is_missing_or_no_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="cannot read"):
        costs.read_levels(str(tmp_path / "missing.json"))
    with pytest.raises(InvalidError, match="--costs: not JSON"):
        costs.read_levels("{warm")
