"""Leases at the controller: who is asked, what is refused, and that nobody waits for the dead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rekindle.controller.nodes import leasing
from rekindle.controller.nodes.leasing import Leasing
from rekindle.controller.settings import Settings
from rekindle.controller.state import Agent, App, Function, State
from rekindle.exception import InvalidError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.spec import FunctionSpec, RetrySpec


def an_agent(name: str, *, warm: tuple[str, ...] = (), local: bool = True) -> Agent:
    agent = Agent(agent_id=name, host="here", pid=0, local=local, max_runners=4, room_total=12)
    agent.outbox = asyncio.Queue()
    agent.warm_functions = frozenset(warm)
    return agent


def a_function(**spec: Any) -> Function:
    app = App("ap-1", "app", ephemeral=True)
    return Function("fu-1", "f", app, FunctionSpec(app_name="app", name="f", **spec))


def scenario(body: Callable[[State, Leasing], Awaitable[None]]) -> None:
    async def main() -> None:
        state = State("in-1")
        await body(state, Leasing(state, Settings()))

    asyncio.run(main())


async def order_of(agent: Agent) -> pb.GrantLease:
    assert agent.outbox is not None
    message = await agent.outbox.get()
    assert message is not None
    return message.lease


def test_the_agent_that_has_the_function_warm_is_asked_and_its_word_passed_on() -> None:
    async def body(state: State, leases: Leasing) -> None:
        for agent in (an_agent("ag-1"), an_agent("ag-2", warm=("fu-1",))):
            state.agents[agent.agent_id] = agent
        asking = asyncio.create_task(leases.lease(a_function(), pb.LeaseRequest(params=b"p")))
        order = await order_of(state.agents["ag-2"])
        assert (order.function_id, order.params) == ("fu-1", b"p")
        leases.answered(
            pb.LeaseGranted(
                request_id=order.request_id, ok=True, socket="/s", token="t", runner_id="ru-1"
            )
        )
        reply = await asking
        assert reply.granted and reply.lease_id == order.lease_id
        assert (reply.socket, reply.token, reply.runner_id) == ("/s", "t", "ru-1")

    scenario(body)


@pytest.mark.parametrize(
    "spec", [{"retries": RetrySpec(max_retries=1)}, {"single_use_containers": True}]
)
def test_functions_whose_calls_need_the_controller_are_never_leased(spec: dict[str, Any]) -> None:
    async def body(state: State, leases: Leasing) -> None:
        state.agents["ag-1"] = an_agent("ag-1", warm=("fu-1",))
        with pytest.raises(InvalidError):
            await leases.lease(a_function(**spec), pb.LeaseRequest())

    scenario(body)


def test_nobody_is_asked_where_nobody_can_lend() -> None:
    async def body(state: State, leases: Leasing) -> None:
        state.agents["ag-1"] = an_agent("ag-1")  # never had it
        state.agents["ag-2"] = an_agent("ag-2", warm=("fu-1",), local=False)  # another machine
        reply = await leases.lease(a_function(), pb.LeaseRequest())
        assert not reply.granted and reply.reason == "no agent has a runner of it"
        state.agents["ag-3"] = an_agent("ag-3", warm=("fu-1",))
        closing = a_function()
        closing.app.closing = True
        assert (await leases.lease(closing, pb.LeaseRequest())).reason == "its app is closed"
        waited_for = a_function()
        waited_for.backlog = True
        reply = await leases.lease(waited_for, pb.LeaseRequest())
        assert reply.reason == "inputs wait for its runners"

    scenario(body)


def test_an_agent_that_is_lost_or_silent_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(state: State, leases: Leasing) -> None:
        state.agents["ag-1"] = agent = an_agent("ag-1", warm=("fu-1",))
        asking = asyncio.create_task(leases.lease(a_function(), pb.LeaseRequest()))
        await order_of(agent)
        leases.lost(agent)
        assert (await asking).reason == "its agent is gone"
        monkeypatch.setattr(leasing, "_ANSWER_S", 0.05)
        reply = await leases.lease(a_function(), pb.LeaseRequest())
        assert reply.reason == "the agent did not answer"
        order = await order_of(agent)
        leases.answered(pb.LeaseGranted(request_id=order.request_id, ok=True))  # too late

    scenario(body)
