"""A node follows plans, with real processes: sizes, idle levels, and a memory budget."""

from __future__ import annotations

import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from rekindle.exception import InvalidError
from rekindle.runtime.agent.scheduling import budget as budget_module
from rekindle.runtime.agent.scheduling.idle_levels import live
from rekindle.runtime.agent.session.report import stats
from rekindle.runtime.agent.settings import budget_bytes
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotState
from rekindle.snapshot import residency
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import plan_message
from rekindle.wire.pools import Level, PoolPlan, Rest
from tests.runtime.agent.harness import Harness, run

FOREVER = (Rest(Level.WARM, math.inf),)


class Worker:
    """Does as it is told, and takes some memory."""

    def load(self) -> None:
        self.memory = os.urandom(20 << 20)

    def host(self) -> str:
        import socket

        return socket.gethostname()

    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return self.host()

    def grow(self, mib: int) -> int:
        self.more = os.urandom(mib << 20)
        return len(self.more)


def plan(h: Harness, function_id: str, every: bool = True, **given: Any) -> None:
    made = PoolPlan(**given)
    h.node.plan(
        pb.FollowPlan(function_id=function_id, every_instance=every, plan=plan_message(made))
    )


def idle(h: Harness, function_id: str) -> int:
    pool = h.node.inventory.pools.get((function_id, ""))
    return len(pool.runners.idle()) if pool is not None else 0


def open_(h: Harness, function_id: str) -> None:
    h.node.open(pb.OpenFunction(function_id=function_id, app_id="ap-test"))


async def with_snapshot(h: Harness, function_id: str) -> Any:
    """Call it once, and wait for its snapshot and the template that is kept."""
    assert (await h.call(function_id, "host")).strategy == "cold"
    revision = h.revision(function_id)
    await h.uplink.until(lambda: revision.tracker.state is SnapshotState.READY)
    await h.uplink.until(lambda: live(revision) and revision.template.mapped)
    return revision


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


# ---- memory ------------------------------------------------------------------------------------


def over_by_one(h: Harness) -> None:
    """A budget that is just too small for what is held."""
    h.node.budget.limit_bytes = h.node.budget.held() - 1


