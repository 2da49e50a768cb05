"""Processes that are booted in advance: as good as those that are booted for their function."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rekindle.exception import StartError
from rekindle.runtime.agent.starts import boot, waiting_boots
from rekindle.runtime.agent.starts.waiting_boots import WaitingBoot
from rekindle.runtime.isolation.sandbox import JobExit, Sandbox
from rekindle.volumes import registry
from rekindle.wire.volumes import VolumeMount
from tests.runtime.agent.harness import Harness, run


def situation() -> dict[str, Any]:
    """Whatever a program could see of how its process was started."""
    import os
    import socket
    import sys

    return {
        "module": sys.orig_argv[-1].rpartition(".")[2],
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "path": sys.path,
        "pid": os.getpid(),
        "session": os.getsid(0) == os.getpid(),
        "encoding": (sys.stdout.encoding, sys.getfilesystemencoding()),
        "pipes": [os.readlink(f"/proc/self/fd/{fd}").partition(":")[0] for fd in (1, 2)],
        "host": socket.gethostname() == os.environ["REKINDLE_RUNNER_ID"],
        "signals": open("/proc/self/status").read().partition("SigBlk")[2].partition("Cpus")[0],
    }


class Kept:
    """What a template boots, and CRIU freezes."""

    def load(self) -> None:
        import sys

        self.module = sys.orig_argv[-1].rpartition(".")[2]

    def how(self) -> str:
        return self.module


async def _ready(h: Harness) -> WaitingBoot:
    boots = h.node.context.waiting_boots
    ready: WaitingBoot = await h.uplink.until(lambda: boots._ready)
    return ready


def _same(seen: dict[str, Any]) -> dict[str, Any]:
    left_out = ("module", "REKINDLE_RUNNER_ID")
    environment = {k: v for k, v in seen["environment"].items() if k not in left_out}
    return {k: v for k, v in seen.items() if k not in left_out} | {"environment": environment}


def test_a_start_takes_what_has_booted_and_its_function_sees_no_difference(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "volumes"))
    registry.Registry(tmp_path / "volumes").create("data", "main")
    data = VolumeMount(path=str(tmp_path / "data"), name="data", environment="main")

    async def scenario(h: Harness) -> None:
        seen = []
        for _ in range(2):
            function = h.add(
                situation, env={"COLOUR": "blue"}, secrets={"KEY": "x"}, max_containers=1
            )
            seen.append((await h.call(function)).value)
            await _ready(h)
        first, second = seen
        assert (first["module"], second["module"]) == ("main", "waiting")
        assert second["environment"]["COLOUR"] == "blue"
        assert second["environment"]["KEY"] == "x"
        assert _same(first) == _same(second)

        whole = h.add(situation)
        outcome = await h.call(whole, strategy="cold")
        assert outcome.value["module"] == "main"  # who names it gets all of it

        zone = h.add(situation, env={"TZ": "Asia/Tokyo", "COLOUR": "red"})
        assert (await h.call(zone)).value["module"] == "main"  # read as a process starts

        executable = Path(sys.executable)
        names = {"python", "python3"} - {executable.name}
        other = h.add(situation, python=str(executable.with_name(names.pop())))
        assert (await h.call(other)).value["module"] == "main"  # what waits is no process of it
        mounted = h.add(situation, volumes=(data,))
        assert (await h.call(mounted)).value["module"] == "main"  # it boots with them

    run(home, scenario)


def test_one_that_boots_just_now_is_waited_for_by_one_start(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        boots = h.node.context.waiting_boots
        await h.call(h.add(situation))
        await h.uplink.until(lambda: boots._booting)
        outcomes = await asyncio.gather(*(h.call(h.add(situation)) for _ in range(2)))
        assert {one.value["module"] for one in outcomes} == {"waiting", "main"}
        await _ready(h)  # and there is another one

    run(home, scenario)


def test_one_that_does_not_come_up_is_not_waited_for_longer_than_others_took(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_job = Sandbox.run

    def never_up(self: Sandbox, argv: Sequence[str], **options: Any) -> asyncio.Future[JobExit]:
        in_advance = argv[-1] == "rekindle.runtime.runner.waiting"
        return run_job(self, ["/bin/sleep", "infinity"] if in_advance else argv, **options)

    async def scenario(h: Harness) -> None:
        boots = h.node.context.waiting_boots
        await h.call(h.add(situation))
        await _ready(h)
        monkeypatch.setattr(Sandbox, "run", never_up)
        assert (await h.call(h.add(situation))).value["module"] == "waiting"
        hangs = await h.uplink.until(lambda: boots._booting)
        for _ in range(2):
            assert (await h.call(h.add(situation))).value["module"] == "main"
            assert boots._booting is hangs

    run(home, scenario)


def test_one_that_died_is_passed_over_and_followed_by_another(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        await h.call(h.add(situation))
        ready = await _ready(h)
        os.kill(ready.sandbox.pid, signal.SIGKILL)
        await h.uplink.until(ready.sandbox.gone.done)
        outcome = await h.call(h.add(situation))
        assert outcome.value["module"] == "main"
        assert not list(outcome.result.notes)
        assert (await _ready(h)) is not ready
        assert (await h.call(h.add(situation))).value["module"] == "waiting"

    run(home, scenario)


@pytest.mark.criu
def test_a_template_that_had_booted_is_forked_and_frozen_as_any(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        await h.call(h.add(situation))
        await _ready(h)
        kept = h.add(Kept, enable_memory_snapshot=True)
        outcome = await h.call(kept, "how")
        assert (outcome.strategy, outcome.value) == ("cold", "waiting")
        for strategy in ("fork", "restore"):
            assert (await h.prepare(kept, strategy)).ok
            outcome = await h.call(kept, "how", strategy=strategy)
            assert (outcome.strategy, outcome.value) == (strategy, "waiting")

    run(home, scenario)


@pytest.mark.parametrize("place", [boot, waiting_boots], ids=["for a start", "in advance"])
def test_a_process_that_there_is_no_control_pipe_for_leaves_no_namespaces(
    home: Path, monkeypatch: pytest.MonkeyPatch, place: ModuleType
) -> None:
    made: list[Sandbox] = []

    class NoPipe:
        def __init__(self) -> None:
            raise StartError("no control pipe for a new process")

    async def scenario(h: Harness) -> None:
        spawner = h.node.context.spawner
        spawn = spawner.spawn

        async def spawned(*args: Any) -> Sandbox:
            made.append(await spawn(*args))
            return made[-1]

        monkeypatch.setattr(spawner, "spawn", spawned)
        monkeypatch.setattr(place, "ControlPipe", NoPipe)
        if place is boot:
            result = (await h.call(h.add(situation))).result
            assert "no control pipe" in result.message
        else:
            with pytest.raises(StartError, match="no control pipe"):
                await h.node.context.waiting_boots._make()
        assert await asyncio.wait_for(made[0].gone, 30) == -signal.SIGKILL

    run(home, scenario)
