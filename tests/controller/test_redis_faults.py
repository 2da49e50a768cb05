"""Redis is killed, or stays away: nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio

import pytest

from rekindle.controller.storage.embedded_redis import redis_socket
from rekindle.exception import ServiceError
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.fake_agent import FakeAgent, echo
from tests.controller.harness import Client, Instance, in_loop, running_instance, spec
from tests.controller.refusals import refused


@in_loop
async def test_a_killed_redis_loses_nothing_that_was_acknowledged(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance, max_runners=2) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {i: b"%d" % i for i in range(50)})
        first = await agent.assigned.get()
        await agent.done(first, b"stored")
        await agent.acks.get()
        instance.kill_redis()
        running = [await agent.assigned.get() for _ in range(4)]
        for assign in running:  # results that come while Redis is away
            await agent.done(assign, assign.inputs[0].payload)
        waiting = client.invoke(function_id, b"meanwhile")  # and a call
        instance.start_redis()
        agent.answer(echo)
        for _ in range(agent.assigned.qsize()):
            assign = agent.assigned.get_nowait()
            await agent.done(assign, assign.inputs[0].payload)
        results = {r.index: r.data for r in await client.results(call_id)}
        assert results == {i: b"stored" if i == 0 else b"%d" % i for i in range(50)}
        assert (await waiting).data == b"meanwhile"


@in_loop
async def test_a_result_waits_for_redis_for_longer_than_requests_do() -> None:
    with running_instance(REKINDLE_REDIS_PATIENCE_S="0.3") as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            _, [function_id] = await client.register("app", spec())
            call_id = await client.submit(function_id, {0: b""})
            assign = await agent.assigned.get()
            instance.kill_redis()
            await agent.done(assign)
            for _ in range(2):  # the second has been waited for since the result came
                assert isinstance(await refused(client.submit(function_id, {0: b""})), ServiceError)
            await asyncio.to_thread(instance.start_redis)
            await agent.acks.get()
            assert [one.data for one in await client.results(call_id)] == [b"result"]


@in_loop
async def test_redis_killed_again_and_again_under_load_completes_every_call_once(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        _, [function_id] = await client.register("app", spec())
        runs: dict[str, int] = {}

        def answer(assign: pb.Assign) -> pb.Result:
            runs[assign.call_id] = runs.get(assign.call_id, 0) + 1
            return echo(assign)

        agent.answer(answer)
        stop, progress = asyncio.Event(), asyncio.Semaphore(0)
        acknowledged: list[tuple[str, bytes]] = []

        async def load(number: int) -> None:
            count = 0
            while not stop.is_set():
                payload = b"%d.%d" % (number, count)
                count += 1
                call_id = await client.submit(function_id, {0: payload})
                acknowledged.append((call_id, payload))
                progress.release()

        loads = [asyncio.create_task(load(number)) for number in range(4)]
        for _ in range(4):
            for _ in range(50):
                await progress.acquire()
            await asyncio.to_thread(instance.kill_redis)
            await asyncio.to_thread(instance.start_redis)
        stop.set()
        await asyncio.gather(*loads)
        for call_id, payload in acknowledged:
            [result] = await client.results(call_id)
            assert (result.status, result.data) == (pb.SUCCESS, payload)
        # No runner and no agent died, so nothing has run twice either.
        assert runs == {call_id: 1 for call_id, _ in acknowledged}


@in_loop
async def test_a_request_says_so_when_redis_stays_away() -> None:
    with running_instance(REKINDLE_REDIS_PATIENCE_S="0.5") as instance:
        async with Client(instance) as client:
            _, [function_id] = await client.register("app", spec())
            instance.kill_redis()
            with pytest.raises(Exception, match=r"Redis at .* has not answered"):
                await client.invoke(function_id)
            instance.start_redis()
            await client.submit(function_id, {0: b"works again"})


@in_loop
async def test_everything_killed_comes_back_from_disk(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {0: b"a", 1: b"b"})
        await agent.done(await agent.assigned.get(), b"stored")
        await agent.acks.get()
        instance.kill_redis()
        instance.kill_controller()
        instance.start_redis()
        instance.start_controller()
        await agent.connect()
        agent.answer(echo)
        for _ in range(agent.assigned.qsize()):
            await agent.done(agent.assigned.get_nowait(), b"b")
        results = {r.index: r.data for r in await client.results(call_id)}
        assert results == {0: b"stored", 1: b"b"}


def test_a_controller_does_not_start_on_a_replica(redis_alone: Instance) -> None:
    url = f"unix://{redis_socket(redis_alone.directory)}?db=0"  # one of the user's
    redis_alone.environ["REKINDLE_REDIS_URL"] = url
    with redis_alone.redis_client() as server:
        server.replicaof("127.0.0.1", "1")
        said = redis_alone.refused_controller()
        assert said.startswith("away: the Redis at ") and "read only replica" in said
        server.replicaof("NO", "ONE")
    redis_alone.start_controller()
