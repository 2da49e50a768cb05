"""GPUs on one node: real runners, devices of recorded machines. Nothing computes on a GPU here."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import stat
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rekindle.exception import GpuUnavailableError, StartError
from rekindle.gpu_restore.checkpoint import MOVES_CUDA
from rekindle.gpu_restore.driver import RECORDING
from rekindle.gpu_restore.request import parse
from rekindle.runtime.agent import gpus
from rekindle.runtime.agent.gpu_lending import Loan
from rekindle.runtime.agent.pool_gpus import PoolGpus
from rekindle.runtime.agent.session.report import stats
from rekindle.runtime.agent.starts import restorer
from rekindle.runtime.agent.starts.child import ForkedChild
from rekindle.runtime.agent.starts.pending import PendingStart
from rekindle.runtime.agent.starts.template import LiveTemplate
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import PhaseClock, Strategy, now_ns
from tests import exhausted
from tests.gpu_restore import machines
from tests.runtime.agent.gpu_nodes import Model, occupy, uuids
from tests.runtime.agent.harness import Gate, Harness, run

Scenario = Callable[[Harness], Awaitable[None]]


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


def unplayable(home: Path) -> str:
    """A recording that stands for a machine without a driver."""
    home.mkdir(exist_ok=True)
    (made := home / "broken.json").touch()
    return str(made)


def test_where_there_is_no_gpu_nothing_is_said_of_any(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RECORDING, unplayable(home))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    async def scenario(harness: Harness) -> None:
        assert (await harness.call(harness.add(Model), "sees")).value == {}

    run(home, scenario)


@pytest.mark.criu
@pytest.mark.needs_root("makes device files")
def test_device_files_of_others_cannot_be_opened_however_a_runner_comes_to_be(
    home: Path, tmp_path: Path, machine: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_gpus_are_free_again_where_it_cannot_be_told_just_now_what_is_to_be_hidden() -> None:
    async def main() -> None:
        node = gpus.Gpus(machines.inventory("one_t4"))
        pool = PoolGpus("pool", parse("T4"), 0, node)
        assert pool.reserve()
        with exhausted.descriptors(0), pytest.raises(GpuUnavailableError, match="just now"):
            await pool.claim(1.0)
        assert not node.fleet.holdings
        with exhausted.descriptors(0):
            assert pool.lend(Loan("spare", "f", lambda: None)) is None
        assert not node.fleet.holdings and not node.lending.loans
        assert (await pool.claim(1.0)).given.uuids

    asyncio.run(main())


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
    monkeypatch.setenv(RECORDING, recording := unplayable(home))

    async def scenario(harness: Harness) -> None:
        outcome = await harness.call(harness.add(Model, gpu=parse("any")), "sees")
        assert outcome.result.status == pb.START_FAILURE
        assert "no GPU here" in outcome.result.message
        assert recording in outcome.result.message

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


@pytest.mark.parametrize(("name", "all_of_it"), [("one_t4", "1 GPU"), ("two_rtx_4090", "2 GPUs")])
def test_a_snapshot_depends_on_how_many_gpus_there_are_where_the_driver_moves_processes(
    name: str, all_of_it: str
) -> None:
    moves = dataclasses.replace(machines.inventory(name), cuda=f"{MOVES_CUDA // 1000}.0")
    assert gpus.Gpus(moves).in_snapshots(parse("any")).endswith(f", of {all_of_it}")


def test_devices_that_no_process_can_be_given_are_still_the_starts_own() -> None:
    found = gpus.Gpus(machines.inventory("one_t4"))
    pool = PoolGpus("pool", parse("T4"), 0, found)
    assert pool.reserve()

    async def scenario() -> None:
        claim = await pool.claim(1.0)
        with pytest.raises(OSError):
            pool.take_over(claim, "ru-1", -1)  # what cannot be watched for its end
        pool.drop(claim)

    asyncio.run(scenario())
    assert not found.fleet.holdings


def test_a_runner_that_no_input_waits_for_gets_no_device_that_somebody_waits_for() -> None:
    found = gpus.Gpus(machines.inventory("two_rtx_4090"))
    one, both = (PoolGpus(gpu, parse(gpu), 0, found) for gpu in ("any", "any:2"))
    assert one.reserve() and not both.reserve()
    one.unreserve()
    assert not one.reserve(ahead=True)  # else it would have what has just made room
    assert not one.waits and both.waits
    assert both.reserve()
    both.unreserve()
    assert one.reserve(ahead=True)


def test_a_share_that_is_reserved_stays_the_starts_whatever_strangers_take_meanwhile() -> None:
    found = gpus.Gpus(machines.inventory("one_t4"))
    pool = PoolGpus("pool", parse("any", 9000), 0, found)
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


@pytest.mark.criu
@pytest.mark.parametrize("booted", ["by_this_start", "by_another_start"])
def test_a_start_whose_template_goes_while_it_waits_for_a_device_boots_without_one(
    home: Path, machine: Callable[[str], Path], tmp_path: Path, booted: str
) -> None:
    machine("one_t4")

    async def scenario(harness: Harness) -> None:
        first = harness.add(Model, gpu=parse("T4"))
        second = harness.add(Model, gpu=parse("T4"), enable_memory_snapshot=True)
        assert (await harness.prepare(second, "fork")).ok
        revision = harness.revision(second)
        starter = harness.node.inventory.pools[(second, "")].starter
        if booted == "by_this_start":
            revision.drop_template()
        pending = PendingStart(PhaseClock(now_ns()))
        with Gate(tmp_path) as gate:
            busy = await occupy(harness, first, gate)
            starts = asyncio.create_task(starter._cold(pending))
            await harness.uplink.until(lambda: stats(harness.node).gpus.waiting)
            assert revision.live_template() is not None
            revision.drop_template()
            gate.open()
            await harness.result(busy)
        runner = await starts
        assert runner.strategy is Strategy.COLD
        assert list(runner.gpus) == uuids("one_t4")
        (note,) = pending.notes
        assert "its template went while a GPU was waited for" in note
        runner.kill("the test has seen it")

    run(home, scenario)


@pytest.mark.criu
@pytest.mark.parametrize("strategy", ["fork", "restore"])
def test_the_wait_for_a_device_is_the_queues_and_no_other_phases(
    home: Path, machine: Callable[[str], Path], tmp_path: Path, strategy: str
) -> None:
    machine("one_t4")

    async def scenario(harness: Harness) -> None:
        first = harness.add(Model, gpu=parse("T4"))
        second = harness.add(Model, gpu=parse("T4"), enable_memory_snapshot=True)
        assert (await harness.prepare(second, strategy)).ok
        with Gate(tmp_path) as gate:
            busy = await occupy(harness, first, gate)
            waits = harness.submit(second, "sees", strategy=strategy)
            await harness.uplink.until(lambda: stats(harness.node).gpus.waiting)
            freed_ns = now_ns()
            gate.open()
            await harness.result(busy)
        marks = [(one.phase, one.at_ns) for one in (await harness.result(waits)).result.marks]
        queued = max(at for name, at in marks if name == "queue")
        assert queued > freed_ns
        phases = [(name, at) for name, at in marks if name != "queue"]
        assert min(at for _name, at in phases) >= queued, marks

    run(home, scenario)


@pytest.mark.criu
def test_a_strategy_is_ready_to_be_taken_once_the_device_of_the_runner_before_is_free(
    home: Path, machine: Callable[[str], Path], tmp_path: Path
) -> None:
    machine("one_t4")

    async def scenario(harness: Harness) -> None:
        model = harness.add(Model, gpu=parse("T4"), enable_memory_snapshot=True)
        fleet = harness.node.context.gpus.fleet
        for strategy in ("cold", "fork", "restore"):
            assert (await harness.call(model, "sees")).value  # it keeps its runner
            assert fleet.holdings
            assert (await harness.prepare(model, strategy)).ok
            assert not fleet.holdings, strategy

    run(home, scenario)


@pytest.mark.criu
def test_a_strategy_by_name_that_fails_leaves_its_device_to_others(
    home: Path, machine: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("one_t4")

    async def scenario(harness: Harness) -> None:
        model = harness.add(Model, gpu=parse("T4"), enable_memory_snapshot=True)
        assert (await harness.prepare(model, "restore")).ok

        async def fails(*_: object) -> None:
            raise StartError("the test says so")

        monkeypatch.setattr(restorer, "bring_back", fails)
        failed = await harness.call(model, "sees", strategy="restore")
        assert "the test says so" in failed.result.message
        assert not harness.node.context.gpus.fleet.holdings

    run(home, scenario)
