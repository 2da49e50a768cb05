"""Everything is killed, one after another, under a map that goes on: each value comes once."""

from __future__ import annotations

import os
from collections import Counter

import psutil
import pytest

from tests.e2e.harness import Home, service, wait_until
from tests.e2e.processes import redis_of
from tests.faults.instances import kill

SCRIPT = """
    import json, os, rekindle

    app = rekindle.App("loaded")

    # More than there are gates: inputs may run in any order, and each gate holds a runner.
    @app.cls(enable_memory_snapshot=True, max_containers=8)
    class Model:
        @rekindle.enter(snap=True)
        def load(self):
            self.base = 1000

        @rekindle.method()
        def add(self, n, path):
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(fd, f"{n}\\n".encode())
            os.close(fd)
            if n % 20 == 19:
                gate = os.open(f"{path}.{n // 20}", os.O_RDONLY)
                os.read(gate, 1)
                os.close(gate)
            return self.base + n

    @app.local_entrypoint()
    def main(path: str, count: int):
        values = Model().add.map(range(count), kwargs={"path": path})
        print(json.dumps(list(values)))
"""
STAGES = 6
EACH = 20


@pytest.mark.criu
@pytest.mark.slow
def test_a_map_outlives_the_death_of_everything_around_it(home: Home) -> None:
    """The last input of each stage waits for the test, which kills something first."""
    supervisor = home.up()
    log = home.root / "ran"
    gates = []
    for stage in range(STAGES):
        path = f"{log}.{stage}"
        os.mkfifo(path)
        gates.append(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    count = STAGES * EACH
    script = home.script(SCRIPT)
    program = home.start_rekindle("run", script, "--path", log, "--count", str(count))

    def runners() -> list[psutil.Process]:
        agents = home.status()["agents"]  # none yet, or one that has not told of itself
        told = [runner for agent in agents for runner in agent["stats"].get("runners", ())]
        return [
            psutil.Process(runner["pid"]) for runner in told if psutil.pid_exists(runner["pid"])
        ]

    def victims(stage: int) -> list[psutil.Process]:
        if stage == 0:
            return [service(supervisor, "rekindle.controller")]
        if stage == 1:
            return [redis_of(supervisor)]
        if stage == 2:
            return [service(supervisor, "rekindle.runtime.agent")]
        if stage == 3:
            return [service(supervisor, "rekindle.runtime.isolation.spawner")]
        if stage == 4:
            return wait_until(runners, "a runner to be told of")[:1]
        return [redis_of(supervisor), service(supervisor, "rekindle.controller")]

    def reached(stage: int) -> bool:
        last = str(stage * EACH + EACH - 1)
        return log.exists() and last in log.read_text().splitlines()

    for stage in range(STAGES):
        wait_until(lambda stage=stage: reached(stage), f"stage {stage}")
        for victim in victims(stage):
            kill(victim)
        os.write(gates[stage], b"." * 100)
    ended = program.end()
    for gate in gates:
        os.close(gate)
    assert ended.status == 0, str(ended)
    assert ended.value == [1000 + n for n in range(count)]
    ran = Counter(map(int, log.read_text().split()))
    assert set(ran) == set(range(count)), "every input ran"
    # A runner, the agent and the spawner were killed, once each; Redis and the controller take no
    # runner with them.
    assert max(ran.values()) <= 1 + 3
    report = home.status()
    assert report["apps"] == [] and report["agents"][-1]["in_flight"] == 0
