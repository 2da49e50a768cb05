"""GPUs on one node: real runners, devices of recorded machines. Nothing computes on a GPU here."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from rekindle.exception import StartError
from rekindle.gpu_restore.driver import RECORDING
from rekindle.gpu_restore.inventory import inventory
from rekindle.gpu_restore.recorded import Recording
from rekindle.gpu_restore.request import parse
from rekindle.runtime.agent import gpus
from rekindle.runtime.agent.session.report import stats
from rekindle.runtime.agent.starts.child import ForkedChild
from rekindle.runtime.agent.starts.template import LiveTemplate
from rekindle.wire import rekindle_pb2 as pb
from tests.gpu_restore import machines
from tests.runtime.agent.harness import Gate, Harness, run

Scenario = Callable[[Harness], Awaitable[None]]


class Model:
    """Tells what it sees of GPUs."""

    def sees(self) -> dict[str, str]:
        names = ("CUDA_VISIBLE_DEVICES", "REKINDLE_GPU_MEMORY_MIB")
        return {name: os.environ[name] for name in names if name in os.environ}

    def wait(self, gate: str) -> str:
        os.close(os.open(gate, os.O_RDONLY))
        return "done"

    def opens(self, path: str) -> str:
        try:
            os.close(os.open(path, os.O_RDWR))
        except OSError as error:
            return type(error).__name__
        return "open"

    def child(self) -> int:
        """A process that it starts, by its number on the machine."""
        import subprocess

        self.process = subprocess.Popen(["sleep", "1000"])
        return self.process.pid

    def exit_(self) -> None:
        print("goodbye")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Plays a recorded machine from now on; its recording may be changed."""

    def play(name: str) -> Path:
        path = tmp_path / "machine.json"
        path.write_text(json.dumps(machines.recording(name)))
        monkeypatch.setenv(RECORDING, str(path))
        return path

    return play


def uuids(name: str) -> list[str]:
    return [gpu["uuid"] for gpu in machines.recording(name)["gpus"]]


def change(path: Path, with_what: Callable[[Recording], None]) -> None:
    recording: Recording = json.loads(path.read_text())
    with_what(recording)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(recording))
    draft.rename(path)


def device_of(harness: Harness, function_id: str) -> list[str]:
    """UUIDs that runners of a function have."""
    return [uuid for runner in harness.runners(function_id) for uuid in runner.gpus]


async def occupy(harness: Harness, function_id: str, gate: Gate) -> tuple[str, int]:
    """Have a runner of a function hold its devices until the gate is opened; the input's key."""
    key = harness.submit(function_id, "wait", gate.path)
    await harness.uplink.until(lambda: device_of(harness, function_id))
    return key


# ---- what a runner sees --------------------------------------------------------------------


def test_a_runner_sees_its_own_devices_and_one_without_sees_none(
    home: Path, machine: Callable[[str], Path]
) -> None:
    machine("four_a10g")

    async def scenario(harness: Harness) -> None:
        two = harness.add(Model, gpu=parse("A10G:2"))
        part = harness.add(Model, gpu=parse("any", 6000))
        none = harness.add(Model)
        seen = (await harness.call(two, "sees")).value
        assert seen == {"CUDA_VISIBLE_DEVICES": ",".join(uuids("four_a10g")[:2])}
        seen = (await harness.call(part, "sees")).value
        assert seen["REKINDLE_GPU_MEMORY_MIB"] == "6000"
        assert seen["CUDA_VISIBLE_DEVICES"] in uuids("four_a10g")[2:]
        assert (await harness.call(none, "sees")).value == {"CUDA_VISIBLE_DEVICES": ""}

    run(home, scenario)


def test_where_there_is_no_gpu_nothing_is_said_of_any(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RECORDING, "/nowhere.json")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    async def scenario(harness: Harness) -> None:
        assert (await harness.call(harness.add(Model), "sees")).value == {}

    run(home, scenario)


