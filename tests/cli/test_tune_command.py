"""``rekindle tune``: traces, exports, the worked example; and with a real controller."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rekindle.cli.tune import tune
from rekindle.exception import InvalidError, NotFoundError
from tests.cli import command
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Client, Instance, in_loop, spec


@pytest.fixture
def arrivals(tmp_path: Path) -> Path:
    """A function that is called every minute or so."""
    path = tmp_path / "arrivals.csv"
    lines = [f"{60 * i + 7 * (i % 5)},0.2" for i in range(200)]
    path.write_text("timestamp,duration\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(*argv: str | Path) -> Result:
    """The command; what it raises comes through, as it does to the main program."""
    return CliRunner().invoke(
        tune, [str(arg) for arg in argv], catch_exceptions=False, standalone_mode=False
    )


def test_a_trace_is_replayed_through_every_policy_and_one_setting_is_recommended(
    arrivals: Path,
) -> None:
    result = run("--trace", arrivals)
    assert result.return_value == 0
    assert "200 arrivals over 3.32 h" in result.output
    for policy in ("fixed", "histogram", "greedy-dual", "concurrency", "snapshot-aware"):
        assert f"{policy} " in result.output
    assert "measured, bench/results/restore.md" in result.output
    assert "take: " in result.output
    assert "the cheapest of" in result.output


def test_figures_and_plot_are_written_where_asked(arrivals: Path, tmp_path: Path) -> None:
    figures, picture = tmp_path / "out/tune.json", tmp_path / "out/tune.png"
    run("--trace", arrivals, "--json", figures, "--plot", picture, "--policy", "fixed")
    whole: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
    assert {entry["setting"]["policy"] for entry in whole["settings"]} == {"fixed"}
    assert whole["recommended"]["meets_target"] is True
    assert whole["recommended"]["label"] in {entry["label"] for entry in whole["settings"]}
    assert whole["levels"]["cached"]["start_s"] == 0.0159
    assert picture.stat().st_size > 20_000


def test_a_number_of_spares_is_recommended_with_its_cost(tmp_path: Path) -> None:
    path = tmp_path / "bursts.csv"
    path.write_text("".join(f"{60 * (i // 4)},1\n" for i in range(400)), encoding="utf-8")
    figures = tmp_path / "tune.json"
    costs = {
        "warm": {"memory_mib": 900},
        "spare": {"start_ms": 2, "memory_mib": 2, "cpu_ms": 2},
        "mapped": {"start_ms": 40, "memory_mib": 20, "cpu_ms": 10},
        "none": {"start_ms": 3000},
    }
    given = ("--costs", json.dumps(costs), "--policy", "snapshot-aware", "--json", figures)
    result = run("--trace", path, *given)
    whole: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
    tried = [entry["setting"]["overrides"].get("spare_containers") for entry in whole["settings"]]
    assert {0, 1, 2, 4, 8} <= set(tried)
    assert "; spares: " in whole["recommended"]["why"] and "starts take, for" in result.output
    by_count = dict(zip(tried, whole["settings"], strict=True))
    assert by_count[0]["spared"] == 0 < by_count[1]["spared"] < by_count[4]["spared"]


def test_a_target_that_nothing_meets_is_said_and_is_the_exit_status(tmp_path: Path) -> None:
    path = tmp_path / "sparse.csv"
    path.write_text("".join(f"{600 * i}\n" for i in range(60)), encoding="utf-8")
    costs = '{"warm": {"memory_mib": 100}, "none": {"start_ms": 3000}}'
    result = run(
        "--trace", path, "--costs", costs, "--policy", "concurrency", "--percentile", "99"
    )  # fmt: skip
    assert result.return_value == 1
    assert "nearest: concurrency" in result.output
    assert "none meets 500 ms at p99" in result.output


def test_prices_costs_and_gpus_change_what_is_shown(arrivals: Path) -> None:
    result = run(
        "--trace", arrivals, "--costs", '{"warm": {"memory_mib": 1}, "none": {"start_ms": 500}}',
        "--gpus", "1", "--price-gpu-hour", "3", "--policy", "fixed",
    )  # fmt: skip
    assert "GPU" in result.output
    assert "start from none 500 ms; held MiB: warm 1 (--costs)" in result.output
    assert "min 1" in result.output


def test_a_node_short_of_memory_is_simulated(arrivals: Path) -> None:
    with pytest.raises(InvalidError, match="--memory-gib"):
        run("--trace", arrivals, "--memory-gib", "0.5")


def test_a_bad_trace_is_an_error_with_file_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("timestamp,duration\n1,2\n2,long\n", encoding="utf-8")
    with pytest.raises(InvalidError, match=r"bad\.csv, line 3, column duration: 'long'"):
        run("--trace", path)


def test_an_export_is_replayed_with_its_own_costs_and_compared_with_now(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(
        json.dumps(
            {
                "function": "shop.embed",
                "settings": {
                    "policy": "fixed",
                    "policy_options": {"keep_s": {"number": 17}},
                },
                "levels": {"warm": {"memory_bytes": 300 << 20}, "none": {"start_s": 0.7}},
                "series": [
                    {
                        "arrivals": {"at": [30.0 * i for i in range(100)], "count": [1] * 100},
                        "service": {"mean_s": 0.05},
                    }
                ],
            }
        ),
        encoding="utf-8",
    )
    result = run("--recorded", path, "--latency-target-ms", "50")
    assert "recorded of shop.embed: 100 arrivals" in result.output
    assert "fixed 17 s (now)" in result.output
    assert "than now, which gives 700 ms" in result.output
    assert "--apply puts it in force" in result.output


def test_a_setting_that_misses_the_target_is_not_offered_as_it_would_be_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "export.json"
    record = {
        "function": "shop.embed",
        "settings": {"policy": "concurrency"},
        "levels": {"warm": {"memory_bytes": 100 << 20}, "none": {"start_s": 3.0}},
        "series": [{"arrivals": {"at": [600.0 * i for i in range(60)], "count": [1] * 60}}],
    }
    path.write_text(json.dumps(record), encoding="utf-8")
    result = run("--recorded", path, "--policy", "concurrency", "--percentile", "99")
    assert result.return_value == 1 and "nearest: concurrency" in result.output
    assert "--apply" not in result.output


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        ([], "what should be replayed"),
        (["--trace", "{trace}", "--apply"], "--apply needs APP.FUNCTION"),
        (["--trace", "{trace}", "--recorded", "{trace}"], "one of them"),
        (["--export", "out.json"], "--export needs APP.FUNCTION"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(arrivals: Path, argv: list[str], problem: str) -> None:
    given = [arg.format(trace=arrivals) for arg in argv]
    result = CliRunner().invoke(tune, given)
    assert result.exit_code == 2
    assert problem in result.output


def test_the_worked_example_is_recomputed_and_it_is_said_where_it_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rekindle.bench.tune import article

    monkeypatch.setattr(article, "DAYS", article.QUICK_DAYS)
    result = run("--article", "--json", tmp_path / "article.json")
    assert result.return_value == 0
    for figure in ("8.9", "25.4", "0.56", "24.89", "0.61"):
        assert figure in result.output
    assert "counted twice" in result.output
    assert "contradicts itself" in result.output
    whole = json.loads((tmp_path / "article.json").read_text(encoding="utf-8"))
    assert [row["claimed_gpu_hours"] for row in whole["rows"] if row["claimed_gpu_hours"]] == [
        8.9,
        25.4,
        0.56,
    ]


def test_help_says_what_it_is_for() -> None:
    output = CliRunner().invoke(tune, ["--help"]).output
    assert "recommends the cheapest that meets" in output
    assert "--latency-target-ms" in output


async def called(client: Client, agent: FakeAgent, app: str, calls: int) -> str:
    """An app whose function was called so often; its id."""
    app_id, [function_id] = await client.register(app, spec("f"))
    for _ in range(calls):
        call = client.invoke(function_id)
        await agent.done(await agent.assigned.get())
        await call
    return app_id


@in_loop
async def test_what_was_recorded_is_replayed_and_the_recommendation_put_in_force(
    shared: Instance, tmp_path: Path
) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        await called(client, agent, "tuned", 5)
        export = tmp_path / "record.json"
        any_latency = ("--latency-target-ms", "60000")

        async def rekindle(*argv: str, status: int = 0) -> str:
            ended = await asyncio.to_thread(
                command.rekindle, shared.directory, *argv, status=status
            )
            return ended.stdout

        assert "what is recorded of tuned.f" in await rekindle(
            "tune", "tuned.f", "--export", str(export)
        )
        again = await rekindle(
            "tune", "--recorded", str(export), "--policy", "histogram", *any_latency
        )
        assert "recorded of tuned.f: 5 arrivals" in again
        assert "fewer than 50 arrivals" in again
        shown = await rekindle(
            "tune", "tuned.f", "--apply", "--policy", "snapshot-aware", *any_latency
        )  # fmt: skip
        assert "5 arrivals" in shown
        assert "(now)" in shown
        pools = json.loads(await rekindle("pool", "ls", "--json"))
        found = next(pool for pool in pools if pool["function"] == "tuned.f")
        if "in force now" in shown:
            assert found["policy"] == "snapshot-aware"
            assert found["policy_options"]["target_ms"] in (60000.0, 1.0)
        else:
            assert "already in force" in shown


@in_loop
async def test_a_function_that_never_ran_is_not_found(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        await called(client, agent, "other", 1)
        ended = await asyncio.to_thread(
            command.rekindle, shared.directory, "tune", "othr.f", status=1
        )
        assert NotFoundError.__name__ in ended.stderr
        assert "other.f" in ended.stderr
