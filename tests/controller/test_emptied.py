"""Redis is emptied while a controller runs: who waits is told, and the next one serves."""

from __future__ import annotations

import asyncio

from rekindle.exception import InternalFailure, NotFoundError
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.fake_agent import FakeAgent, echo
from tests.controller.harness import Client, in_loop, running_instance, spec
from tests.controller.refusals import refused

_SAID = "was emptied while its instance was up"


@in_loop
async def test_a_controller_ends_whose_redis_was_emptied_and_the_next_one_serves() -> None:
    with running_instance(REKINDLE_REAP_S="0.2") as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            _, [function_id] = await client.register("app", spec())
            call_id = await client.submit(function_id, {0: b"x"})
            await agent.assigned.get()
            waiting = asyncio.ensure_future(client.results(call_id))
            with instance.redis_client() as server:
                server.flushall()
            assert instance.controller is not None
            assert await asyncio.to_thread(instance.controller.wait) == 1
            assert _SAID in instance.log()
            await refused(waiting)
            await asyncio.to_thread(instance.start_controller)
            await refused(client.results(call_id), NotFoundError, "or Redis was emptied since")
            await agent.connect()
            agent.answer(echo)
            _, [function_id] = await client.register("app", spec())
            assert (await client.invoke(function_id, b"again")).data == b"again"


@in_loop
async def test_who_asks_before_that_is_seen_is_told_what_happened() -> None:
    with running_instance(REKINDLE_REAP_S="600") as instance:
        async with Client(instance) as client:
            _, [function_id] = await client.register("app", spec())
            with instance.redis_client() as server:
                server.flushall()
            await refused(client.submit(function_id, {0: b"x"}), InternalFailure, _SAID)
            assert (await client.call("Status", pb.StatusRequest())).redis.up