def test_short_of_memory_the_lowest_priority_goes_first_whatever_was_used_last(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        dear, cheap = h.add(Worker), h.add(Worker)
        plan(h, dear, rest=FOREVER, priority={Level.WARM: 2.0})
        plan(h, cheap, rest=FOREVER, priority={Level.WARM: 1.0})
        await h.call(dear, "host")
        await h.call(cheap, "host")
        await h.node.budget.look()
        assert h.node.budget.held() > 40 << 20
        over_by_one(h)
        h.node.budget.enforce()
        assert idle(h, dear) == 1 and idle(h, cheap) == 0
        over_by_one(h)
        h.node.budget.enforce()
        assert idle(h, dear) == 0
        told = stats(h.node).memory.evicted
        assert [one.function_id for one in told] == [cheap, dear]
        assert "budget" in told[0].reason and told[0].bytes > 10 << 20
        assert stats(h.node).evictions == {"warm": 2}

    run(home, scenario)


def test_what_went_for_lack_of_memory_is_not_started_again_before_an_input_comes(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker)
        plan(h, worker, rest=FOREVER)
        await h.call(worker, "host")
        budget = h.node.budget
        await budget.look()
        over_by_one(h)
        budget.enforce()
        budget.limit_bytes *= 10
        pool = h.node.inventory.pools[worker, ""]
        for _ in range(3):
            h.node.scheduler.reconcile(pool)
        assert not pool.runners and not pool.runners.starting
        await h.call(worker, "host")
        h.node.scheduler.reconcile(pool)
        assert idle(h, worker) == 1

    run(home, scenario)


def test_among_equals_what_has_been_idle_longest_goes_first(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        first, second = h.add(Worker), h.add(Worker)
        for worker in (first, second):
            await h.call(worker, "host")
        await h.call(first, "host")
        await h.node.budget.look()
        over_by_one(h)
        h.node.budget.enforce()
        assert idle(h, first) == 1 and idle(h, second) == 0

    run(home, scenario)


def test_busy_runners_and_those_that_a_plan_keeps_never_go(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        kept, busy = h.add(Worker), h.add(Worker)
        plan(h, kept, runners=1)
        open_(h, kept)
        key = h.submit(busy, "sleep", 60.0)
        await h.uplink.until(lambda: idle(h, kept) == 1)
        pool = await h.uplink.until(lambda: h.node.inventory.pools.get((busy, "")))
        await h.uplink.until(lambda: pool.runners.busy() == 1)
        h.node.budget.limit_bytes = 1
        await h.node.budget.look()
        assert idle(h, kept) == 1 and pool.runners.busy() == 1
        assert not h.node.budget.evictions
        h.cancel([key], kill=True)

    run(home, scenario)


def test_an_input_is_served_however_short_memory_is_but_nothing_is_started_ahead(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        h.node.budget.limit_bytes = 1
        worker, other = h.add(Worker), h.add(Worker)
        plan(h, other, runners=2)
        assert (await h.call(worker, "host")).value
        await h.node.budget.look()
        assert not h.runners(worker)
        open_(h, other)
        await h.uplink.until(lambda: (other, "") in h.node.inventory.pools)
        h.node.scheduler.reconcile(h.node.inventory.pools[other, ""])
        assert not h.runners(other) and not h.node.inventory.pools[other, ""].runners.starting
        assert (await h.call(other, "host")).value

    run(home, scenario)


@pytest.mark.criu
def test_of_one_function_runners_go_before_the_template_before_the_cache(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, enable_memory_snapshot=True, spare_containers=0)
        revision = await with_snapshot(h, worker)
        plan(h, worker, base=Level.MAPPED, rest=FOREVER)
        await h.uplink.until(lambda: idle(h, worker) == 1)
        budget = h.node.budget
        await budget.look()
        over_by_one(h)
        budget.enforce()
        assert idle(h, worker) == 0 and live(revision)
        plan(h, worker, base=Level.MAPPED, rest=(Rest(Level.MAPPED),))
        over_by_one(h)
        budget.enforce()
        assert not live(revision)
        h.node.idle_levels.reconcile(h.node.inventory.pools.values())
        assert not revision.restoring, "it is not made anew in advance"
        pool = h.node.inventory.pools[worker, ""]
        await h.uplink.until(lambda: pool.revision.template is None)
        await budget.look()
        budget.limit_bytes = 1
        budget.enforce()
        assert [one.what for one in budget.evictions] == ["warm", "mapped", "cached"]
        assert (await h.call(worker, "host")).strategy == "restore"

    run(home, scenario)


def test_a_machine_that_is_short_of_memory_counts_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker)
        await h.call(worker, "host")
        budget = h.node.budget
        await budget.look()
        assert idle(h, worker) == 1
        monkeypatch.setattr(budget_module, "LEAST_AVAILABLE", 1.0)
        budget.enforce()
        assert idle(h, worker) == 0
        assert "available on this machine" in budget.evictions[0].reason

    run(home, scenario)


def test_the_budget_is_a_number_of_bytes_or_a_share_of_what_there_is() -> None:
    assert budget_bytes({"REKINDLE_MEMORY_BUDGET_BYTES": "123"}) == 123
    assert 0 < budget_bytes({}) < psutil.virtual_memory().total
    for wrong in ("0", "-1", "2G"):
        with pytest.raises(InvalidError, match="REKINDLE_MEMORY_BUDGET_BYTES"):
            budget_bytes({"REKINDLE_MEMORY_BUDGET_BYTES": wrong})


def test_a_node_tells_what_it_holds(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker)
        assert (await h.call(worker, "grow", 64)).value == 64 << 20
        await h.node.budget.look()
        told = stats(h.node)
        memory = told.memory
        assert memory.rss_bytes >= memory.pss_bytes > 80 << 20
        assert 0 < memory.mapped_bytes < memory.pss_bytes
        assert memory.held_bytes <= memory.budget_bytes
        [pool] = told.held
        assert pool.function_id == worker and pool.idle == 1 and pool.level == "warm"
        assert pool.runner_bytes > 80 << 20

    run(home, scenario)


def test_what_has_not_changed_is_not_measured_again(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker)
        await h.call(worker, "host")
        memory = h.node.budget.memory
        await memory.measure(h.node.inventory)
        [first] = memory.readings.values()
        await memory.measure(h.node.inventory)
        assert list(memory.readings.values()) == [first]
        await h.call(worker, "host")
        await memory.measure(h.node.inventory)
        assert list(memory.readings.values()) != [first]
        plan(h, worker, keep_s=0.0, rest=(Rest(Level.NONE),))
        await h.uplink.until(lambda: not h.runners(worker))
        await memory.measure(h.node.inventory)
        assert not memory.readings
        assert memory.held_bytes() == 0

    run(home, scenario)
