"""What tests of pools ask a controller, and tell it as an agent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import as_dict, plan_of
from rekindle.wire.pools import PoolPlan
from rekindle.wire.spec import FunctionSpec
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import PATIENCE_S, Client


def spec(name: str = "f", **given: Any) -> FunctionSpec:
    return FunctionSpec(app_name="app", name=name, **given)


async def until(look: Callable[[], Any]) -> Any:
    """Ask again until the answer is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await look()):
            await asyncio.sleep(0.05)
        return found


async def beat(agent: FakeAgent, **stats: Any) -> None:
    await agent.send(heartbeat=pb.Heartbeat(stats=pb.NodeStats(**stats)))


async def plan_for(agent: FakeAgent, function_id: str) -> PoolPlan:
    """The next plan that an agent is sent for a function."""
    return (await order_for(agent, function_id))[1]


async def order_for(agent: FakeAgent, function_id: str) -> tuple[pb.FollowPlan, PoolPlan]:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            order = await agent.plans.get()
            if order.function_id == function_id:
                return order, plan_of(order.plan)


async def set_pool(client: Client, function_id: str, **given: Any) -> dict[str, Any]:
    params, reset = given.pop("params", b""), given.pop("reset", False)
    request = pb.SetPoolRequest(
        function_id=function_id,
        params=params,
        every_instance=not params,
        reset=reset,
        changes=pb.PoolChanges(**given),
    )
    return as_dict(await client.call("SetPool", request))


async def recorded(client: Client, function: str) -> dict[str, Any]:
    reply = await client.call("Recorded", pb.RecordedRequest(function=function))
    return as_dict(reply)
