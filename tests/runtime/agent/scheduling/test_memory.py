"""What goes when a node is short of memory, and what it reports that it holds; real processes."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from rekindle.exception import InvalidError
from rekindle.runtime.agent.scheduling import budget as budget_module
from rekindle.runtime.agent.scheduling.idle_levels import live
from rekindle.runtime.agent.session.report import stats
from rekindle.runtime.agent.settings import budget_bytes
from rekindle.wire.pools import Level, Rest
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.planning import FOREVER, Worker, idle, open_, plan, with_snapshot

_BUDGET = "REKINDLE_MEMORY_BUDGET_BYTES"


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


def test_the_budget_is_a_size_or_a_share_of_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(_BUDGET, raising=False)
    assert 0 < budget_bytes() < psutil.virtual_memory().total
    for text, asked in (("123", 123), ("2G", 2 << 30)):
        monkeypatch.setenv(_BUDGET, text)
        assert budget_bytes() == asked
    for wrong in ("0", "-1", "all"):
        monkeypatch.setenv(_BUDGET, wrong)
        with pytest.raises(InvalidError, match=_BUDGET):
            budget_bytes()


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
        # By the name that people know: the controller knows none of an app that is closed.
        [runner] = told.runners
        assert runner.function == next(iter(told.starts)).function == "test.Worker"

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
