"""Spares that have their GPU's context: real forks, a recorded machine, a stand-in for CUDA."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rekindle
from rekindle.gpu_restore.request import parse
from rekindle.runtime.agent.session import gpu_report
from rekindle.runtime.agent.starts.child import ForkedChild
from tests.gpu_restore import cuda_process
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.starts.cuda_world import REPOSITORY, StandIn, World

pytestmark = [
    pytest.mark.criu,
    pytest.mark.needs_root("opens a userfaultfd"),
]


class Model:
    """Tells what it sees of its GPU."""

    _cuda = StandIn()

    def tells(self) -> list[str]:
        from tests.gpu_restore import cuda_process

        seen = [os.environ["CUDA_VISIBLE_DEVICES"], *rekindle.gpu.ready().uuids]
        return [*seen, cuda_process.name_of()]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], World]:
    return lambda machine: World(tmp_path, monkeypatch, machine)


async def with_context(harness: Harness, **options: Any) -> tuple[str, ForkedChild]:
    """A function without runners, and its spare that has a context."""
    given: dict[str, Any] = {"gpu": parse("any"), "sys_path": (REPOSITORY,), "gpu_spares": 1}
    more = {"enable_memory_snapshot": True, "spare_containers": 2, "scaledown_window_s": 2.0}
    model = harness.add(Model, **(given | more | options))
    assert (await harness.prepare(model, "spare")).ok
    return model, await has_context(harness, model)


async def has_context(harness: Harness, model: str) -> ForkedChild:
    lending = harness.node.context.gpus.lending

    def ready() -> list[ForkedChild]:
        harness.node.spare_keeper.follow()
        template = harness.revision(model).live_template()
        waiting = template.spares.waiting if template is not None else []
        there = [one for one in waiting if one.gpu_owner in lending.loans]
        return [one for one in there if cuda_process.name_of(one.channel.pid) == "cuda running"]

    (child,) = await harness.uplink.until(ready)
    pool = harness.node.inventory.pools[(model, "")]
    await harness.uplink.until(lambda: pool.gpus._contexts)
    return child


def test_a_start_takes_a_spare_with_the_gpu_and_the_context_that_it_has(
    home: Path, world: Callable[[str], World]
) -> None:
    world("one_t4")

    async def scenario(harness: Harness) -> None:
        model, child = await with_context(harness)
        fleet = harness.node.context.gpus.fleet
        assert set(fleet.holdings) == {child.gpu_owner}
        (device,) = gpu_report.of_node(harness.node.context).devices
        (loan,) = device.loans
        assert loan.to == "spare" and loan.function.endswith("Model") and not device.runners
        outcome = await harness.call(model, "tells")
        visible, ready, state = outcome.value
        assert visible == ready and state == "cuda running"
        assert outcome.strategy == "spare" and "gpu_context" not in outcome.phases
        assert set(fleet.holdings) == {child.name}  # the runner's now
        runner = harness.runners(model)[0]
        runner.kill("the test is done with it")
        await harness.uplink.until(lambda: child.name not in fleet.holdings)

    run(home, scenario)


def test_a_start_of_another_function_gets_the_gpu_that_a_spare_holds(
    home: Path, world: Callable[[str], World]
) -> None:
    world("one_t4")

    async def scenario(harness: Harness) -> None:
        _model, child = await with_context(harness)
        other = harness.add(Model, gpu=parse("T4"), sys_path=(REPOSITORY,))
        outcome = await harness.call(other, "tells")
        assert outcome.value[2] == "cuda running" and outcome.strategy == "cold"
        assert child.exit_status.done()

    run(home, scenario)


def test_a_spare_with_a_context_that_dies_costs_no_start_and_no_gpu(
    home: Path, world: Callable[[str], World]
) -> None:
    world("one_t4")

    async def scenario(harness: Harness) -> None:
        model, child = await with_context(harness)
        assert harness.node.inventory.pools[(model, "")].gpus.reserve()  # a start has it, say
        child.kill()
        outcome = await harness.call(model, "tells")
        assert outcome.value[2] == "cuda running"
        assert len(harness.node.context.gpus.fleet.holdings) == 1

    run(home, scenario)


def test_spares_hold_no_gpu_unless_that_is_asked_for(
    home: Path, world: Callable[[str], World]
) -> None:
    world("one_t4")

    async def scenario(harness: Harness) -> None:
        model = harness.add(
            Model,
            gpu=parse("any"),
            sys_path=(REPOSITORY,),
            enable_memory_snapshot=True,
            spare_containers=1,
        )
        assert (await harness.prepare(model, "spare")).ok
        harness.node.spare_keeper.follow()
        assert not harness.node.context.gpus.fleet.holdings
        outcome = await harness.call(model, "tells", strategy="spare")
        assert "gpu_context" in outcome.phases

    run(home, scenario)
