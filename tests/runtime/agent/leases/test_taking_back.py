"""Runners that clients have are taken back: for inputs, an end, a plan."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

import pytest

from rekindle.runtime.agent.leases import lease_monitor
from rekindle.runtime.agent.runners.runner import RunnerState
from rekindle.sdk.calls.lease import Lease, NotRunError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import Strategy
from rekindle.wire.pools import PoolPlan
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.leases.clients import Client, Worker, is_idle, until, warm


def test_inputs_that_wait_get_the_runner_of_a_client_that_does_not_use_it(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, max_containers=1)
        (runner,) = h.runners(function_id)
        held = await client.lease()
        assert await client.value(held, "who") == runner.id
        assert (await h.call(function_id, "who")).value == runner.id
        with pytest.raises(NotRunError):
            await client.call(held, "who")
        await until(lambda: is_idle(runner))
        held = await client.lease()
        assert await client.value(held, "who") == runner.id
        assert (await h.call(function_id, "who", strategy="warm")).value == runner.id

    run(home, scenario)


def test_a_busy_client_does_not_starve_inputs_that_wait(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, max_containers=1)
        held = await client.lease()
        over = asyncio.Event()

        async def hammer() -> None:
            with pytest.raises(NotRunError):
                while not over.is_set():
                    await client.call(held, "who")

        hammering = asyncio.create_task(hammer())
        await asyncio.sleep(0)
        assert (await h.call(function_id, "who")).value
        over.set()
        await hammering

    run(home, scenario)


def test_a_client_begins_no_call_of_an_app_that_is_retired_while_it_calls(home: Path) -> None:
    """It is busy whenever it is looked at, and idle for a moment between two calls alone."""

    async def scenario(h: Harness) -> None:
        _, client = await warm(h)
        held, begun = await client.lease(), home / "begun"
        called = asyncio.create_task(client.value(held, "sleep", str(begun), 0.2))
        await until(begun.exists)
        h.node.retire(pb.RetireApp(app_id="ap-test", request_id="asked"))
        assert h.uplink.retired == ["asked"]
        assert await called == "slept"
        with pytest.raises(NotRunError):
            await client.call(held, "who")

    run(home, scenario)


def test_a_client_that_waited_for_a_runner_when_its_app_was_retired_gets_none(home: Path) -> None:
    """However it asked: for any runner, or for one that was being started for it alone."""

    async def scenario(h: Harness) -> None:
        client = Client(h, h.add(Worker))
        asked = [asyncio.create_task(client.ask()) for _ in range(2)]
        forced = asyncio.create_task(client.ask(Strategy.COLD))
        await h.uplink.until(
            lambda: any(one.runners.starting for one in h.node.inventory.pools.values())
        )
        h.node.retire(pb.RetireApp(app_id="ap-test", request_id="asked"))
        assert [(await one).reason for one in asked] == ["its app has a newer version"] * 2
        if (granted := await forced).ok:
            held = await Lease.take_up(client.reply_for(granted))
            with pytest.raises(NotRunError):
                while True:
                    await client.call(held, "who")
        # Who asks by the controller from then on means just this version.
        assert await client.value(await client.lease(), "who")

    run(home, scenario)


def test_nothing_runs_twice_when_runners_are_taken_back_under_load(home: Path) -> None:
    """Each call leaves one byte; hundreds of leases end while calls are on their way."""

    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, max_containers=2)
        ledger = home / "ledger"
        counts = {"direct": 0, "refused": 0, "queued": 0}
        stop = asyncio.Event()

        # In one read, in several that can be cut in the middle, and beside a descriptor.
        sizes = itertools.cycle([0, 150_000, 0, 1_000_000])

        async def caller() -> None:
            while not stop.is_set():
                granted = await client.ask()
                if not granted.ok:
                    await h.call(function_id, "add", str(ledger))
                    counts["queued"] += 1
                    continue
                try:
                    held = await Lease.take_up(client.reply_for(granted))
                except ConnectionError:
                    continue  # taken back before we came
                try:
                    while True:
                        await client.value(held, "add", str(ledger), bytes(next(sizes)))
                        counts["direct"] += 1
                except NotRunError:
                    counts["refused"] += 1

        callers = [asyncio.create_task(caller()) for _ in range(2)]
        while counts["refused"] <= 200:
            assert not any(one.done() for one in callers)
            await asyncio.sleep(0.003)
            for lease in list(h.node.leases._leases.values()):
                h.node.leases.recall(lease)
        stop.set()
        while not all(one.done() for one in callers):
            for lease in list(h.node.leases._leases.values()):
                h.node.leases.recall(lease)
            await asyncio.sleep(0.01)
        await asyncio.gather(*callers)
        assert ledger.stat().st_size == counts["direct"] + counts["queued"], counts

    run(home, scenario)


def test_an_app_that_closes_gets_its_runners_back_for_their_exit_hooks(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h)
        held = await client.lease()
        h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
        await h.uplink.until(lambda: h.uplink.closed_apps)
        assert "goodbye" in h.uplink.printed()
        with pytest.raises(NotRunError):
            await client.call(held, "who")
        assert not h.runners(function_id)

    run(home, scenario)


def test_a_runner_that_its_client_forgets_is_taken_back_and_ends_in_its_time(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_monitor, "IDLE_S", 0.3)

    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, scaledown_window_s=1)
        (runner,) = h.runners(function_id)
        await client.lease()
        began = time.monotonic()
        await until(lambda: runner.state is RunnerState.IDLE)
        await until(lambda: runner.state is RunnerState.GONE)
        assert time.monotonic() - began >= 0.9

    run(home, scenario)


def test_a_pool_that_may_have_fewer_runners_takes_lent_ones_back(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h)
        pool = h.node.inventory.pool_of(function_id, b"")
        assert pool is not None
        pool.starts.welcome(await pool.starter.start(Strategy.COLD, time.time_ns()))
        held = await client.lease()
        other = await client.lease()
        for one in (held, other):
            assert await client.value(one, "who")
        pool.sizing.order(PoolPlan(max_runners=1))
        await until(lambda: len(pool.runners) == 1)
        assert (await h.call(function_id, "who")).value

    run(home, scenario)
