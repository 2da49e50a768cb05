"""Clients that ask for a runner where none is idle: one is started for them."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from rekindle import paths
from rekindle.sdk.calls.lease import Lease
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.frames import pack_frame
from rekindle.wire.node_token import node_token
from rekindle.wire.phases import Strategy
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.leases.clients import Client, Worker, is_idle, until, warm


class Unstartable:
    """Its hook fails."""

    def load(self) -> None:
        raise RuntimeError("no weights")


class FailsFirst:
    """The hook of its first runner fails."""

    def enter(self) -> None:
        failed = Path(os.environ["FAILED"])
        if not failed.exists():
            failed.touch()
            raise RuntimeError("not yet")

    def who(self) -> str:
        return socket.gethostname()


def test_nothing_is_lent_where_nothing_is_idle_and_nothing_may_be_started(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, max_containers=1)
        keys = [h.submit(function_id, "sleep", str(home / f"begun{i}"), 0.3) for i in range(3)]
        await until(lambda: (home / "begun0").exists())
        assert not (await client.ask()).ok
        for key in keys:
            assert (await h.result(key)).value == "slept"
        await until(lambda: all(map(is_idle, h.runners(function_id))))
        assert (await client.ask()).ok

    run(home, scenario)


def test_a_runner_is_started_for_a_client_where_none_is_idle(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        client = Client(h, h.add(Worker))
        granted = await client.ask()
        assert granted.ok, granted.reason
        assert granted.began.strategy == "cold"
        assert "import" in {mark.phase for mark in granted.began.marks}
        held = await Lease.take_up(client.reply_for(granted))
        assert await client.value(held, "who")
        other = await client.ask()
        assert other.ok and other.began.began_ns > granted.began.began_ns
        held.close()

    run(home, scenario)


def test_a_start_that_fails_is_the_answer_to_who_asked_for_it(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        granted = await Client(h, h.add(Unstartable)).ask()
        assert not granted.ok and granted.failure.status == pb.START_FAILURE
        assert granted.failure.message == "no weights"

    run(home, scenario)


def test_a_start_that_failed_while_nobody_waited_is_no_answer_to_who_comes_later(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        function_id = h.add(FailsFirst, env={"FAILED": str(home / "failed")})
        client = Client(h, function_id)
        h.node.open(pb.OpenFunction(function_id=function_id))
        await until(lambda: h.node.inventory.pool_of(function_id, b""))
        pool = h.node.inventory.pool_of(function_id, b"")
        assert pool is not None
        pool.starts.begin()  # as where its plan asks for one
        await until(lambda: not pool.runners.starting)
        assert (home / "failed").exists() and not pool.runners
        h.node.scheduler.reconcile(pool)
        granted = await client.ask()
        assert granted.ok, granted

    run(home, scenario)


def test_a_runner_granted_to_a_client_that_hung_up_is_another_s_once_it_has_let_go(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, max_containers=1)
        (runner,) = h.runners(function_id)
        h.node.local_clients._token = "secret"
        hello = {"ask": function_id, "params": "", "depth": 0, "strategy": "", "measure": False}
        hello |= {"sent": False, "token": node_token("secret", "ap-test")}
        for number in range(20):
            lent = runner.lent
            hello["lease"] = f"le-{number:016x}"
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(paths.direct_socket(home / "instance")))
                sock.sendall(pack_frame(hello))
            while runner.lent == lent:
                await asyncio.sleep(0)
            while not (granted := await client.ask()).ok:
                await asyncio.sleep(0)
            held = await Lease.take_up(client.reply_for(granted))
            assert await client.value(held, "who") == runner.id
            held.close()
            await until(lambda: is_idle(runner))

    run(home, scenario)


@pytest.mark.criu
def test_a_strategy_that_is_asked_for_is_taken_and_its_runner_ends_with_the_lease(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, enable_memory_snapshot=True)
        refused = await Client(h, h.add(Worker)).ask(Strategy.RESTORE)
        assert "enable_memory_snapshot" in refused.failure.message
        assert refused.failure.error_type.endswith("StrategyUnavailableError")
        assert (await h.prepare(function_id, "restore")).ok
        assert (await h.prepare(function_id, "fork")).ok
        idle = [runner.id for runner in h.runners(function_id)]
        for strategy in (Strategy.FORK, Strategy.RESTORE):
            granted = await client.ask(strategy, measure=True)
            assert granted.once and granted.began.strategy == strategy
            held = await Lease.take_up(client.reply_for(granted))
            array = np.ones(1_000_000)
            assert (await client.value(held, "double", array))[0] == 2
            assert (await client.value(held, "who")) == granted.runner_id
            held.close()
            await until(lambda: [runner.id for runner in h.runners(function_id)] == idle)
            assert h.node.history.measured_pss[granted.runner_id] > 0
        granted = await client.ask(Strategy.WARM)
        assert granted.ok and not granted.once and not granted.HasField("began")

    run(home, scenario)


def test_a_runner_for_a_single_input_ends_with_its_lease(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id = h.add(Worker, single_use_containers=True)
        client = Client(h, function_id)
        who = set()
        for _ in range(2):
            granted = await client.ask()
            assert granted.once and granted.began.strategy == "cold"
            held = await Lease.take_up(client.reply_for(granted))
            who.add(await client.value(held, "who"))
            held.close()
            await until(lambda: not h.runners(function_id))
        assert len(who) == 2

    run(home, scenario)


@pytest.mark.criu
def test_the_first_direct_call_is_answered_before_the_snapshot_is_begun(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id = h.add(Worker, enable_memory_snapshot=True)
        client = Client(h, function_id)
        granted = await client.ask()
        held = await Lease.take_up(client.reply_for(granted))
        pool = h.node.inventory.pool_of(function_id, b"")
        assert pool is not None
        h.node.scheduler.reconcile_all()
        assert not pool.revision.background
        assert await client.value(held, "who")
        await until(lambda: pool.revision.background)

    run(home, scenario)
