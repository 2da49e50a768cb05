"""Holders of weights that agents start: real processes, this machine's memory for a GPU's."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from rekindle.gpu_restore.driver import RECORDING
from rekindle.gpu_restore.request import parse
from rekindle.runtime.agent.session import gpu_report
from rekindle.runtime.agent.starts import gpu_holders
from rekindle.runtime.agent.starts.gpu_holders import GpuHolders
from rekindle.wire import gpu_environment
from rekindle.wire import rekindle_pb2 as pb
from tests.gpu_restore import machines
from tests.runtime.agent.harness import Gate, Harness, run


class Model:
    """Brings weights, or has them from another runner."""

    def enter(self) -> None:
        from rekindle.gpu_restore.holding.client import Connection
        from rekindle.gpu_restore.host_device import HostDevice

        place = os.environ[gpu_environment.HOLDER]
        self.key = os.environ[gpu_environment.REVISION] + "/"
        self.holder = Connection.to(place, HostDevice())

    def weights(self, other: str = "") -> dict[str, Any]:
        """What they are, and whether this runner brought them."""
        from rekindle.exception import GpuError

        try:
            held = self.holder.want(other or self.key)
        except GpuError as error:
            return {"error": str(error)}
        brought = held is None
        if held is None:
            held = self.holder.allocate(self.key, [4096])
            ctypes.memmove(held.places[0][0], os.urandom(4096), 4096)
            self.holder.commit(self.key, {})
        return {
            "content": ctypes.string_at(held.places[0][0], 16).hex(),
            "brought": brought,
            "budget": self.holder.status()["budget_bytes"],
        }

    def wait(self, gate: str) -> dict[str, Any]:
        found = self.weights()
        os.close(os.open(gate, os.O_RDONLY))
        return found


class Asks(Model):
    """Asks its holder when that is gone, and tells when it waits for what comes of it."""

    enter, weights = Model.enter, Model.weights

    def wait(self, gate: str) -> dict[str, Any]:
        self.weights()
        sleep = time.sleep

        def tell(seconds: float) -> None:
            print("waits", flush=True)
            sleep(seconds)

        time.sleep = tell
        os.close(os.open(gate, os.O_RDONLY))
        return self.holder.status()


class Unconcerned:
    """Has a GPU and no weights that stay."""

    def runs(self) -> str:
        return "ran"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "machine.json").write_text(json.dumps(machines.recording("one_t4")))
    monkeypatch.setenv(RECORDING, str(tmp_path / "machine.json"))
    monkeypatch.setattr(gpu_holders, "device_argument", lambda: "host")


def holders() -> list[psutil.Process]:
    """Those that this process has started."""
    found = []
    for one in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie of another test is one
            if "rekindle.gpu_restore.holding" in one.cmdline():
                found.append(one)
    return found


async def ended(harness: Harness, function: str) -> None:
    """Have the runners of a function be killed."""
    for runner in harness.runners(function):
        os.kill(runner.channel.pid, signal.SIGKILL)
    await harness.uplink.until(lambda: not harness.runners(function))


async def told(harness: Harness, users: int) -> int:
    """The holder's pid, once the agent's report has its 4 KiB with so many users."""

    def reported() -> pb.GpuHolder | None:
        (device,) = gpu_report.of_node(harness.node.context).devices
        weights = [(one.size_bytes, one.users, one.is_loading) for one in device.holder.weights]
        return device.holder if weights == [(4096, users, False)] else None

    found = await harness.uplink.until(reported)
    assert found.held_bytes == 4096 and found.budget_bytes == (15360 << 20) // 2
    assert found.weights[0].function.endswith(("Model", "Asks"))
    return int(found.pid)


def test_weights_stay_when_the_runner_that_brought_them_is_killed(home: Path) -> None:
    async def scenario(harness: Harness) -> None:
        model = harness.add(Model, gpu=parse("T4"))
        assert not holders()  # none before it is wanted
        first = (await harness.call(model, "weights")).value
        assert first["brought"] and first["budget"] == (15360 << 20) // 2
        (holder,) = holders()
        assert await told(harness, users=1) == holder.pid
        await ended(harness, model)
        assert await told(harness, users=0) == holder.pid
        second = (await harness.call(model, "weights")).value
        assert not second["brought"] and second["content"] == first["content"]
        assert holders() == [holder]

    run(home, scenario)
    assert not holders()  # they end with the agent


def test_a_runner_has_the_weights_of_its_own_revision_alone(home: Path) -> None:
    async def scenario(harness: Harness) -> None:
        one, other = (harness.add(Model, gpu=parse("any", 4000)) for _ in range(2))
        mine = (await harness.call(one, "weights")).value
        theirs = (await harness.call(other, "weights")).value
        assert mine["brought"] and theirs["brought"]
        name = harness.revision(one).gpu_name
        refused = (await harness.call(other, "weights", f"{name}/")).value
        assert "alone" in refused["error"]
        assert len(holders()) == 1

    run(home, scenario)


def test_a_gpu_that_goes_as_a_whole_to_another_function_goes_without_what_was_held(
    home: Path,
) -> None:
    async def scenario(harness: Harness) -> None:
        model = harness.add(Model, gpu=parse("T4"))
        first = (await harness.call(model, "weights")).value
        (holder,) = holders()
        other = harness.add(Unconcerned, gpu=parse("T4"))
        assert (await harness.call(other, "runs")).value == "ran"
        assert not holder.is_running() and not holders()
        again = (await harness.call(model, "weights")).value
        assert again["brought"] and again["content"] != first["content"]

    run(home, scenario)


def test_a_holder_that_is_killed_takes_its_users_along_and_their_inputs_run_again(
    home: Path, tmp_path: Path
) -> None:
    async def scenario(harness: Harness) -> None:
        model = harness.add(Model, gpu=parse("any", 4000))
        other = harness.add(Unconcerned, gpu=parse("any", 4000))
        assert (await harness.call(other, "runs")).value == "ran"
        (beside,) = harness.runners(other)
        with Gate(tmp_path) as gate:
            harness.submit(model, "wait", gate.path)
            (holder,) = await harness.uplink.until(holders)
            (runner,) = harness.runners(model)
            await harness.uplink.until(lambda: runner.page.began_ns)
            assert await told(harness, 1) == holder.pid
            holder.kill()
            await harness.uplink.until(lambda: harness.uplink.returned)
            assert "held its weights" in runner.kill_reason
            gate.open()
        assert harness.runners(other) == [beside]

    run(home, scenario)


def test_an_input_that_finds_its_holder_dead_before_the_agent_does_runs_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = GpuHolders._watch

    async def scenario(harness: Harness) -> None:
        learnt = asyncio.Event()

        async def watch_later(self: GpuHolders, holder: Any, uuid: str) -> None:
            await holder.process.wait()
            await learnt.wait()
            await watch(self, holder, uuid)

        monkeypatch.setattr(GpuHolders, "_watch", watch_later)
        asks = harness.add(Asks, gpu=parse("any", 4000))
        with Gate(tmp_path) as gate:
            key = harness.submit(asks, "wait", gate.path)
            (holder,) = await harness.uplink.until(holders)
            await told(harness, 1)
            holder.suspend()  # it answers nothing any more
            await harness.uplink.until(lambda: holder.status() == psutil.STATUS_STOPPED)
            holder.kill()
            gate.open()
            printed = harness.uplink.printed
            await harness.uplink.until(
                lambda: key in harness.uplink.results or "waits" in printed()
            )
            assert key not in harness.uplink.results
            learnt.set()
            await harness.uplink.until(lambda: harness.uplink.returned)

    run(home, scenario)


def test_a_holder_that_cannot_start_leaves_runners_to_copy_their_weights(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_holders, "device_argument", lambda: "0")  # there is no driver

    async def scenario(harness: Harness) -> None:
        model = harness.add(Model, gpu=parse("any", 4000))
        assert "error" in (await harness.call(model, "weights")).value
        (runner,) = harness.runners(model)
        await harness.uplink.until(lambda: not harness.node.context.gpu_holders._holders)
        assert not runner.kill_reason
        assert "error" in (await harness.call(model, "weights")).value
        assert harness.runners(model) == [runner]

    run(home, scenario)


def test_unused_weights_go_when_a_start_waits_for_memory(home: Path) -> None:
    async def scenario(harness: Harness) -> None:
        model = harness.add(Model, gpu=parse("any", 4000))
        await harness.call(model, "weights")
        await ended(harness, model)
        harness.node.context.gpu_holders.drop_unused()
        again = (await harness.call(model, "weights")).value
        assert again["brought"] and len(holders()) == 1

    run(home, scenario)


def test_without_room_for_held_weights_there_are_no_holders(home: Path) -> None:
    class Tells:
        def tells(self) -> bool:
            return gpu_environment.HOLDER in os.environ

    async def scenario(harness: Harness) -> None:
        assert not (await harness.call(harness.add(Tells, gpu=parse("T4")), "tells")).value
        assert not holders()

    run(home, scenario, gpu_held_mib=0)