@pytest.mark.criu
def test_device_files_of_others_cannot_be_opened_however_a_runner_comes_to_be(
    home: Path, tmp_path: Path, machine: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may make device files")
    machine("one_t4")
    path = tmp_path / "nvidia1"
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    monkeypatch.setattr(gpus, "to_hide", lambda _found, given: [] if given else [str(path)])

    async def scenario(harness: Harness) -> None:
        without = harness.add(Model, enable_memory_snapshot=True, spare_containers=1)
        for strategy in ("cold", "fork", "spare", "restore"):
            if strategy != "cold":
                assert (await harness.prepare(without, strategy)).ok
            told = await harness.call(without, "opens", str(path), strategy=strategy)
            assert told.value == "PermissionError", strategy
        with_one = harness.add(Model, gpu=parse("T4"))
        assert (await harness.call(with_one, "opens", str(path))).value == "open"
        os.close(os.open(path, os.O_RDWR))  # for the machine nothing has changed

    run(home, scenario)


# ---- waiting -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpu", "words"),
    [("H100", "there is 1 x T4 (15 GiB)"), ("T4:2", "gpu=T4:2 cannot be served")],
)
def test_what_the_node_will_never_serve_is_an_error_at_once(
    home: Path, machine: Callable[[str], Path], gpu: str, words: str
) -> None:
    machine("one_t4")

    async def scenario(harness: Harness) -> None:
        wanting = harness.add(Model, gpu=parse(gpu))
        keys = [harness.submit(wanting, "sees") for _ in range(3)]
        for outcome in await harness.results(keys):
            assert outcome.result.status == pb.START_FAILURE
            assert outcome.result.error_type == "rekindle.exception.GpuUnavailableError"
            assert words in outcome.result.message

    run(home, scenario)


def test_without_any_gpu_the_error_says_why_there_is_none(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RECORDING, "/nowhere.json")

    async def scenario(harness: Harness) -> None:
        outcome = await harness.call(harness.add(Model, gpu=parse("any")), "sees")
        assert outcome.result.status == pb.START_FAILURE
        assert "no GPU here" in outcome.result.message
        assert "/nowhere.json" in outcome.result.message

    run(home, scenario)


def test_what_is_busy_is_waited_for_and_an_idle_runner_makes_room(
    home: Path, machine: Callable[[str], Path], tmp_path: Path
) -> None:
    machine("one_t4")

    async def scenario(harness: Harness) -> None:
        first = harness.add(Model, gpu=parse("T4"))
        second = harness.add(Model, gpu=parse("T4"))
        with Gate(tmp_path) as gate:
            busy = await occupy(harness, first, gate)
            waits = harness.submit(second, "sees")
            await harness.uplink.until(lambda: stats(harness.node).gpus.waiting)
            assert waits not in harness.uplink.results
            gate.open()
            assert (await harness.result(busy)).value == "done"
        seen = (await harness.result(waits)).value
        assert seen["CUDA_VISIBLE_DEVICES"] == uuids("one_t4")[0]
        assert "goodbye" in harness.uplink.printed()
        assert not stats(harness.node).gpus.waiting

    run(home, scenario)


def test_runners_of_one_function_share_what_there_is(
    home: Path, machine: Callable[[str], Path]
) -> None:
    machine("two_rtx_4090")

    async def scenario(harness: Harness) -> None:
        model = harness.add(Model, gpu=parse("any"), single_use_containers=True)
        keys = [harness.submit(model, "sees") for _ in range(3)]
        seen = {one.value["CUDA_VISIBLE_DEVICES"] for one in await harness.results(keys)}
        assert seen <= set(uuids("two_rtx_4090"))

    run(home, scenario)


def test_a_device_is_free_again_when_its_runner_was_killed(
    home: Path, machine: Callable[[str], Path], tmp_path: Path
) -> None:
    machine("one_t4")

    async def scenario(harness: Harness) -> None:
        first = harness.add(Model, gpu=parse("T4"))
        with Gate(tmp_path) as gate:
            await occupy(harness, first, gate)
            (runner,) = harness.runners(first)
            os.kill(runner.channel.pid, signal.SIGKILL)
            await harness.uplink.until(lambda: harness.uplink.returned)
            second = harness.add(Model, gpu=parse("T4"))
            assert (await harness.call(second, "sees")).value

    run(home, scenario)


