"""What runners use of their GPUs is told, and what others use of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rekindle.gpu_restore.inventory import Inventory, inventory
from rekindle.gpu_restore.recorded import Recording
from rekindle.gpu_restore.request import parse
from rekindle.runtime.agent import gpu_use
from rekindle.runtime.agent.session.report import stats
from rekindle.wire import rekindle_pb2 as pb
from tests.runtime.agent.gpu_nodes import Model, change, uuids
from tests.runtime.agent.harness import Harness, run


def test_what_runners_use_is_told_by_runner_and_what_strangers_use_is_not_given_away(
    home: Path, machine: Callable[[str], Path]
) -> None:
    path = machine("four_a10g")

    async def scenario(harness: Harness) -> None:
        model = harness.add(Model, gpu=parse("any", 6000))
        await harness.call(model, "child")
        (runner,) = harness.runners(model)
        index = uuids("four_a10g").index(runner.gpus[0])
        (inside,) = (one.pid for one in psutil.Process(runner.channel.pid).children())

        def use(recording: Recording) -> None:
            gpu = recording["gpus"][index]
            gpu["used_mib"], gpu["gpu_percent"] = 8000, 60
            gpu["processes"] = [
                {"pid": runner.channel.pid, "memory_mib": 4000, "sm_percent": 30},
                {"pid": inside, "memory_mib": 3000, "sm_percent": 20},  # what it started is its own
                {"pid": os.getppid(), "memory_mib": 900},
            ]

        change(path, use)
        watching = asyncio.create_task(harness.node.watch_gpus_forever())
        await harness.uplink.until(lambda: harness.node.context.gpu_use.runners)
        watching.cancel()
        found = stats(harness.node)
        (told,) = found.runners
        assert told.gpus.used_bytes == 7000 << 20
        assert told.gpus.busy_percent == 50
        assert told.gpus.share_bytes == 6000 << 20
        assert told.gpus.gpus == pytest.approx(6000 / 23028, abs=1e-4)
        device = next(one for one in found.gpus.devices if one.uuid == runner.gpus[0])
        assert (device.used_bytes, device.busy_percent) == (8000 << 20, 60)
        assert (device.foreign_bytes, list(device.runners)) == (900 << 20, [runner.id])
        (held,) = found.held
        assert (held.runner_gpus, held.runner_gpu_bytes) == (told.gpus.gpus, 7000 << 20)
        assert list(found.starts[-1].gpus) == list(runner.gpus)

    run(home, scenario)


class Cuda:
    """Asks CUDA's driver library itself."""

    def devices(self) -> int:
        """How many there are; minus the error where it says one."""
        import ctypes

        self.library = ctypes.CDLL("libcuda.so.1")
        if error := self.library.cuInit(0):
            return -int(error)
        count = ctypes.c_int()
        assert self.library.cuDeviceGetCount(ctypes.byref(count)) == 0
        return count.value

    def hold(self) -> None:
        """Make a context, and keep it."""
        import ctypes

        self.context = ctypes.c_void_p()
        assert self.library.cuDevicePrimaryCtxRetain(ctypes.byref(self.context), 0) == 0


@pytest.mark.gpu
def test_on_a_real_gpu_a_runner_sees_its_own_and_its_use_is_seen(home: Path) -> None:
    found = inventory()
    if not found.gpus:
        pytest.skip(found.reason)

    async def scenario(harness: Harness) -> None:
        assert (await harness.call(harness.add(Cuda), "devices")).value == -100  # NO_DEVICE
        cuda = harness.add(Cuda, gpu=parse("any"))
        assert (await harness.call(cuda, "devices")).value == 1
        await harness.call(cuda, "hold")
        (runner,) = harness.runners(cuda)
        use = harness.node.context.gpu_use
        await use.measure({runner.id: (runner.channel.pid, "fu")})
        assert use.runners[runner.id].used_bytes > 0
        harness.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
        await harness.uplink.until(lambda: not harness.node.context.gpus.fleet.holdings)
        await use.measure({})
        assert runner.gpus[0] in use.devices

    run(home, scenario)


def test_a_driver_that_fails_is_asked_again_later(
    home: Path, machine: Callable[[str], Path]
) -> None:
    path = machine("one_t4")

    async def scenario(harness: Harness) -> None:
        use = harness.node.context.gpu_use
        assert await use.measure({}) < 10
        assert use.devices
        text = path.read_text()
        path.write_text("{")
        assert await use.measure({}) > 10
        assert not use.devices
        path.write_text(text)
        assert await use.measure({}) < 10
        assert use.devices

    run(home, scenario)


@pytest.mark.parametrize("passed", [1, 100])
def test_gpus_that_could_not_be_looked_for_at_an_agents_start_are_looked_for_again(
    monkeypatch: pytest.MonkeyPatch, passed: int
) -> None:
    asked = 0

    def looks() -> Inventory:
        nonlocal asked
        asked += 1
        return Inventory(reason="no memory", passes=True) if asked <= passed else Inventory()

    monkeypatch.setattr(gpu_use, "inventory", looks)
    monkeypatch.setattr(gpu_use, "_TRY_AGAIN_S", 0.0)
    found = asyncio.run(gpu_use.find()).found
    assert (found.passes, asked) == ((False, 2) if passed == 1 else (True, 6))
