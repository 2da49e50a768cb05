"""A function with a higher priority gets the GPUs of one with a lower, after its grace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rekindle.gpu_restore.request import parse
from rekindle.runtime.agent.session.report import stats
from tests.runtime.agent.gpu_nodes import Model, occupy
from tests.runtime.agent.harness import Gate, Harness, run


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
