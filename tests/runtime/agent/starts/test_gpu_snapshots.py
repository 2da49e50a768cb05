"""GPU snapshots in starts: real CRIU, real processes, a stand-in for CUDA that moves its memory."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import rekindle
from rekindle.exception import StartError
from rekindle.gpu_restore.request import parse
from rekindle.runtime.agent.runners.runner import RunnerState
from rekindle.runtime.agent.starts import gpu_restoring
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotState
from rekindle.snapshot.store import SnapshotStore
from rekindle.wire.page import RunnerPage
from rekindle.wire.phases import now_ns
from tests.gpu_restore import cuda_process
from tests.runtime.agent.harness import Gate, Harness, Outcome, run
from tests.runtime.agent.starts.cuda_world import REPOSITORY, StandIn, World

pytestmark = [
    pytest.mark.criu,
    pytest.mark.needs_root("opens a userfaultfd"),
]
Scenario = Callable[[Harness], Awaitable[None]]


class Model:
    """Its weights are random numbers on the device, brought there by its hook for the GPU."""

    _cuda = StandIn()

    def load(self) -> None:
        self.gate = os.environ.get("GATE", "")

    def on_gpu(self) -> None:
        from rekindle.gpu_restore.device import cuda_device

        if self.gate:
            os.close(os.open(self.gate, os.O_RDONLY))
        print("on the GPU")
        self.device = cuda_device(0)
        self.address = self.device.allocate(8192)
        content = os.urandom(8192)
        ctypes.memmove(self.address, content, len(content))
        self.generator = random.Random()

    def enter(self) -> None:
        self.entered = [rekindle.gpu.ready().uuids[0]]

    def tells(self) -> dict[str, Any]:
        from tests.gpu_restore import cuda_process

        content = bytearray(8192)
        self.device.read(self.address, content)
        return {
            "content": bytes(content).hex(),
            "state": cuda_process.name_of(),
            "ready": self.entered,
            "visible": os.environ["CUDA_VISIBLE_DEVICES"],
            "random": [random.random(), self.generator.random()],
        }

    def wait(self, gate: str) -> None:
        os.close(os.open(gate, os.O_RDONLY))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], World]:
    return lambda machine: World(tmp_path, monkeypatch, machine)


OPTIONS: dict[str, Any] = {
    "gpu": parse("any"),
    "enable_memory_snapshot": True,
    "enable_gpu_snapshot": True,
    "sys_path": (REPOSITORY,),
}


def add(harness: Harness, **options: Any) -> str:
    return harness.add(Model, **(OPTIONS | options))


def given(harness: Harness, function: str) -> list[list[str]]:
    """The GPUs of each of its runners that run something."""
    return [one.gpus for one in harness.runners(function) if one.state is RunnerState.BUSY]


def plain(uuid: str) -> str:
    """As the driver is told of it."""
    return uuid.removeprefix("GPU-").replace("-", "")


def said(harness: Harness) -> str:
    return "\n".join(harness.uplink.printed("system"))


def notes(harness: Harness, function: str) -> str:
    return "\n".join(note for runner in harness.runners(function) for note in runner.notes)


async def snapshot_made(harness: Harness, function: str) -> Any:
    tracker = harness.revision(function).gpu_tracker
    await harness.uplink.until(lambda: tracker.snapshot or "GPU snapshot" in said(harness))
    assert tracker.snapshot is not None, said(harness)
    return tracker.snapshot


def test_a_runner_is_restored_with_what_its_hooks_left_on_the_gpu(
    home: Path, world: Callable[[str], World], tmp_path: Path
) -> None:
    there = world("two_rtx_4090")

    async def scenario(harness: Harness) -> None:
        model = add(harness)
        first = (await harness.call(model, "tells")).value
        assert "without a GPU snapshot" in notes(harness, model)
        snapshot = await snapshot_made(harness, model)  # by itself, on the other GPU
        assert "GPU snapshot" in said(harness) and snapshot.is_mapped
        manifest = SnapshotStore(harness.node.context.store.root).get(snapshot.key).manifest
        assert manifest.gpus != [first["visible"]] and manifest.gpu_kinds == ["RTX-4090 24564"]
        printed = harness.uplink.printed().count("on the GPU")
        outcomes = [await harness.call(model, "tells", strategy="restore")]
        with Gate(tmp_path) as gate:  # the next one has to take another GPU
            busy = harness.submit(model, "wait", gate.path, strategy="restore")
            results = harness.uplink.results
            await harness.uplink.until(lambda: given(harness, model) or busy in results)
            assert busy not in results, results[busy].result.message
            ((taken,),) = given(harness, model)
            outcomes.append(await harness.call(model, "tells", strategy="restore"))
            gate.open()
            await harness.result(busy)
        found = [one.value for one in outcomes]
        assert found[0]["content"] == found[1]["content"] != first["content"]
        for one, outcome in zip(found, outcomes, strict=True):
            assert one["state"] == "cuda running"
            assert one["ready"] == [one["visible"]]
            assert "gpu_restore" in outcome.phases and "gpu_context" not in outcome.phases
            assert outcome.strategy == "restore"
        assert len({number for one in [first, *found] for number in one["random"]}) == 6
        assert harness.uplink.printed().count("on the GPU") == printed == 2
        moved = [call["moved"] for call in there.calls() if "moved" in call]
        then, places = manifest.gpus[0], [found[0]["visible"], taken, found[1]["visible"]]
        for now in places:  # the driver is told of all GPUs of the machine
            swapped = [[plain(then), plain(now)], [plain(now), plain(then)]]
            assert (None if then == now else swapped) in moved
        assert set(places) == {then, first["visible"]}

    run(home, scenario)


def test_a_class_without_hooks_for_the_gpu_has_its_snap_hooks_run_with_it(
    home: Path, world: Callable[[str], World]
) -> None:
    world("two_rtx_4090")

    class Ported:
        _cuda = StandIn()

        def load(self) -> None:
            self.visible = os.environ["CUDA_VISIBLE_DEVICES"]

        def tells(self) -> list[str]:
            return [self.visible, os.environ["CUDA_VISIBLE_DEVICES"]]

    async def scenario(harness: Harness) -> None:
        ported = harness.add(Ported, **OPTIONS)
        visible = (await harness.call(ported, "tells")).value
        assert visible[0] == visible[1]

    run(home, scenario)


@pytest.mark.parametrize("how", ["", " crash"])
def test_a_restore_that_fails_on_the_gpu_is_passed_over_and_given_up_after_three(
    home: Path, world: Callable[[str], World], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = world("two_rtx_4090")

    def no_memory() -> RunnerPage:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    async def scenario(harness: Harness) -> None:
        model = add(harness)
        await harness.call(model, "tells")
        await snapshot_made(harness, model)
        tracker = harness.revision(model).gpu_tracker
        starter = harness.node.inventory.pools[(model, "")].starter
        harness.revision(model).live_template().spares.discard()  # each has what is missing here
        with monkeypatch.context() as patched, pytest.raises(StartError, match="no page for a new"):
            patched.setattr(RunnerPage, "create", no_memory)
            await starter.start(None, now_ns())
        starter.gpus.start_failed(0)
        assert len(harness.node.context.gpus.fleet.holdings) == 1  # the first runner's
        there.fail(f"cuCheckpointProcessRestore{how}")
        for number in range(4):
            runner = await starter.start(None, now_ns())  # on the GPU that no other runner has
            assert runner.strategy in ("spare", "fork") and not runner.of_gpu_snapshot
            assert (tracker.state is SnapshotState.IMPOSSIBLE) == (number >= 2)
            runner.kill("the test has seen it")
        assert said(harness).count("restore passed over: GPU snapshot") == 3
        why = "killed by SIGSEGV" if how else "cuCheckpointProcessRestore failed"
        assert why in tracker.reason
        assert tracker.reason.startswith("3 starts in a row failed")

    run(home, scenario)


@pytest.mark.parametrize(
    ("machine", "gpu", "why"),
    [
        ("four_a10g", "any", "was made on L4 23028, and this runner has A10G 23028"),
        ("two_a100_mig", "1g.5gb", "was made on another MIG instance than this runner has"),
    ],
)
def test_starts_on_another_gpu_than_a_snapshot_is_for_are_no_failures_of_it(
    home: Path, world: Callable[[str], World], tmp_path: Path, machine: str, gpu: str, why: str
) -> None:
    world(machine)
    recording = json.loads((tmp_path / "machine.json").read_text())
    if gpu == "any":
        recording["gpus"][1]["name"] = "NVIDIA L4"
    else:
        parts = recording["gpus"][0]["mig"]
        parts.append(parts[-1] | {"uuid": f"MIG-{uuid.uuid4()}", "gpu_instance": 14})
    (tmp_path / "machine.json").write_text(json.dumps(recording))

    async def scenario(harness: Harness) -> None:
        model = add(harness, gpu=parse(gpu))
        await harness.call(model, "tells")  # this runner keeps the first one
        made_on = set((await snapshot_made(harness, model)).manifest.gpus)
        starter = harness.node.inventory.pools[(model, "")].starter
        fleet = harness.node.context.gpus.fleet
        fleet.lost = frozenset(made_on)
        for _ in range(4):
            runner = await starter.start(None, now_ns())
            assert not runner.of_gpu_snapshot and why in "\n".join(runner.notes)
            runner.kill("the test has seen it")
            await harness.uplink.until(lambda: len(fleet.holdings) == 1)
        assert said(harness).count(why) == 1
        fleet.lost = frozenset({one.uuid for one in fleet.devices()} - made_on)
        runner = await starter.start(None, now_ns())
        assert runner.of_gpu_snapshot
        runner.kill("the test has seen it")

    run(home, scenario)


def test_a_driver_that_moves_none_brings_a_snapshot_back_where_it_was_made_alone(
    home: Path, world: Callable[[str], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world("two_rtx_4090")
    monkeypatch.setenv(cuda_process.VERSION, "12080")

    async def scenario(harness: Harness) -> None:
        model = add(harness)
        await harness.call(model, "tells")  # this runner keeps the first one
        made_on = set((await snapshot_made(harness, model)).manifest.gpus)
        pool = harness.node.inventory.pools[(model, "")]
        starter, fleet = pool.starter, harness.node.context.gpus.fleet
        pool.sizing.given_up = True  # no other runner is kept warm in its place
        (first,) = harness.runners(model)
        first.kill("its GPU is wanted")
        await harness.uplink.until(lambda: not fleet.holdings)
        for lost, of_snapshot in (*[(made_on, False)] * 4, (set(), True)):
            fleet.lost = frozenset(lost)
            if not lost:
                fleet.lost = frozenset({one.uuid for one in fleet.devices()} - made_on)
            runner = await starter.start(None, now_ns())
            assert runner.of_gpu_snapshot == of_snapshot, runner.notes
            assert of_snapshot or "needs an NVIDIA driver of 580" in "\n".join(runner.notes)
            runner.kill("the test has seen it")
            await harness.uplink.until(lambda: not fleet.holdings)

    run(home, scenario)


@pytest.mark.parametrize("cuda", [13000, 12080])
def test_a_machine_whose_gpus_have_become_fewer_makes_its_snapshot_again(
    home: Path,
    world: Callable[[str], World],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cuda: int,
) -> None:
    world("four_a10g")
    monkeypatch.setenv(cuda_process.VERSION, str(cuda))
    recording = json.loads((tmp_path / "machine.json").read_text())
    keys = []

    def have(gpus: list[Any]) -> None:
        told = recording | {"gpus": gpus, "cuda": cuda}
        (tmp_path / "machine.json").write_text(json.dumps(told))

    async def scenario(harness: Harness) -> None:
        model = add(harness)
        first = await harness.call(model, "tells")
        assert "gpu_restore" not in first.phases
        keys.append((await snapshot_made(harness, model)).key)
        again = await harness.call(model, "tells", strategy="restore")
        assert again.value["content"] != first.value["content"]
        assert "gpu_restore" in again.phases

    have(recording["gpus"])
    run(home, scenario)
    have(recording["gpus"][1:])
    run(home, scenario)
    assert len(set(keys)) == 2


def test_every_gpu_of_a_machine_has_one_in_its_place() -> None:
    four = ["a", "b", "c", "d"]
    swapped = {"b": "d", "d": "b", "a": "a", "c": "c"}
    assert gpu_restoring.pairs(["b"], ["d"], four, four) == swapped
    circle = {"a": "b", "b": "c", "c": "a", "d": "d"}
    assert gpu_restoring.pairs(["a", "b"], ["b", "c"], four, four) == circle
    assert gpu_restoring.pairs(["a"], ["x"], ["a"], ["x"]) == {"a": "x"}  # on another machine
    assert gpu_restoring.pairs(["b"], ["x"], ["a", "b"], ["x", "y"]) == {"b": "x", "a": "y"}
    assert gpu_restoring.pairs(["a"], ["x"], ["a"], ["x", "y"]) is None


def test_a_process_that_cannot_be_suspended_makes_no_snapshot_and_the_reason_is_said(
    home: Path, world: Callable[[str], World]
) -> None:
    there = world("two_rtx_4090")
    there.fail("cuCheckpointProcessCheckpoint")

    async def scenario(harness: Harness) -> None:
        model = add(harness)
        await harness.call(model, "tells")
        await harness.uplink.until(lambda: "no GPU snapshot of" in said(harness))
        assert "cuCheckpointProcessCheckpoint failed" in said(harness)
        assert "runners bring up their GPU" in said(harness)
        fleet = harness.node.context.gpus.fleet
        await harness.uplink.until(lambda: len(fleet.holdings) == 1)  # the runner's

    run(home, scenario)


def test_an_older_driver_makes_none_and_every_start_says_why(
    home: Path, world: Callable[[str], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world("one_t4")
    monkeypatch.setenv(cuda_process.VERSION, "12040")

    async def scenario(harness: Harness) -> None:
        model = add(harness)
        outcome: Outcome = await harness.call(model, "tells")
        assert outcome.value["state"] == "cuda running"
        assert "GPU snapshots need an NVIDIA driver of 570" in said(harness)
        assert "GPU snapshots need an NVIDIA driver of 570" in notes(harness, model)
        assert (await harness.prepare(model, "restore")).ok
        outcome = await harness.call(model, "tells", strategy="restore")
        assert "gpu_context" in outcome.phases
        assert "GPU snapshots need an NVIDIA driver of 570" in "\n".join(outcome.result.notes)

    run(home, scenario)


def test_a_snapshot_that_is_being_made_gives_its_gpu_to_a_start(
    home: Path, world: Callable[[str], World], tmp_path: Path
) -> None:
    world("two_rtx_4090")

    class Other:
        _cuda = StandIn()

        def tells(self) -> str:
            return os.environ["CUDA_VISIBLE_DEVICES"]

    async def scenario(harness: Harness) -> None:
        with Gate(tmp_path) as hooks, Gate(tmp_path) as busy:
            model = add(harness, env={"GATE": hooks.path})
            key = harness.submit(model, "wait", busy.path)
            fd = await harness.uplink.until(lambda: _writer(hooks.path))
            os.close(fd)  # the first runner's hook goes on
            busy.open()
            await harness.result(key)
            tracker = harness.revision(model).gpu_tracker
            await harness.uplink.until(lambda: tracker.making_step.startswith("running the hooks"))
            other = harness.add(Other, gpu=parse("any"), sys_path=(REPOSITORY,))
            assert (await harness.call(other, "tells")).value
            assert tracker.reason == "a start needed the GPU that it was being made on"
            assert tracker.state is SnapshotState.ABSENT and not tracker.attempts
            hooks.open()

    run(home, scenario)


def _writer(path: str) -> int | None:
    """The writing end of a FIFO that somebody reads; None where nobody does."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None
