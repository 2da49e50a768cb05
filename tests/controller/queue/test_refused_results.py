"""Results that Redis will not take: the call ends with an error, and no caller waits for ever."""

from __future__ import annotations

import asyncio

import pytest

from rekindle.controller.storage import keys
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.blobs import new_key, open_store
from tests.controller.fake_agent import FakeAgent, done_of, result_of
from tests.controller.harness import Client, Instance, in_loop, new_id, running_instance, spec
from tests.controller.queue.kept_calls import until
from tests.redis_server import refusing

_LARGE = bytes(3 << 20)


def _take_no_large_values(instance: Instance) -> None:
    with instance.redis_client() as client:
        client.config_set("proto-max-bulk-len", 1 << 20)


def _both(one: pb.Result, other: pb.Result) -> pb.Done:
    """Two results of a call in one batch."""
    done, more = done_of(one, ""), done_of(other, "")
    done.indexes.extend(more.indexes)
    done.statuses.extend(more.statuses)
    done.results.extend(more.results)
    return done


@in_loop
async def test_a_result_that_is_larger_than_redis_takes_ends_its_input_with_an_error() -> None:
    with running_instance() as instance:
        _take_no_large_values(instance)
        async with Client(instance) as client, FakeAgent(instance, max_runners=4) as agent:
            _, [function_id] = await client.register("app", spec())
            call_id = await client.submit(function_id, {0: b"a", 1: b"b"})
            first, second = [await agent.assigned.get() for _ in range(2)]
            await agent.send(done=_both(result_of(first, _LARGE), result_of(second, b"small")))
            refused, stored = sorted(await client.results(call_id), key=lambda one: one.index)
            assert refused.status == pb.INTERNAL
            assert "Redis takes no value of 3,1" in refused.message
            assert (stored.status, stored.data) == (pb.SUCCESS, b"small")
            acknowledged = {index for _ in range(2) for index in (await agent.acks.get()).indexes}
            assert acknowledged == {0, 1}

            waiting = asyncio.ensure_future(client.invoke(function_id))
            await agent.done(await agent.assigned.get(), _LARGE)
            assert (await waiting).status == pb.INTERNAL
            status = await client.call("Status", pb.StatusRequest())
            assert status.redis.up and not status.redis.reason


@in_loop
async def test_an_input_that_is_larger_than_redis_takes_is_refused() -> None:
    with running_instance() as instance:
        _take_no_large_values(instance)
        async with Client(instance) as client:
            _, [function_id] = await client.register("app", spec())
            with pytest.raises(Exception, match="Redis takes no value of 3,1"):
                await client.submit(function_id, {0: _LARGE})


@in_loop
async def test_a_redis_that_refuses_all_results_is_told_to_who_waits_and_gets_them_later() -> None:
    with running_instance() as instance:
        async with Client(instance) as client, FakeAgent(instance, max_runners=4) as agent:
            _, [function_id] = await client.register("app", spec())
            call_id = await client.submit(function_id, {0: b"a"})
            spawned = await agent.assigned.get()
            waiting = asyncio.ensure_future(client.invoke(function_id))
            invoked = await agent.assigned.get()
            with instance.redis_client() as redis, refusing(redis, "evalsha"):
                await agent.done(spawned, b"value")
                await agent.done(invoked, b"value")
                with pytest.raises(Exception, match="Redis refused a command"):
                    await waiting
            [result] = await client.results(call_id)
            assert (result.status, result.data) == (pb.SUCCESS, b"value")


@in_loop
async def test_a_result_that_waits_for_a_repair_holds_up_none_that_came_with_it() -> None:
    with running_instance() as instance:
        async with Client(instance) as client, FakeAgent(instance, max_runners=4) as agent:
            _, [function_id] = await client.register("app", spec())
            call_id = await client.submit(function_id, {0: b"a"}, last=False)
            first = await agent.assigned.get()
            await client.submit(function_id, {1: b"b"}, call_id=call_id)
            second = await agent.assigned.get()
            call = keys.call(function_id, call_id)
            with instance.redis_client() as redis:
                damaged = [name for name in redis.hkeys(call) if name.startswith(b"u")]
                oldest = min(damaged)  # of the entry that the first input came in
                redis.hset(call, oldest, "what")
                await agent.send(done=_both(result_of(first, b"1"), result_of(second, b"2")))
                assert list((await agent.acks.get()).indexes) == [1]
                redis.hset(call, oldest, 1)
                assert list((await agent.acks.get()).indexes) == [0]
            results = {one.index: one.data for one in await client.results(call_id)}
            assert results == {0: b"1", 1: b"2"}


@in_loop
async def test_arguments_of_a_result_that_waits_for_a_repair_are_kept_meanwhile() -> None:
    """The input runs again where the controller ends before that."""
    with running_instance() as instance:
        root = instance.directory / "blobs"

        def stored(call_id: str, index: int) -> str:
            key = new_key(call_id, index, b"large")
            open_store(root.as_uri()).put(key, b"large")
            return key

        async with Client(instance) as client, FakeAgent(instance, max_runners=4) as agent:
            _, [function_id] = await client.register("app", spec())

            async def given(call_id: str, index: int, *, last: bool) -> tuple[str, pb.Assign]:
                key = await asyncio.to_thread(stored, call_id, index)
                inputs = [pb.Input(index=index, blob=key)]
                request = pb.SubmitRequest(
                    call_id=call_id, function_id=function_id, inputs=inputs, last=last
                )
                await client.call("Submit", request)
                return key, await agent.assigned.get()

            call_id, other = new_id("fc"), new_id("fc")
            waits, first = await given(call_id, 0, last=False)
            _, second = await given(call_id, 1, last=True)
            call = keys.call(function_id, call_id)
            with instance.redis_client() as redis:
                oldest = min(name for name in redis.hkeys(call) if name.startswith(b"u"))
                redis.hset(call, oldest, "what")
                await agent.send(done=_both(result_of(first, b"1"), result_of(second, b"2")))
                assert list((await agent.acks.get()).indexes) == [1]
                gone, third = await given(other, 0, last=True)
                await agent.done(third)
                await until(lambda: not (root / gone).exists())
                assert (root / waits).exists()
                redis.hset(call, oldest, 1)
            await until(lambda: not any(root.glob(f"{call_id}/*")))
