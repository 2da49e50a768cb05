"""What a controller lets go of instances with parameters that nobody calls, and gets back."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from rekindle.controller.nodes.agentnews import News
from rekindle.controller.pools import arrivals as arrivals_module
from rekindle.controller.pools.arrivals import ArrivalLog
from rekindle.controller.pools.pool_settings import Changes
from rekindle.controller.pools.pool_state import REST_S
from rekindle.controller.state import Agent, Function
from rekindle.controller.storage import keys
from rekindle.controller.wiring import Parts
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import plan_of
from rekindle.wire.spec import params_digest
from tests.controller.harness import Instance, in_loop, new_id
from tests.controller.in_process import registered, running_parts

NOTHING = News([], [], [])


def params(tenant: int) -> bytes:
    return b'{"tenant":%d}' % tenant


def with_agent(parts: Parts) -> Agent:
    agent = Agent("ag-test", "host", 1, False, 4, 8, outbox=asyncio.Queue())
    parts.core.state.agents[agent.agent_id] = agent
    return agent


def called(parts: Parts, function: Function, tenant: int) -> None:
    """A call of an instance has come, and ended."""
    parts.pools.scaler.accepted(function, params(tenant), 1)
    parts.pools.scaler.ended(function, params(tenant), 1)


def plans(agent: Agent) -> list[pb.FollowPlan]:
    """Those that it was sent since this was asked last."""
    assert agent.outbox is not None
    sent = [agent.outbox.get_nowait() for _ in range(agent.outbox.qsize())]
    return [message.plan for message in sent if message is not None and message.HasField("plan")]


def later(parts: Parts, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have so much time pass for the scaler, and a tick of it come."""
    scaler = parts.pools.scaler
    clock = scaler._clock
    monkeypatch.setattr(scaler, "_clock", lambda: clock() + seconds)
    scaler.tick()


@in_loop
async def test_instances_that_no_agent_has_and_nobody_calls_are_followed_no_more(
    redis_alone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_parts(redis_alone) as parts:
        function, agent, scaler = await registered(parts), with_agent(parts), parts.pools.scaler
        for tenant in range(200):
            called(parts, function, tenant)
        scaler.accepted(function, params(1), 1)  # one more, which goes on
        held = pb.HeldPool(function_id=function.function_id, params=params_digest(params(2)))
        agent.stats.held.append(held)
        scaler.heartbeat(agent, NOTHING)
        assert scaler._instances(function) == 200 and len(plans(agent)) >= 200
        later(parts, monkeypatch, REST_S)
        left = {pool.params for pool in scaler._of(function)}
        assert left == {b"", params(1), params(2)}
        assert not [key for key in scaler._dirty if key[1] and key not in scaler._pools]
        withdrawn = {order.params for order in plans(agent) if not order.HasField("plan")}
        assert withdrawn == {params(n) for n in range(200)} - {params(1), params(2)}
        called(parts, function, 7)
        order = next(one for one in plans(agent) if one.params == params(7))
        assert plan_of(order.plan).keep_s == function.spec.scaledown_window_s


@in_loop
async def test_what_was_set_for_an_instance_stays(
    redis_alone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_parts(redis_alone) as parts:
        function, scaler = await registered(parts), parts.pools.scaler
        with_agent(parts)
        changes = Changes(max_containers=1)
        await scaler.set_pool(function, params(1), changes, every=False, reset=False)
        called(parts, function, 2)
        later(parts, monkeypatch, REST_S)
        assert {pool.params for pool in scaler._of(function)} == {b"", params(1)}
        joined = Agent("ag-joined", "host", 1, False, 4, 8, outbox=asyncio.Queue())
        parts.core.state.agents = {joined.agent_id: joined}
        scaler.joined(joined)
        (order,) = [one for one in plans(joined) if one.params == params(1)]
        assert plan_of(order.plan).max_runners == 1


@in_loop
async def test_an_instance_is_followed_until_every_agent_hears_that_its_plan_is_withdrawn(
    redis_alone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_parts(redis_alone) as parts:
        function, agent, scaler = await registered(parts), with_agent(parts), parts.pools.scaler
        called(parts, function, 1)
        scaler.tick()
        agent.outbox = None  # its connection broke
        later(parts, monkeypatch, REST_S)
        assert scaler._instances(function) == 1
        agent.outbox = asyncio.Queue()
        scaler.joined(agent)
        later(parts, monkeypatch, REST_S)
        assert scaler._instances(function) == 0


@in_loop
async def test_more_instances_than_are_followed_at_a_time_have_plans_of_their_own_in_turn(
    redis_alone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_parts(redis_alone) as parts:
        function, scaler = await registered(parts), parts.pools.scaler
        for tenant in range(300):
            called(parts, function, tenant)
        assert scaler._instances(function) == 256
        later(parts, monkeypatch, REST_S)
        called(parts, function, 299)
        assert {pool.params for pool in scaler._of(function)} == {b"", params(299)}


@in_loop
async def test_records_of_instances_make_room_in_memory_and_in_redis(
    redis_alone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals_module, "_MAX_SERIES", 3)
    monkeypatch.setattr(arrivals_module, "_KEPT_SERIES", 4)
    async with running_parts(redis_alone) as parts:
        record, label = ArrivalLog(parts.link), new_id("app") + ".C"
        for round_ in range(3):
            for n in range(3):
                record.arrived((label, f"d{round_}{n}"), 1, time.time())
            await record.flush()
            monkeypatch.setattr(arrivals_module, "_IDLE_S", -1.0)
            await record.flush()
            monkeypatch.setattr(arrivals_module, "_IDLE_S", 600.0)
        assert not record._series and not record._of
        found: Any = await parts.link.command("ZRANGE", keys.arrivals_of(label), 0, -1)
        assert len(found) == 4
        kept = await parts.link.commands(
            [
                ("EXISTS", keys.arrivals(label, f"d{round_}{n}"))
                for round_ in range(3)
                for n in range(3)
            ]
        )
        assert sum(kept) == 4


@in_loop
async def test_costs_of_functions_that_are_gone_are_read_again_where_they_come_back(
    redis_alone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_parts(redis_alone) as parts:
        function, pools = await registered(parts), parts.pools
        pools.costs.of(function.label).started("cold", 2.0)
        await parts.apps.close(function.app.app_id)
        later(parts, monkeypatch, REST_S)
        assert pools.costs._of, "what is not stored yet stays"
        await pools.costs.flush()
        later(parts, monkeypatch, REST_S)
        assert not pools.costs._of
        again = await registered(parts)
        while not pools.costs.of(again.label).starts:
            await asyncio.sleep(0.01)  # it gives no event
