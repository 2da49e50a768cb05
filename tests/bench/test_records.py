"""Reports and their JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rekindle.bench.records import Report, Run, StrategyResult, write_json
from tests.bench.reports import PHASES, report, result


def test_the_json_has_the_documented_shape(tmp_path: Path) -> None:
    path = tmp_path / "made" / "report.json"
    write_json(path, report().to_dict())
    raw = json.loads(path.read_text())
    assert set(raw) >= {"machine", "function", "results"}
    assert isinstance(raw["machine"], dict)
    assert raw["function"] == "Embedder.embed"
    assert [entry["strategy"] for entry in raw["results"]] == list(PHASES)
    for entry in raw["results"]:
        assert isinstance(entry["p50_ms"], float)
        assert isinstance(entry["p95_ms"], float)
        assert isinstance(entry["pss_bytes"], int)
        for run in entry["runs"]:
            assert isinstance(run["total_ms"], float)
            assert all(isinstance(ms, float) for ms in run["phases"].values())


def test_a_strategy_without_a_successful_run_is_valid_json() -> None:
    failed = StrategyResult(strategy="restore", errors=["no CRIU"])
    whole = Report(function="f", machine={}, results=[result("cold"), failed])
    text = json.dumps(whole.to_dict(), allow_nan=False)
    entry = json.loads(text)["results"][1]
    assert entry["p50_ms"] is None
    assert entry["times_faster_than_cold"] is None
    assert whole.errors == ["restore: no CRIU"]


@pytest.mark.parametrize("runs", [1, 4, 5])
def test_the_phases_shown_add_up_to_the_median_shown(runs: int) -> None:
    for entry in report(runs=runs).results:
        assert sum(entry.phases_ms().values()) == pytest.approx(entry.p50_ms)


def test_speedup_is_the_ratio_of_medians() -> None:
    whole = report()
    cold, fork = whole.result("cold"), whole.result("fork")
    assert cold is not None and fork is not None
    assert whole.speedup("fork") == pytest.approx(cold.p50_ms / fork.p50_ms)
    assert whole.speedup("cold") == 1
    assert report("fork", "warm").speedup("fork") is None


def test_memory_is_unknown_when_no_run_measured_it() -> None:
    runs = [Run(total_ms=1, phases={}), Run(total_ms=1, phases={}, pss_bytes=10)]
    assert StrategyResult(strategy="warm", runs=runs).pss_bytes == 10
    assert StrategyResult(strategy="warm", runs=runs[:1]).pss_bytes == 0


def test_a_run_says_how_much_of_it_the_phases_explain() -> None:
    assert Run(total_ms=100, phases={"execute": 60, "queue": 37}).explained == pytest.approx(0.97)
    assert Run(total_ms=0, phases={}).explained == 1
