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


def test_a_function_is_measured_cold_and_warm(bench: Bench) -> None:
    done = bench("double", "--args", "[4]", "--strategies", "cold,warm", "--runs", "2")
    assert done.returncode == 0, done.stderr
    raw = json.loads(bench.json.read_text())
    assert raw["function"] == "double"
    cold, warm = raw["results"]
    assert (cold["strategy"], warm["strategy"]) == ("cold", "warm")
    assert len(cold["runs"]) == len(warm["runs"]) == 2
    assert "interpreter" in cold["runs"][0]["phases"]
    assert "interpreter" not in warm["runs"][0]["phases"]
    assert bench.plot.read_bytes().startswith(b"\x89PNG")
    for word in ("cold", "warm", "p50", "execute"):
        assert word in done.stdout


@pytest.mark.criu
def test_a_class_is_measured_by_all_four_strategies(bench: Bench) -> None:
    done = bench("Model.scale", "--args", '{"n": 5}', "--param", "factor=7", "--runs", "2")
    assert done.returncode == 0, done.stderr + done.stdout
    results = json.loads(bench.json.read_text())["results"]
    assert [entry["strategy"] for entry in results] == ["cold", "restore", "fork", "warm"]
    by_name = {entry["strategy"]: entry["runs"][0]["phases"] for entry in results}
    assert "enter" in by_name["cold"]
    assert "restore" in by_name["restore"]
    assert "fork" in by_name["fork"]


def test_a_strategy_that_cannot_be_taken_is_shown_and_fails_the_command(bench: Bench) -> None:
    done = bench("double", "--args", "[4]", "--strategies", "fork,warm", "--runs", "1")
    assert done.returncode == 1
    assert "enable_memory_snapshot=True is not set" in " ".join(done.stdout.split())
    fork, warm = json.loads(bench.json.read_text())["results"]
    assert fork["runs"] == [] and fork["p50_ms"] is None
    assert len(warm["runs"]) == 1


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
