"""Leases: what an agent lost track of, and what nobody has, is placed again."""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis

from rekindle.controller.storage import keys
from rekindle.controller.storage.embedded_redis import redis_url
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.fake_agent import FakeAgent, echo
from tests.controller.harness import Client, in_loop, new_id, running_instance, spec

#: Leases of well under a second for functions with short timeouts.
SHORT = {"REKINDLE_LEASE_MARGIN_S": "0.6", "REKINDLE_REAP_S": "0.1"}
BRIEF = {"timeout_s": 0.1, "startup_timeout_s": 0.1}


@in_loop
async def test_an_input_that_its_agent_lost_track_of_is_placed_again() -> None:
    with running_instance(**SHORT) as instance:
        async with Client(instance) as client, FakeAgent(instance, max_runners=4) as agent:
            _, [function_id] = await client.register("app", spec(**BRIEF))
            call_id = await client.submit(function_id, {0: b"kept", 1: b"lost"})
            for _ in range(2):
                await agent.assigned.get()
            beat = pb.Heartbeat(
                in_flight=[pb.InFlight(call_id=call_id, indexes=[0])],
                lists_in_flight=True,
            )

            async def beat_forever() -> None:
                while True:
                    await agent.send(heartbeat=beat)
                    await asyncio.sleep(0.05)

            beating = asyncio.create_task(beat_forever())
            told = await agent.cancels.get()
            assert (told.call_id, list(told.indexes), told.kill) == (call_id, [1], True)
            again = await agent.assigned.get()
            assert (again.inputs[0].index, again.delivery) == (1, 2)
            await agent.done(again)
            beating.cancel()
            for _ in range(20):  # the other has been named all the time, and is where it was
                await agent.send(heartbeat=beat)
            assert agent.cancels.empty()
            await agent.done(
                pb.Assign(call_id=call_id, function_id=function_id, inputs=[pb.Input(index=0)])
            )
            assert len(await client.results(call_id)) == 2


@in_loop
async def test_an_agent_that_does_not_say_what_it_has_keeps_it_while_it_beats() -> None:
    with running_instance(**SHORT) as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            _, [function_id] = await client.register("app", spec(**BRIEF))
            call = client.invoke(function_id)
            assign = await agent.assigned.get()
            ends = time.monotonic() + 1.5
            while time.monotonic() < ends:
                await agent.send(heartbeat=pb.Heartbeat())
                await asyncio.sleep(0.05)
            assert agent.cancels.empty() and agent.assigned.empty()
            await agent.done(assign)
            assert (await call).deliveries == 1


@in_loop
async def test_an_entry_that_is_pending_under_another_name_is_taken_back() -> None:
    with running_instance(REKINDLE_HELD_INPUTS="2", **SHORT) as instance:
        async with Client(instance) as client, FakeAgent(instance, max_runners=1) as agent:
            _, [function_id] = await client.register("app", spec(**BRIEF))
            for i in range(2):  # they fill the memory that there is
                await client.submit(function_id, {0: b"%d" % i}, call_id=new_id("fc"))
            call_id = await client.submit(function_id, {0: b"taken by another"})
            redis = Redis.from_url(redis_url(instance.directory))
            queue = keys.queue(function_id)
            taken = await redis.xreadgroup(keys.GROUP, "somebody else", {queue: ">"}, count=1)
            assert len(taken) == 1
            await redis.aclose()
            agent.answer(echo)
            while not agent.assigned.empty():
                assign = agent.assigned.get_nowait()
                await agent.done(assign, assign.inputs[0].payload)
            [result] = await client.results(call_id)
            assert (result.data, result.deliveries) == (b"taken by another", 1)


@in_loop
async def test_a_queue_that_cannot_be_looked_at_keeps_none_from_being_looked_at() -> None:
    """As where Redis has lost it, which was new, when another server took over."""
    with running_instance(**SHORT) as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            agent.answer(echo)
            _, [function_id] = await client.register("lost", spec(**BRIEF))
            redis = Redis.from_url(redis_url(instance.directory))
            await redis.xgroup_destroy(keys.queue(function_id), keys.GROUP)
            await instance.until_logged("a queue was not looked at")
            _, [function_id] = await client.register("app", spec(**BRIEF))
            await redis.xadd(keys.queue(function_id), {"c": "nobody's", "b": b""})
            await redis.xreadgroup(keys.GROUP, "somebody else", {keys.queue(function_id): ">"})
            await instance.until_logged("nobody's")  # it is found
            await redis.aclose()
