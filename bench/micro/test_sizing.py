"""What the controller does for each arrival and each plan, and a node for each pass."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any, cast

from rekindle.controller import policies
from rekindle.controller.policies.policy import PoolSettings, PoolView
from rekindle.gpu_restore.inventory import Inventory as GpuInventory
from rekindle.runtime.agent.gpus import Gpus
from rekindle.runtime.agent.history import History
from rekindle.runtime.agent.inputs.results import Results
from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.leases.first_clients import FirstClients
from rekindle.runtime.agent.leases.leases import Leases
from rekindle.runtime.agent.pool_gpus import PoolGpus
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.scheduling.budget import Budget
from rekindle.runtime.agent.scheduling.idle_levels import IdleLevels
from rekindle.runtime.agent.scheduling.scheduler import Scheduler
from rekindle.runtime.agent.settings import AgentSettings
from rekindle.runtime.agent.starts.ladder import Starter
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotTracker
from rekindle.runtime.agent.starts.turns import Turns
from rekindle.snapshot.store import SnapshotStore
from rekindle.wire.pools import Figures, Level
from rekindle.wire.spec import FunctionSpec

_GIB = 1 << 30
_LEVELS = {
    Level.WARM: Figures(start_s=0.0, memory_bytes=_GIB // 20),
    Level.MAPPED: Figures(start_s=0.007, memory_bytes=_GIB, cpu_s=0.013),
    Level.CACHED: Figures(start_s=0.016, memory_bytes=_GIB, cpu_s=0.028),
    Level.DISK: Figures(start_s=0.3, disk_bytes=_GIB, cpu_s=0.028),
    Level.NONE: Figures(start_s=3.4, cpu_s=3.4),
}


def test_an_arrival_is_counted_by_the_default_policy(benchmark: Any) -> None:
    sizer = policies.make("snapshot-aware").sizer()
    times = itertools.count()
    benchmark(lambda: sizer.arrived(float(next(times))))


def test_a_plan_is_made_by_the_default_policy(benchmark: Any) -> None:
    sizer = policies.make("snapshot-aware").sizer()
    times = itertools.count()

    def plan() -> None:
        now = 10.0 * next(times)
        sizer.arrived(now)
        sizer.quiet(now + 1)
        sizer.plan(
            PoolView(now=now + 2, settings=PoolSettings(), levels=_LEVELS, demand_s=now / 10)
        )

    benchmark(plan)


def test_a_pass_over_a_hundred_pools_with_nothing_to_do(
    benchmark: Any, tmp_path: Path, event_loop_of_this_thread: asyncio.AbstractEventLoop
) -> None:
    settings = AgentSettings(tmp_path, 16)
    inventory = Inventory(SnapshotStore(tmp_path / "snapshots"))
    leases = Leases(tmp_path)
    budget = Budget(inventory, IdleLevels(), settings.memory_budget_bytes)
    gpus = Gpus(GpuInventory())
    scheduler = Scheduler(inventory, leases, FirstClients(leases), budget, gpus, settings)
    for number in range(100):
        pool = _pool(f"fn-{number}", scheduler, gpus)
        inventory.pools[pool.key] = pool
    benchmark(lambda: [scheduler.reconcile(pool) for pool in inventory.pools.values()])


def test_turns_are_taken(
    benchmark: Any, event_loop_of_this_thread: asyncio.AbstractEventLoop
) -> None:
    turns = Turns()

    async def take() -> None:
        for _ in range(100):
            async with turns.turn("group"):
                pass

    benchmark(lambda: event_loop_of_this_thread.run_until_complete(take()))


def _pool(function_id: str, scheduler: Scheduler, gpus: Gpus) -> Pool:
    """One that has nothing to start from: no start is made here."""
    spec = FunctionSpec(app_name="app", name=function_id)
    context = cast(NodeContext, None)
    revision = Revision(spec, b"", b"", None, SnapshotTracker(context, spec, b"", {}))
    own = PoolGpus(function_id, (), 0, gpus)
    nothing = cast(Any, None)
    starter = Starter(context, revision, {}, nothing, nothing, nothing, own)
    results, history = cast(Results, None), History()
    return Pool(
        *((function_id, ""), "ap-0", revision, starter, scheduler.agenda, results, history, 30.0)
    )
