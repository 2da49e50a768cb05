"""Leases at the controller: who is asked, what is refused, and that nobody waits for the dead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rekindle.controller.nodes.leasing import Leasing
from rekindle.controller.settings import Settings
from rekindle.controller.state import Agent, App, Function, State
from rekindle.exception import ExecutionError, InvalidError
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


def test_functions_whose_calls_need_the_controller_are_never_leased() -> None:
    async def body(state: State, leases: Leasing) -> None:
        state.agents["ag-1"] = an_agent("ag-1", warm=("fu-1",))
        with pytest.raises(InvalidError, match=r"a generator cannot have: .* Leave retries= out"):
            await leases.lease(a_function(retries=RetrySpec(max_retries=1)), pb.LeaseRequest())

    scenario(body)


def test_nobody_is_asked_where_nobody_can_lend() -> None:
    async def body(state: State, leases: Leasing) -> None:
        full = an_agent("ag-1")
        full.room_total = 0
        state.agents["ag-1"] = full
        state.agents["ag-2"] = an_agent("ag-2", warm=("fu-1",), local=False)  # another machine
        reply = await leases.lease(a_function(), pb.LeaseRequest())
        assert not reply.granted
        assert reply.reason == "no agent of this machine has room for it"
        state.agents["ag-3"] = an_agent("ag-3", warm=("fu-1",))
        closing = a_function()
        closing.app.closing = True
        assert (await leases.lease(closing, pb.LeaseRequest())).reason == "its app is closed"
        waited_for = a_function()
        waited_for.backlog = True
        reply = await leases.lease(waited_for, pb.LeaseRequest())
        assert reply.reason == "inputs wait for its runners"

    scenario(body)


def test_the_patient_wait_at_an_agent_that_is_full_and_are_told_where_there_never_will_be_one() -> (
    None
):
    async def body(state: State, leases: Leasing) -> None:
        request = pb.LeaseRequest(patient=True)
        state.agents["ag-1"] = an_agent("ag-1", local=False)
        with pytest.raises(ExecutionError, match=r"a runner of the caller's machine.*here"):
            await leases.lease(a_function(), request)
        state.agents["ag-2"] = full = an_agent("ag-2")
        full.room_total = 0
        waited_for = a_function()
        waited_for.backlog = True
        asking = asyncio.create_task(leases.lease(waited_for, request))
        order = await order_of(full)
        assert order.patient
        leases.answered(pb.LeaseGranted(request_id=order.request_id, ok=True))
        assert (await asking).granted

    scenario(body)


def test_where_no_agent_has_it_warm_one_with_room_is_asked_to_start_it() -> None:
    async def body(state: State, leases: Leasing) -> None:
        state.agents["ag-1"] = agent = an_agent("ag-1")
        asking = asyncio.create_task(leases.lease(a_function(), pb.LeaseRequest()))
        order = await order_of(agent)
        began = pb.RunnerBegan(strategy="fork", began_ns=7)
        leases.answered(pb.LeaseGranted(request_id=order.request_id, ok=True, began=began))
        assert (await asking).began == began

    scenario(body)


def test_a_start_that_failed_is_passed_on() -> None:
    async def body(state: State, leases: Leasing) -> None:
        state.agents["ag-1"] = agent = an_agent("ag-1")
        asking = asyncio.create_task(leases.lease(a_function(), pb.LeaseRequest()))
        order = await order_of(agent)
        failure = pb.Result(status=pb.START_FAILURE, message="no such module")
        leases.answered(pb.LeaseGranted(request_id=order.request_id, failure=failure))
        reply = await asking
        assert not reply.granted and reply.failure == failure

    scenario(body)


def test_an_agent_that_is_lost_is_a_refusal() -> None:
    async def body(state: State, leases: Leasing) -> None:
        state.agents["ag-1"] = agent = an_agent("ag-1", warm=("fu-1",))
        asking = asyncio.create_task(leases.lease(a_function(), pb.LeaseRequest()))
        await order_of(agent)
        leases.lost(agent)
        assert (await asking).reason == "its agent is gone"

    scenario(body)


def test_what_an_agent_was_asked_over_a_connection_that_broke_is_refused_when_it_is_back() -> None:
    async def body(state: State, leases: Leasing) -> None:
        state.agents["ag-1"] = agent = an_agent("ag-1", warm=("fu-1",))
        asking = asyncio.create_task(leases.lease(a_function(), pb.LeaseRequest()))
        await order_of(agent)
        leases.back(agent)
        assert (await asking).reason == "its agent's connection broke"

    scenario(body)
