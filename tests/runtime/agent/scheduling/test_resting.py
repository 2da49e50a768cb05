"""Pools of instances with parameters close once nobody has called them for long, and open again."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rekindle.runtime.agent.leases.requests import LeaseRequest
from rekindle.runtime.agent.scheduling.idle_levels import live
from rekindle.runtime.agent.scheduling.resting import HELD_TIMES, Resting
from rekindle.runtime.agent.session.report import stats
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.blobs import FolderStore, new_key
from rekindle.wire.messages import plan_message
from rekindle.wire.phases import Strategy
from rekindle.wire.pools import Level, PoolPlan, Rest
from rekindle.wire.serialization import serialize
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.leases.first_clients import Asking

pytestmark = pytest.mark.criu

REST_S = 0.2
NOTHING_KEPT = {"keep_s": 0.0, "rest": (Rest(Level.NONE),), "base": Level.NONE}


def params(tenant: int) -> bytes:
    """What a pool is named by; 0: of a function, or a class without parameters."""
    return b'{"tenant":%d}' % tenant if tenant else b""


def follow(h: Harness, function_id: str, tenant: int | None = None, **given: Any) -> None:
    """Have all instances, or one, follow a plan."""
    made = plan_message(PoolPlan(**{**NOTHING_KEPT, **given}))
    order = pb.FollowPlan(function_id=function_id, every_instance=tenant is None, plan=made)
    order.params = params(tenant or 0)
    h.node.plan(order)


def double(x: int) -> int:
    return 2 * x


def of_tenants(h: Harness, **spec: Any) -> str:
    """A function in the place of a class, which does not look at its parameters."""
    function_id = h.add(double, **spec)
    follow(h, function_id)
    return function_id


def close_whatever_rests(h: Harness) -> Resting:
    """One that closes a pool as soon as nothing is in it."""
    return Resting(h.node.inventory, h.node.leases.requests, 0.0)


def test_of_hundreds_of_values_nothing_is_left_once_they_are_at_rest(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id = of_tenants(h)
        for tenant in range(1, 501):
            await h.node.opener.pool(function_id, params(tenant))
        called = [h.submit(function_id, "", n, params=params(n)) for n in range(1, 6)]
        assert [(await h.result(one)).value for one in called] == [2, 4, 6, 8, 10]
        assert len(stats(h.node).pools) == 500
        h.node.resting._rest_s = REST_S  # not before: that may take longer
        await h.uplink.until(lambda: not h.node.inventory.pools)
        await h.uplink.until(lambda: not h.node.inventory.revisions)
        told = stats(h.node)
        assert not (told.pools or told.held or told.snapshots or told.direct)
        scheduler = h.node.scheduler
        await h.uplink.until(lambda: not scheduler._shares._had_at and not scheduler._line)
        assert not scheduler.agenda._timers and not h.node.resting._since
        again = h.submit(function_id, "", 21, params=params(7))
        assert (await h.result(again)).value == 42

    run(home, scenario, pool_rest_s=3600.0)


def test_no_call_is_lost_that_comes_while_its_pool_closes(home: Path, tmp_path: Path) -> None:
    """Whichever way it comes, in whichever turn of the loop."""

    async def scenario(h: Harness) -> None:
        function_id = of_tenants(h)
        h.node.blobs._url = f"file://{tmp_path}/blobs"
        store, data = FolderStore(tmp_path / "blobs"), serialize(((5,), {}), "a test's input")
        resting, closed = close_whatever_rests(h), 0

        async def close_all_the_time() -> None:
            nonlocal closed
            while True:
                before = len(h.node.inventory.pools)
                resting.close_rested()
                closed += before - len(h.node.inventory.pools)
                await asyncio.sleep(0)

        async def queued(n: int, **how: Any) -> Any:
            return (await h.result(h.submit(function_id, "", n, params=params(n), **how))).value

        async def stored(n: int) -> Any:
            key = new_key("fc-0123456789abcdefABCDEF", n, data)
            store.put(key, data)
            return 2 * n if await queued(n, blob=key) == 10 else None

        async def direct(n: int, **how: Any) -> Any:
            asked = {"params": params(n).hex(), "lease": f"le-{n:016x}", **how}
            asking = Asking(h, function_id, "", n, **asked)
            assert (await asking.told())[0]["ok"]
            try:
                return await asking.value()
            finally:
                asking.sock.close()

        async def lent(n: int) -> Any:
            answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            request = LeaseRequest(f"le-l{n}", 0, 0, answered.set_result, Strategy.COLD)
            await h.node.lend(function_id, params(n), request)
            return 2 * n if (await answered).ok else None

        ways = [queued, partial(queued, strategy="cold"), stored]
        ways += [direct, partial(direct, strategy="cold"), lent]
        closing = asyncio.create_task(close_all_the_time())
        for n, way in enumerate(2 * ways, 1):
            await h.node.opener.pool(function_id, params(n))
            assert await way(n) == 2 * n
            await h.uplink.until(lambda: not h.node.inventory.pools)
        closing.cancel()
        assert closed >= len(2 * ways)

    run(home, scenario)


def test_an_input_whose_arguments_are_fetched_runs_though_its_pool_is_drained_meanwhile(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(h: Harness) -> None:
        function_id = of_tenants(h)
        h.node.blobs._url = f"file://{tmp_path}/blobs"
        data = serialize(((5,), {}), "a test's input")
        key = new_key("fc-0123456789abcdefABCDEF", 0, data)
        FolderStore(tmp_path / "blobs").put(key, data)
        asked, go_on, get = asyncio.Event(), asyncio.Event(), h.node.blobs._get

        async def slow(key: str) -> bytes:
            asked.set()
            await go_on.wait()
            return await get(key)

        monkeypatch.setattr(h.node.blobs, "_get", slow)
        await h.node.opener.pool(function_id, params(1))
        stored = h.submit(function_id, "", blob=key, params=params(1))
        await asked.wait()
        h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test", drain=True))
        await h.uplink.until(lambda: h.uplink.closed_apps)
        go_on.set()
        assert (await h.result(stored)).value == 10

    run(home, scenario)


def test_what_a_plan_keeps_stays_and_so_do_functions_without_parameters(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id = of_tenants(h)
        follow(h, function_id, 1, runners=1)
        follow(h, function_id, 2, rest=(Rest(Level.NONE, 3600.0), Rest(Level.WARM)))
        for tenant in range(4):
            await h.node.opener.pool(function_id, params(tenant))
        await h.uplink.until(lambda: len(h.node.inventory.pools) == 3)
        left = {pool.revision.params for pool in h.node.inventory.pools.values()}
        assert left == {params(0), params(1), params(2)}

    run(home, scenario, pool_rest_s=REST_S)


def test_a_pool_that_opens_again_follows_the_plan_that_was_its_own_until_that_is_let_go(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        function_id = of_tenants(h)
        follow(h, function_id, max_runners=7)
        follow(h, function_id, 1, max_runners=1)
        assert (await h.node.opener.pool(function_id, params(1))).sizing.limit == 1
        await h.uplink.until(lambda: not h.node.inventory.pools)
        assert (await h.node.opener.pool(function_id, params(1))).sizing.limit == 1
        h.node.plan(pb.FollowPlan(function_id=function_id, params=params(1)))
        [pool] = h.node.inventory.pools.values()
        assert pool.sizing.limit == 7
        assert [digest for _, digest in h.node.plans._of] == ["*"]

    run(home, scenario, pool_rest_s=REST_S)


@pytest.mark.parametrize("spares", [0, 2], ids=["a template", "spares that were asked for"])
def test_one_with_a_template_rests_longer_and_its_next_start_is_no_cold_one(
    home: Path, spares: int
) -> None:
    async def scenario(h: Harness) -> None:
        function_id = of_tenants(h, enable_memory_snapshot=True)
        level = Level.SPARE if spares else Level.BOOTED
        kept = {"base": level, "rest": (Rest(level),), "spares": spares, "ahead": spares > 0}
        follow(h, function_id, **kept)
        first = h.submit(function_id, "", 1, params=params(1))
        assert (await h.result(first)).value == 2
        [pool] = h.node.inventory.pools.values()
        await h.uplink.until(lambda: live(pool.revision) and not pool.works)
        pool.sizing.quiet_since -= HELD_TIMES / 2
        resting = Resting(h.node.inventory, h.node.leases.requests, 1.0)
        resting._since[pool.key] = (pool, pool.sizing.quiet_since)
        resting.close_rested()
        assert h.node.inventory.pools
        close_whatever_rests(h).close_rested()
        assert not h.node.inventory.pools
        again = await h.result(h.submit(function_id, "", 2, params=params(1)))
        assert again.value == 4 and again.strategy != "cold"

    run(home, scenario)
