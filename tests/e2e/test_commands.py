"""``rekindle doctor`` and ``rekindle bench``, as a script would use them."""

from __future__ import annotations

import json

import pytest

from tests.e2e.harness import Home


@pytest.mark.criu
def test_doctor_says_that_restores_are_possible(home: Home) -> None:
    ended = home.rekindle("doctor")
    assert "Restores are possible on this machine." in ended.out
    for word in ("CRIU", "kernel", "capabilities", "cgroups", "Redis", "GPU", "user"):
        assert word in ended.out


def test_doctor_without_criu_ends_with_1_and_says_what_to_do(home: Home) -> None:
    ended = home.rekindle("doctor", status=1, REKINDLE_CRIU=str(home.root / "nowhere"))
    assert "CRIU" in ended.out and "nowhere" in ended.out
    assert "->" in ended.out


def test_without_criu_a_class_with_a_snapshot_is_served_and_the_reason_is_said(
    home: Home,
) -> None:
    script = home.script(
        """
        import rekindle
        app = rekindle.App("poor")

        @app.cls(enable_memory_snapshot=True)
        class Model:
            @rekindle.enter(snap=True)
            def load(self):
                self.n = 40

            @rekindle.method()
            def add(self, n):
                return self.n + n

        @app.local_entrypoint()
        def main():
            print(Model().add.remote(2))
        """
    )
    ended = home.run(script, REKINDLE_CRIU=str(home.root / "nowhere"))
    assert ended.out == "42\n"
    assert "CRIU" in ended.err
    assert home.snapshots() == []


@pytest.mark.criu
def test_bench_writes_what_each_strategy_took(home: Home) -> None:
    script = home.script(
        """
        import rekindle
        app = rekindle.App("tiny")

        @app.cls(enable_memory_snapshot=True)
        class Tiny:
            @rekindle.enter(snap=True)
            def load(self):
                self.words = ["a", "b"]

            @rekindle.method()
            def count(self, more: list):
                return len(self.words) + len(more)
        """
    )
    file = home.root / "figures.json"
    ended = home.rekindle(
        "bench", f"{script}::Tiny.count", "--args", '[["c"]]', "--runs", "2", "--json", file
    )
    report = json.loads(file.read_text())
    assert report.keys() >= {"machine", "function", "results"}
    assert report["function"] == "Tiny.count"
    assert [entry["strategy"] for entry in report["results"]] == [
        "cold",
        "restore",
        "fork",
        "warm",
    ]
    mark = {"cold": "interpreter", "restore": "restore", "fork": "fork", "warm": "execute"}
    for entry in report["results"]:
        assert entry["strategy"] in ended.out
        assert 0 < entry["p50_ms"] <= entry["p95_ms"]
        assert entry["pss_bytes"] > 0
        assert len(entry["runs"]) == 2
        for run in entry["runs"]:
            assert mark[entry["strategy"]] in run["phases"]
            unexplained_ms = abs(sum(run["phases"].values()) - run["total_ms"])
            # Beyond 5 %, what a busy machine takes to schedule the caller once more.
            assert unexplained_ms <= 0.05 * run["total_ms"] + 5
