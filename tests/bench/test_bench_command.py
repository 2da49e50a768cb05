"""`rekindle bench` for real: an instance comes up, functions run, figures are written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

APP = """
import rekindle

app = rekindle.App("measured")

@app.function()
def double(n: int) -> int:
    return 2 * n

@app.function()
def broken(n: int) -> int:
    raise LookupError("no such thing")

@app.cls(enable_memory_snapshot=True)
class Model:
    factor: int = rekindle.parameter(default=3)

    @rekindle.enter(snap=True)
    def load(self):
        self.weights = list(range(10_000))

    @rekindle.method()
    def scale(self, n: int) -> int:
        return n * self.factor + self.weights[0]
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "measured.py").write_text(APP)
    return Bench(tmp_path)


class Bench:
    """Runs the command against an app of its own, in a home of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.json = directory / "figures.json"
        self.plot = directory / "phases.png"

    def __call__(self, target: str, *options: str) -> subprocess.CompletedProcess[str]:
        start = "from rekindle.cli.main import main; main()"
        command = [sys.executable, "-c", start, "bench", f"measured.py::{target}", *options]
        return subprocess.run(
            [*command, "--json", str(self.json), "--plot", str(self.plot)],
            cwd=self.directory,
            env={**os.environ, "REKINDLE_HOME": str(self.directory / "home"), "COLUMNS": "140"},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )


def test_strategies_are_measured_and_one_that_cannot_be_taken_is_shown_and_fails_the_command(
    bench: Bench,
) -> None:
    done = bench("double", "--args", "[4]", "--strategies", "cold,fork,warm", "--runs", "2")
    assert done.returncode == 1
    assert "enable_memory_snapshot=True is not set" in " ".join(done.stdout.split())
    raw = json.loads(bench.json.read_text())
    assert raw["function"] == "double"
    by_name = {entry["strategy"]: entry for entry in raw["results"]}
    assert list(by_name) == ["cold", "fork", "warm"]
    assert by_name["fork"]["runs"] == [] and by_name["fork"]["p50_ms"] is None
    cold, warm = by_name["cold"]["runs"], by_name["warm"]["runs"]
    assert len(cold) == len(warm) == 2
    assert "interpreter" in cold[0]["phases"]
    assert "interpreter" not in warm[0]["phases"]
    assert bench.plot.read_bytes().startswith(b"\x89PNG")
    for word in ("cold", "warm", "p50", "execute"):
        assert word in done.stdout


@pytest.mark.criu
def test_a_class_is_measured_by_all_four_strategies(bench: Bench) -> None:
    done = bench("Model.scale", "--args", '{"n": 5}', "--param", "factor=7", "--runs", "2")
    assert done.returncode == 0, done.stderr + done.stdout
    report = json.loads(bench.json.read_text())
    assert report.keys() >= {"machine", "function", "results"}
    assert report["function"] == "Model.scale"
    assert [entry["strategy"] for entry in report["results"]] == [
        "cold",
        "restore",
        "fork",
        "warm",
    ]
    mark = {"cold": "enter", "restore": "restore", "fork": "fork", "warm": "execute"}
    for entry in report["results"]:
        assert entry["strategy"] in done.stdout
        assert 0 < entry["p50_ms"] <= entry["p95_ms"]
        assert entry["pss_bytes"] > 0
        assert len(entry["runs"]) == 2
        for run in entry["runs"]:
            assert mark[entry["strategy"]] in run["phases"]
            unexplained_ms = abs(sum(run["phases"].values()) - run["total_ms"])
            # Beyond 5 %, what a busy machine takes to schedule the caller once more.
            assert unexplained_ms <= 0.05 * run["total_ms"] + 5


def test_an_exception_of_the_function_ends_the_bench_and_is_shown(bench: Bench) -> None:
    done = bench("broken", "--args", "[4]", "--strategies", "cold", "--runs", "3")
    assert done.returncode == 1
    assert "LookupError: no such thing" in done.stderr
    assert not bench.json.exists()


@pytest.mark.parametrize(
    ("target", "options", "says"),
    [
        ("doubl", (), "did you mean 'double'"),
        ("double", ("--strategies", "tepid"), "choose from cold, restore, fork, warm"),
        ("double", ("--args", "4"), "write --args '[4]'"),
        ("double", ("--param", "n=4"), "has no parameters"),
    ],
)
def test_wrong_use_is_refused_before_anything_starts(
    bench: Bench, target: str, options: tuple[str, ...], says: str
) -> None:
    done = bench(target, *options)
    assert done.returncode == 1
    assert says in " ".join(done.stderr.split())
    assert not (bench.directory / "home").exists()
