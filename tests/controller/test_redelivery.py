"""Inputs that come back without a result: who counts it, and how long they wait."""

from __future__ import annotations

import asyncio
import time

from rekindle.wire import rekindle_pb2 as pb
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Client, Instance, in_loop, running_instance, spec
from tests.controller.in_process import running_parts
from tests.controller.processes import process


async def lose(agent: FakeAgent, assign: pb.Assign) -> None:
    """The runner of an input dies."""
    index = assign.inputs[0].index
    await agent.send(
        returned=pb.InputsReturned(
            call_id=assign.call_id, indexes=[index], reason="killed", begun=[index]
        )
    )


async def delayed(client: Client) -> int:
    """How many inputs wait for their time."""
    status: pb.StatusReply = await client.call("Status", pb.StatusRequest())
    return sum(function.delayed for app in status.apps for function in app.functions)


@in_loop
async def test_the_first_time_is_at_once_and_then_the_wait_doubles() -> None:
    with running_instance(REKINDLE_CRASH_BACKOFF_S="0.2") as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            _, [function_id] = await client.register("app", spec())
            call = client.invoke(function_id)
            waits = []
            for _ in range(4):
                assign = await agent.assigned.get()
                began = time.monotonic()
                await lose(agent, assign)
                again = await agent.assigned.get()
                agent.assigned.put_nowait(again)
                waits.append(time.monotonic() - began)
            assert waits[1] >= 0.19 and waits[2] >= 0.39 and waits[3] >= 0.79
            assert waits[0] < waits[3]
            await agent.done(await agent.assigned.get())
            assert (await call).deliveries == 5


@in_loop
async def test_no_input_waits_longer_than_a_minute(redis_alone: Instance) -> None:
    async with running_parts(redis_alone, crash_backoff_s=1.0, max_deliveries=99) as parts:
        waits = [parts.redelivery.backoff_s(lost) for lost in (1, 2, 3, 7, 8, 9, 98)]
        assert waits == [0.0, 1.0, 2.0, 32.0, 60.0, 60.0, 60.0]


@in_loop
async def test_a_wait_after_a_crash_survives_a_restart_of_the_controller() -> None:
    with running_instance(REKINDLE_CRASH_BACKOFF_S="1.5") as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            _, [function_id] = await client.register("app", spec())
            call_id = await client.submit(function_id, {0: b""})
            await lose(agent, await agent.assigned.get())
            await lose(agent, await agent.assigned.get())
            lost = time.monotonic()
            while not await delayed(client):  # until it is durable
                await asyncio.sleep(0.02)
            instance.kill_controller()
            await agent.lost_connection()
            instance.start_controller()
            await agent.connect()
            assign = await agent.assigned.get()
            assert (assign.call_id, assign.delivery) == (call_id, 3)
            assert time.monotonic() - lost >= 1.2
            await agent.done(assign)
            assert len(await client.results(call_id)) == 1


@in_loop
async def test_a_dead_agent_counts_for_as_many_inputs_as_it_had_runners() -> None:
    with running_instance() as instance, process() as victim:
        async with (
            Client(instance) as client,
            FakeAgent(instance, max_runners=2, pid=victim.pid) as first,
        ):
            _, [function_id] = await client.register("app", spec())
            call_id = await client.submit(function_id, dict.fromkeys(range(10), b""))
            for _ in range(10):
                await first.assigned.get()
            async with FakeAgent(instance, max_runners=2) as second:
                victim.kill()
                victim.wait()
                await first.disconnect()
                again = [await second.assigned.get() for _ in range(10)]
                counted = {a.inputs[0].index for a in again if a.delivery == 2}
                assert counted == {0, 1}
                assert {a.inputs[0].index for a in again if a.delivery == 1} == set(range(2, 10))
                for assign in again:
                    await second.done(assign)
                assert len(await client.results(call_id)) == 10


@in_loop
async def test_what_an_agent_had_that_said_it_ends_counts_nothing() -> None:
    """However it ends: the stream is ended for one that is done, one that is killed meanwhile is
    seen dead. It is given nothing more."""
    for done in (True, False):
        with running_instance() as instance, process() as victim:
            async with (
                Client(instance) as client,
                FakeAgent(instance, max_runners=1, pid=victim.pid) as first,
            ):
                _, [function_id] = await client.register("app", spec())
                call_id = await client.submit(function_id, dict.fromkeys(range(4), b""))
                for _ in range(4):
                    await first.assigned.get()
                await first.send(leaves=pb.AgentLeaves(reason="it was told to end"))
                if done:
                    await first.send(leaves=pb.AgentLeaves(reason="told to end", ended=True))
                    await first.lost_connection()
                else:
                    victim.kill()
                    victim.wait()
                    await first.disconnect()
                another = await client.submit(function_id, {0: b""})
                async with FakeAgent(instance, max_runners=1) as second:
                    again = [await second.assigned.get() for _ in range(5)]
                    assert {one.delivery for one in again} == {1}
                    assert [one.inputs[0].index for one in again[:4]] == [0, 1, 2, 3]
                    for assign in again:
                        await second.done(assign)
                    assert len(await client.results(call_id)) == 4
                    assert len(await client.results(another)) == 1
                    assert first.assigned.empty()
