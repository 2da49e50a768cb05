"""A node follows plans, with real processes: sizes, idle levels, and a memory budget."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path

import pytest

from rekindle.runtime.agent.pools.plan import EVERY
from rekindle.runtime.agent.scheduling.idle_levels import live
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotState
from rekindle.snapshot import residency
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.pools import Level, Rest
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.planning import FOREVER, Worker, idle, open_, plan, with_snapshot

# ---- sizes -------------------------------------------------------------------------------------


def test_a_kept_runner_that_is_killed_is_replaced_at_once(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker)
        plan(h, worker, runners=2)
        open_(h, worker)
        await h.uplink.until(lambda: idle(h, worker) == 2)
        before = {runner.id for runner in h.runners(worker)}
        victim = h.runners(worker)[0]
        os.kill(victim.channel.pid, signal.SIGKILL)
        await h.uplink.until(
            lambda: idle(h, worker) == 2 and {r.id for r in h.runners(worker)} != before
        )
        assert victim.id not in {runner.id for runner in h.runners(worker)}

    run(home, scenario)


def test_a_new_plan_scales_a_live_pool_up_and_down(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker)
        await h.call(worker, "host")
        plan(h, worker, runners=3, rest=FOREVER)
        await h.uplink.until(lambda: idle(h, worker) == 3)
        plan(h, worker, runners=1, keep_s=0.0, rest=(Rest(Level.DISK),))
        await h.uplink.until(lambda: len(h.runners(worker)) == 1)
        plan(h, worker, rest=(Rest(Level.DISK),))
        await h.uplink.until(lambda: not h.runners(worker))

    run(home, scenario)


def test_a_lowered_limit_stops_idle_runners_at_once_and_holds_in_a_burst(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker)
        plan(h, worker, runners=4, rest=FOREVER)
        open_(h, worker)
        await h.uplink.until(lambda: idle(h, worker) == 4)
        plan(h, worker, max_runners=2, rest=FOREVER)
        await h.uplink.until(lambda: len(h.runners(worker)) == 2)
        keys = [h.submit(worker, "sleep", 0.1) for _ in range(10)]
        hosts = {(await h.result(key)).value for key in keys}
        assert len(hosts) <= 2

    run(home, scenario)


def test_a_buffer_is_kept_idle_beside_busy_runners(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker)
        plan(h, worker, buffer=2, rest=FOREVER)
        key = h.submit(worker, "sleep", 60.0)
        pool = await h.uplink.until(lambda: h.node.inventory.pools.get((worker, "")))
        await h.uplink.until(lambda: pool.runners.busy() == 1 and idle(h, worker) == 2)
        h.cancel([key], kill=True)

    run(home, scenario)


def test_a_plan_that_comes_before_its_pool_is_followed(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker)
        plan(h, worker, every=False, runners=1)
        await h.uplink.until(lambda: idle(h, worker) == 1)
        assert (await h.call(worker, "host")).strategy == "warm"

    run(home, scenario)


def test_plans_go_with_their_app_also_of_functions_that_were_never_called(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        called, never, of_another = h.add(Worker), h.add(Worker), h.add(Worker, app_id="ap-other")
        for function_id in (called, never, of_another):
            plan(h, function_id)
        plan(h, never, every=False)
        await h.call(called, "host")
        h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
        await h.uplink.until(lambda: h.uplink.closed_apps)
        assert h.node.plans._of.keys() == {(of_another, EVERY)}

    run(home, scenario)


def test_a_runner_is_made_ready_ahead_of_time(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker)
        await h.call(worker, "host")
        rest = (Rest(Level.NONE, 1.0), Rest(Level.WARM, math.inf))
        plan(h, worker, keep_s=0.0, rest=rest)
        await h.uplink.until(lambda: not h.runners(worker))
        await h.uplink.until(lambda: idle(h, worker) == 1)
        assert (await h.call(worker, "host")).strategy == "warm"

    run(home, scenario)


# ---- idle levels ----------------------------------------------------------------------------


@pytest.mark.criu
def test_without_a_plan_a_template_stays_when_the_runners_have_gone(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, enable_memory_snapshot=True, scaledown_window_s=0.5)
        revision = await with_snapshot(h, worker)
        await h.uplink.until(lambda: not h.runners(worker))
        h.node.idle_levels.reconcile(h.node.inventory.pools.values())
        assert live(revision)
        assert (await h.call(worker, "host")).strategy in ("spare", "fork")

    run(home, scenario)


@pytest.mark.criu
def test_a_pool_that_rests_on_disk_lets_its_template_go_and_is_restored(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, enable_memory_snapshot=True)
        revision = await with_snapshot(h, worker)
        plan(h, worker, keep_s=0.0, rest=(Rest(Level.DISK),))
        await h.uplink.until(lambda: not h.runners(worker) and not live(revision))
        assert (await h.call(worker, "host")).strategy == "restore"
        plan(h, worker, keep_s=0.0, base=Level.MAPPED, rest=(Rest(Level.MAPPED),))
        await h.uplink.until(lambda: not h.runners(worker) and live(revision))
        assert (await h.call(worker, "host")).strategy == "fork"

    run(home, scenario)


@pytest.mark.criu
def test_a_template_is_restored_in_advance_where_the_plan_says_so(home: Path) -> None:
    async def first(h: Harness) -> None:
        worker = h.add(Worker, digest="same", enable_memory_snapshot=True)
        await with_snapshot(h, worker)

    async def then(h: Harness) -> None:
        worker = h.add(Worker, digest="same", enable_memory_snapshot=True)
        plan(h, worker, base=Level.MAPPED, rest=(Rest(Level.MAPPED),))
        open_(h, worker)
        await h.uplink.until(lambda: (worker, "") in h.node.inventory.pools)
        await h.uplink.until(lambda: live(h.revision(worker)))
        assert (await h.call(worker, "host")).strategy == "fork"

    run(home, first)
    run(home, then)


@pytest.mark.criu
def test_a_pool_that_rests_cached_has_its_snapshot_read_into_the_page_cache(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, enable_memory_snapshot=True)
        revision = await with_snapshot(h, worker)
        plan(h, worker, keep_s=0.0, rest=(Rest(Level.DISK),))
        await h.uplink.until(lambda: not h.runners(worker) and not live(revision))
        images = revision.tracker.snapshot.images

        def given_back() -> bool:
            # Pages stay as long as a process that maps them is on its way out.
            residency.give_back(images)
            return residency.resident_bytes(images) < 1 << 20

        await h.uplink.until(given_back)
        plan(h, worker, keep_s=0.0, rest=(Rest(Level.CACHED),))
        await h.uplink.until(lambda: residency.resident_bytes(images) > 10 << 20)

    run(home, scenario)


@pytest.mark.criu
def test_a_template_is_not_let_go_before_it_is_frozen(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, enable_memory_snapshot=True)
        plan(h, worker, keep_s=0.0, rest=(Rest(Level.DISK),))
        assert (await h.call(worker, "host")).strategy == "cold"
        revision = h.revision(worker)
        await h.uplink.until(lambda: revision.tracker.state is SnapshotState.READY)
        await h.uplink.until(lambda: not h.runners(worker) and not live(revision))
        assert (await h.call(worker, "host")).strategy == "restore"

    run(home, scenario)