def test_a_start_that_fails_before_it_has_a_process_keeps_no_device(
    home: Path, machine: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("one_t4")

    def no_more_processes(_template: LiveTemplate) -> ForkedChild:
        child = ForkedChild.make("ru-none")
        child.failed(StartError("no more processes"))
        return child

    async def scenario(harness: Harness) -> None:
        model = harness.add(Model, gpu=parse("T4"), enable_memory_snapshot=True)
        assert (await harness.prepare(model, "fork")).ok
        monkeypatch.setattr(LiveTemplate, "fork", no_more_processes)
        outcome = await harness.call(model, "sees", strategy="fork")
        assert "no more processes" in outcome.result.message
        assert not harness.node.context.gpus.fleet.holdings

    run(home, scenario)


def test_devices_that_no_process_can_be_given_are_still_the_starts_own() -> None:
    found = gpus.Gpus(machines.inventory("one_t4"))
    pool = found.of("pool", parse("T4"), 0)
    assert pool.reserve()

    async def scenario() -> None:
        claim = await pool.claim(1.0)
        with pytest.raises(OSError):
            pool.take_over(claim, "ru-1", -1)  # what cannot be watched for its end
        pool.drop(claim)

    asyncio.run(scenario())
    assert not found.fleet.holdings


def test_a_share_that_is_reserved_stays_the_starts_whatever_strangers_take_meanwhile() -> None:
    found = gpus.Gpus(machines.inventory("one_t4"))
    pool = found.of("pool", parse("any", 9000), 0)
    assert pool.reserve()

    async def scenario(process: subprocess.Popen[bytes]) -> None:
        claim = await pool.claim(1.0)
        found.fleet.foreign = {claim.given.uuids[0]: 12_000}
        freed = asyncio.Event()
        found.on_free = freed.set
        pool.take_over(claim, "ru-1", process.pid)
        assert found.runners() == ["ru-1"]
        process.kill()
        await asyncio.wait_for(freed.wait(), 10)

    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            asyncio.run(scenario(process))
        finally:
            process.kill()
    assert not found.fleet.holdings


def test_a_closed_app_leaves_no_device_behind(home: Path, machine: Callable[[str], Path]) -> None:
    machine("one_t4")

    async def scenario(harness: Harness) -> None:
        await harness.call(harness.add(Model, gpu=parse("T4")), "sees")
        harness.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
        await harness.uplink.until(lambda: harness.uplink.closed_apps)
        fleet = harness.node.context.gpus.fleet
        await harness.uplink.until(lambda: not fleet.holdings)

    run(home, scenario)


def test_a_strategy_that_is_asked_for_by_name_gets_the_device_of_an_idle_runner(
    home: Path, machine: Callable[[str], Path]
) -> None:
    machine("one_t4")

    async def scenario(harness: Harness) -> None:
        model = harness.add(Model, gpu=parse("T4"))
        await harness.call(model, "sees")
        forced = await harness.call(model, "sees", strategy="cold")
        assert forced.value["CUDA_VISIBLE_DEVICES"] == uuids("one_t4")[0]

    run(home, scenario)


# ---- preemption ----------------------------------------------------------------------------


def two(harness: Harness, **more: Any) -> tuple[str, str]:
    """A function, and one whose priority is higher."""
    low = harness.add(Model, gpu=parse("T4"), **more)
    return low, harness.add(Model, gpu=parse("T4"), gpu_priority=1)


def test_after_its_grace_an_input_goes_back_uncounted_and_exit_hooks_run(
    home: Path, machine: Callable[[str], Path], tmp_path: Path
) -> None:
    machine("one_t4")

    async def scenario(harness: Harness) -> None:
        low, high = two(harness)
        with Gate(tmp_path) as gate:
            await occupy(harness, low, gate)
            (victim,) = harness.runners(low)
            await harness.uplink.until(lambda: victim.page.began_ns)
            assert (await harness.call(high, "sees")).value
        (back,) = harness.uplink.returned
        assert (list(back.indexes), list(back.begun)) == ([0], [])
        assert "higher priority" in back.reason
        assert "goodbye" in harness.uplink.printed()
        assert stats(harness.node).gpus.preemptions == 1

    run(home, scenario, gpu_grace_s=0.0)


def test_what_ends_within_the_grace_has_its_result(
    home: Path, machine: Callable[[str], Path], tmp_path: Path
) -> None:
    machine("one_t4")

    async def scenario(harness: Harness) -> None:
        low, high = two(harness)
        with Gate(tmp_path) as gate:
            running = await occupy(harness, low, gate)
            (victim,) = harness.runners(low)
            urgent = harness.submit(high, "sees")
            await harness.uplink.until(lambda: victim.preempted)
            behind = harness.submit(low, "sees")
            gate.open()
            assert (await harness.result(running)).value == "done"
            assert (await harness.result(urgent)).value
            assert (await harness.result(behind)).value
        assert not harness.uplink.returned

    run(home, scenario, gpu_grace_s=600.0)


def test_the_same_priority_preempts_nobody(
    home: Path, machine: Callable[[str], Path], tmp_path: Path
) -> None:
    machine("one_t4")

    async def scenario(harness: Harness) -> None:
        first = harness.add(Model, gpu=parse("T4"), gpu_priority=1)
        second = harness.add(Model, gpu=parse("T4"), gpu_priority=1)
        with Gate(tmp_path) as gate:
            running = await occupy(harness, first, gate)
            waits = harness.submit(second, "sees")
            await harness.uplink.until(lambda: stats(harness.node).gpus.waiting)
            harness.node.scheduler.reconcile_all()
            assert not harness.runners(first)[0].preempted
            gate.open()
            await harness.results([running])
            await harness.results([waits])
        assert stats(harness.node).gpus.preemptions == 0

    run(home, scenario, gpu_grace_s=0.0)


# ---- telemetry -----------------------------------------------------------------------------


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


async def _look(harness: Harness, times: int = 3) -> None:
    """As often as it takes to be sure of what is lost."""
    for _ in range(times):
        await harness.node.context.gpu_use.measure({})


def test_nothing_is_started_on_a_gpu_that_is_lost_until_it_is_there_again(
    home: Path, machine: Callable[[str], Path]
) -> None:
    path = machine("two_rtx_4090")
    first, second = uuids("two_rtx_4090")

    def lose(recording: Recording) -> None:
        recording["gpus"][0]["lost"] = True

    async def scenario(harness: Harness) -> None:
        model = harness.add(Model, gpu=parse("any"))
        pair = harness.add(Model, gpu=parse("any:2"))
        text = path.read_text()
        change(path, lose)
        await _look(harness)
        assert (await harness.call(model, "sees")).value["CUDA_VISIBLE_DEVICES"] == second
        (refused,) = await harness.results([harness.submit(pair, "sees")])
        words = "there is 1 x RTX-4090 (24 GiB); 1 x RTX-4090 (24 GiB) cannot be asked any more"
        assert words in refused.result.message
        reported = stats(harness.node).gpus
        assert [one.uuid for one in reported.devices] == [second]
        assert reported.reason == "GPU 0 cannot be asked any more"
        path.write_text(text)
        await _look(harness, 1)
        seen = (await harness.call(pair, "sees")).value["CUDA_VISIBLE_DEVICES"]
        assert seen == f"{first},{second}"
        assert not stats(harness.node).gpus.reason

    run(home, scenario)


def test_who_waits_for_a_gpu_that_is_lost_is_told(
    home: Path, machine: Callable[[str], Path], tmp_path: Path
) -> None:
    path = machine("one_t4")

    def lose(recording: Recording) -> None:
        recording["gpus"][0]["lost"] = True

    async def scenario(harness: Harness) -> None:
        one, other = (harness.add(Model, gpu=parse("T4")) for _ in range(2))
        with Gate(tmp_path) as gate:
            await occupy(harness, one, gate)
            waits = harness.submit(other, "sees")
            await harness.uplink.until(lambda: stats(harness.node).gpus.waiting)
            change(path, lose)
            await _look(harness)
            (told,) = await harness.results([waits])
            assert "there is no GPU; 1 x T4 (15 GiB) cannot be asked" in told.result.message

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
