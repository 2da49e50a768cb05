"""Pools of a running app, sized from its program and from the command line, through restarts."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Gate, Home, Program, service, wait_until

APP = (
    Gate.SOURCE
    + """
import time, rekindle

app = rekindle.App("sized")

@app.function(scaledown_window=60)
def work(x):
    return x + 1

@app.function(enable_memory_snapshot=True)
def snap(x):
    return x + 1

@app.cls()
class Model:
    size: int = rekindle.parameter(default=1)

    @rekindle.method()
    def run(self):
        return self.size

@app.local_entrypoint()
def main(gate: str):
    print(work.remote(1), snap.remote(1), Model(size=2).run.remote(), flush=True)
    work.update_autoscaler(min_containers=2, max_containers=3)
    Model(size=2).update_autoscaler(min_containers=1)
    try:
        Model(size=2).run.update_autoscaler(min_containers=1)
    except rekindle.exception.InvalidError as error:
        print("refused:", error, flush=True)
    wait_at(gate)
    print(work.remote(5), flush=True)
"""
)


@pytest.fixture
def running(home: Home, tmp_path: Path) -> Iterator[tuple[Home, Program, Gate]]:
    """An instance that is up, and the app running on it until the gate opens."""
    home.up()
    with Gate(tmp_path / "gate") as gate:
        program = home.start_rekindle("run", home.script(APP), "--gate", str(gate.directory))
        program.until("waiting")
        try:
            yield home, program, gate
        finally:
            gate.open()
            ended = program.end()
            assert ended.status == 0, str(ended)
            assert ended.out.splitlines()[-1] == "6"
            home.rekindle("down")


def pool(home: Home, name: str) -> dict[str, Any]:
    """Of a function, as `rekindle pool ls --json` has it."""
    (found,) = (
        function["pool"]
        for app in home.status()["apps"]
        for function in app["functions"]
        if f"{app['name']}.{function['name']}" == name
    )
    return dict(found)


def runners(home: Home, function: str) -> list[dict[str, Any]]:
    """Of a function of the app, by the last heartbeat."""
    return [
        runner
        for agent in home.status()["agents"]
        for runner in agent["stats"].get("runners", [])
        if runner["function"] == f"sized.{function}"
    ]


def idle_ids(home: Home, function: str) -> set[str]:
    return {r["id"] for r in runners(home, function) if r["state"] == "idle"}


def spares(home: Home, name: str) -> int:
    """Of a function, that wait, by the last heartbeat."""
    return sum(at["spares"] for one in pool(home, name)["pools"] for at in one["agents"])


def of_params(report: dict[str, Any]) -> dict[str, int]:
    return {one["params"][:8]: one["idle"] for one in report["pools"]}


def test_pools_follow_the_program_the_command_line_and_survive_kills(
    running: tuple[Home, Program, Gate],
) -> None:
    home, program, _gate = running
    program.until("refused: Model.run is a method")
    # What the program set is in force, and kept when a runner is killed.
    before = wait_until(
        lambda: (ids := idle_ids(home, "work")) and len(ids) == 2 and ids, "two runners"
    )
    victim = next(r for r in runners(home, "work") if r["id"] in before)
    os.kill(victim["pid"], signal.SIGKILL)
    wait_until(
        lambda: len(ids := idle_ids(home, "work")) == 2 and victim["id"] not in ids,
        "another runner in its place",
    )

    def kept_of_instance() -> bool:
        idle = of_params(pool(home, "sized.Model"))
        return idle.pop("", 0) == 0 and list(idle.values()) == [1]

    wait_until(kept_of_instance, "one runner of Model(size=2)")

    # From the command line, with the errors that it owes.
    said = home.rekindle("pool", "set", "sized.work", "--min", "1", "--buffer", "1")
    assert "sized.work: min 1, max 3, buffer 1, spare auto" in said.out
    said = home.rekindle("pool", "set", "sized.snap", "--spare", "2")
    assert "sized.snap: min 0, max none, buffer 0, spare 2" in said.out
    wait_until(lambda: spares(home, "sized.snap") == 2, "two spares")
    assert "2 of 2" in home.rekindle("pool", "ls", "sized.snap").out
    metrics = home.rekindle("metrics").out
    assert 'rekindle_spares{function="sized.snap"} 2.0' in metrics
    home.rekindle("pool", "set", "sized.snap", "--spare", "auto")
    said = home.rekindle("pool", "set", "sized.snap", "--spare", "many", status=2)
    assert "'many' is neither a number nor auto" in said.err
    said = home.rekindle("pool", "set", "sized.wrk", "--min", "1", status=1)
    assert "did you mean 'sized.work'" in said.err
    said = home.rekindle("pool", "set", "sized.work", "--min", "9", status=1)
    assert "--min 9 must not be more than --max 3" in said.err
    said = home.rekindle("pool", "set", "sized.work", "--policy", "fixd", status=1)
    assert "fixed" in said.err
    options = ("--policy", "fixed", "--option", "keep_s=2")
    home.rekindle("pool", "set", "sized.snap", *options)
    wait_until(lambda: not runners(home, "snap"), "the fixed window to end")
    [snap] = json.loads(home.rekindle("pool", "ls", "sized.snap", "--json").out)
    assert snap["policy"] == "fixed" and snap["policy_options"] == {"keep_s": 2}

    # Plans survive the controller and the agent.
    service(home.supervisor(), "rekindle.controller").kill()
    wait_until(lambda: pool(home, "sized.work")["min_containers"] == 1, "the settings")
    home.rekindle("pool", "set", "sized.work", "--min", "2", "--buffer", "0")
    wait_until(lambda: len(idle_ids(home, "work")) == 2, "two runners again")
    kept = idle_ids(home, "work")
    service(home.supervisor(), "rekindle.runtime.agent").kill()
    wait_until(
        lambda: len(ids := idle_ids(home, "work")) == 2 and not ids & kept,
        "two runners of the next agent",
    )

    plain = home.rekindle("pool", "ls").out
    for word in ("sized.work", "declared*", "fixed (keep_s=2)", "held of a budget of"):
        assert word in plain
    home.rekindle("pool", "set", "sized.work", "--reset")
    [work] = json.loads(home.rekindle("pool", "ls", "sized.work", "--json").out)
    assert work["changed"] == {} and work["min_containers"] == 0


def test_pool_ls_and_set_say_what_is_missing(home: Home) -> None:
    assert "no instance is up" in home.rekindle("pool", "ls", status=1).err
    home.up()
    assert home.rekindle("pool", "ls").out == "No app is running.\n"
    assert home.rekindle("pool", "ls", "--json").out == "[]\n"
    said = home.rekindle("pool", "set", "nobody.nothing", "--min", "1", status=1)
    assert "no app is running" in said.err
    assert "nothing to set" in home.rekindle("pool", "set", "a.b", status=2).err
    home.rekindle("down")
