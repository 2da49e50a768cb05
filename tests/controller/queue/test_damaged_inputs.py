"""Inputs that Redis has damaged: who waits for their results is told so, and nothing is removed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rekindle.controller.storage import keys
from rekindle.exception import InternalFailure
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.damaged import Fields, queued_anew, replaced, started_again, status, told
from tests.controller.deployments.deployer import Deployer
from tests.controller.fake_agent import FakeAgent, echo
from tests.controller.harness import Client, Instance, in_loop, new_id, spec
from tests.controller.refusals import refused

#: What becomes of an entry of the queue.
DAMAGES: dict[str, dict[bytes, bytes | None]] = {
    "call_is_missing": {b"c": None},
    "call_is_another": {b"c": b"fc-\xff"},
    "indexes_are_missing": {b"r": None},
    "indexes_are_none": {b"r": b"0_1"},
    "indexes_are_too_many": {b"r": b"0-999999999999"},
}


@in_loop
async def test_a_reader_of_results_is_told_which_can_never_come(instance: Instance) -> None:
    async with Client(instance) as client:
        _, [function_id] = await client.register("app", spec())
        calls = {}
        for damage in DAMAGES.values():
            call_id = await client.submit(function_id, {0: b"lost"}, last=False)
            await client.submit(function_id, {1: b"whole"}, call_id=call_id)
            calls[call_id] = damage
        good = await client.submit(function_id, {0: b"good"})

        def damaged(fields: Fields) -> Fields:
            if b"lost" not in fields[b"b"]:
                return fields
            given = fields | calls[fields[b"c"].decode()]
            return {name: value for name, value in given.items() if value is not None}

        with instance.redis_client() as server:
            queued_anew(server, function_id, damaged)
            started_again(instance)
            async with FakeAgent(instance) as agent:
                agent.answer(echo)
                assert [one.data for one in await client.results(good)] == [b"good"]
                for call_id in calls:
                    reader = client.reader(call_id)
                    assert (await reader.read()).data == b"whole"
                    error = await refused(reader.read())
                    assert isinstance(error, InternalFailure) and call_id in str(error)
                assert len(await told(client, "inputs")) == len(DAMAGES)
                assert server.xlen(keys.queue(function_id)) == len(DAMAGES)


async def invoked(instance: Instance, client: Client, function_id: str, call_id: str) -> None:
    """An input is queued that its caller waits for, and the controller killed."""
    with instance.redis_client() as server:
        asked = asyncio.ensure_future(client.invoke(function_id, call_id=call_id))
        while not server.exists(keys.call(function_id, call_id)):
            await asyncio.sleep(0.01)  # it gives no event
        instance.kill_controller()
        await asyncio.gather(asked, return_exceptions=True)


@in_loop
async def test_a_caller_that_comes_back_for_a_damaged_input_is_told_so(instance: Instance) -> None:
    async with Client(instance) as client:
        _, [function_id] = await client.register("app", spec())
        call_id = new_id("fc")
        await invoked(instance, client, function_id, call_id)
        with instance.redis_client() as server:
            queued_anew(server, function_id, lambda fields: {**fields, b"r": b"what"})
            instance.start_controller()
            error = await refused(client.invoke(function_id, call_id=call_id))
            assert isinstance(error, InternalFailure) and call_id in str(error)
            assert server.xlen(keys.queue(function_id)) == 1


@in_loop
async def test_a_caller_of_a_call_that_is_of_another_type_is_told_so(instance: Instance) -> None:
    async with Client(instance) as client:
        _, [function_id] = await client.register("app", spec())
        call_id = new_id("fc")
        await invoked(instance, client, function_id, call_id)
        with instance.redis_client() as server:
            replaced(server, [keys.call(function_id, call_id)])
            instance.start_controller()
            assert "WRONGTYPE" in str(await refused(client.invoke(function_id, call_id=call_id)))
            assert server.xlen(keys.queue(function_id)) == 1


@pytest.mark.parametrize("key", [keys.undone, keys.changes, keys.backlog])
@in_loop
async def test_a_result_that_a_damaged_count_keeps_from_being_stored_is_there_later(
    instance: Instance, key: Any
) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {0: b"a", 1: b"b"})
        first, second = await agent.assigned.get(), await agent.assigned.get()
        with instance.redis_client() as server:
            before = server.get(key(function_id))
            server.set(key(function_id), "7x")
            reader = client.reader(call_id)
            for one in (first, second):
                await agent.done(one, b"value")
            assert isinstance(await refused(reader.read()), InternalFailure)
            # Nothing was done by halves.
            assert server.hget(keys.call(function_id, call_id), "d") == b"0"
            assert server.xlen(keys.queue(function_id)) == 1
            assert server.get(key(function_id)) == b"7x"
            if before is None:
                server.delete(key(function_id))
            else:
                server.set(key(function_id), before)
        results = await client.results(call_id)
        assert {(one.index, one.status) for one in results} == {(0, pb.SUCCESS), (1, pb.SUCCESS)}


@in_loop
async def test_what_was_damaged_of_a_queue_is_told_of_until_its_app_is_stopped(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client:
        await client.deploy("a")
        function_id = await client.find()
        call_id = await client.submit(function_id, {0: b"x"})
        with instance.redis_client() as server:
            server.delete(keys.call(function_id, call_id))
            started_again(instance)
            while not await told(client, "inputs"):
                await asyncio.sleep(0.01)  # it gives no event
            await client.call("StopApp", pb.StopAppRequest(app="app"))
            await client.until_ended()
            assert not server.exists(keys.queue(function_id))
        assert not list((await status(client)).damaged)
