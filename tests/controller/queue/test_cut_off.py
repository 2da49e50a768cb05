"""Requests that are cut off before Redis has answered: nothing of them stays, nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from functools import partial
from typing import Any

import pytest

from rekindle.controller.state import Function
from rekindle.controller.storage import keys
from rekindle.controller.storage.embedded_redis import redis_url
from rekindle.controller.storage.queue_store import QueueStore
from rekindle.controller.storage.records import CallMeta
from rekindle.controller.storage.redis_link import RedisLink
from rekindle.controller.wiring import Parts
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.fake_agent import FakeAgent, result_of
from tests.controller.harness import Client, Instance, in_loop, new_id, spec
from tests.controller.in_process import of_one_input, registered, running_parts


async def cut_off(store: Any, method: str, work: Coroutine[Any, Any, Any], at: int = 1) -> None:
    """Cancel ``work`` while the reply to its request number ``at``, by ``method``, comes."""
    real, done, reply_is_here = getattr(store, method), asyncio.Event(), asyncio.Event()
    number = itertools.count(1)

    async def slow(*args: Any, **kwargs: Any) -> Any:
        got = await real(*args, **kwargs)
        if next(number) == at:
            done.set()
            await reply_is_here.wait()
        return got

    setattr(store, method, slow)
    task = asyncio.create_task(work)
    await done.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    reply_is_here.set()
    setattr(store, method, real)


async def until_held(function: Function) -> None:
    while not function.held:
        await asyncio.sleep(0.01)  # it gives no event


@in_loop
@pytest.mark.parametrize("in_memory", [True, False], ids=["in_memory", "stored"])
async def test_a_reader_that_goes_leaves_no_watcher(redis_alone: Instance, in_memory: bool) -> None:
    async with running_parts(redis_alone) as parts:
        function = await registered(parts)
        request = of_one_input(function)
        await parts.intake.submit(function, request)
        call = parts.core.state.calls[request.call_id]
        if not in_memory:
            await parts.canceller.call(call.call_id, terminate=False)
            assert call.call_id not in parts.core.state.calls

        async def read() -> None:
            async for _ in parts.results.stream(pb.ResultsRequest(call_id=call.call_id)):
                pass

        await cut_off(parts.results._calls, "call_meta", read(), 1 if in_memory else 2)
        assert not call.watchers
        assert (call.call_id in parts.core.state.calls) == in_memory


@in_loop
async def test_inputs_of_a_client_that_goes_are_known_once_redis_has_them(
    redis_alone: Instance,
) -> None:
    async with running_parts(redis_alone) as parts:
        function = await registered(parts)
        work = parts.intake.submit(function, of_one_input(function))
        await cut_off(parts.intake._store, "accept", work)
        await until_held(function)
        assert len(function.entries) == len(function.ready) == 1


@in_loop
async def test_a_call_whose_caller_goes_is_cancelled_though_it_is_accepted_later(
    redis_alone: Instance,
) -> None:
    async with running_parts(redis_alone, caller_grace_s=0.01) as parts:
        function = await registered(parts)
        request = of_one_input(function)
        work = parts.intake.invoke(function, request)
        await cut_off(parts.intake._store, "accept", work)
        while (raw := await _result(parts, request)) is None:
            await asyncio.sleep(0.01)  # it gives no event
        assert pb.Result.FromString(raw).status == pb.CANCELLED
        while function.held:  # the result is there before it is known to be on disk
            await asyncio.sleep(0.01)  # it gives no event
        assert not parts.core.state.waiters and not function.waiting


@in_loop
async def test_a_call_is_cancelled_whose_inputs_come_to_redis_behind_its_cancellation(
    redis_alone: Instance,
) -> None:
    async with running_parts(redis_alone) as parts:
        function = await registered(parts)
        request = of_one_input(function)
        request.last = False
        store: Any = parts.intake._store
        accept, is_sent, goes_on = store.accept, asyncio.Event(), asyncio.Event()

        async def slow(*args: Any, **kwargs: Any) -> Any:
            is_sent.set()
            await goes_on.wait()
            return await accept(*args, **kwargs)

        store.accept = slow
        task = asyncio.create_task(parts.intake.submit(function, request))
        await is_sent.wait()
        task.cancel()
        await parts.canceller.call(request.call_id, terminate=False)
        goes_on.set()
        while (raw := await _result(parts, request)) is None:
            await asyncio.sleep(0.01)  # it gives no event
        assert pb.Result.FromString(raw).status == pb.CANCELLED
        while function.held:
            await asyncio.sleep(0.01)
        assert not function.ready
        # That holds for what comes later, too.
        meta = await parts.results._calls.call_meta(function.function_id, request.call_id)
        assert meta.cancelled == 1


async def _result(parts: Parts, request: pb.SubmitRequest) -> bytes | None:
    return await parts.intake._store.result(request.function_id, request.call_id, 0)


@in_loop
async def test_what_waits_on_the_stream_and_is_sent_again_is_taken_up(
    redis_alone: Instance,
) -> None:
    """Its first reply was lost, while memory was full."""
    async with running_parts(redis_alone) as parts:
        function = await registered(parts)
        request = of_one_input(function)
        meta = CallMeta(function.app.app_id, b"", "", 0, "submit")
        got = await parts.intake._store.accept(
            *(function.function_id, request.call_id, meta, request.SerializeToString(), [0]),
            take=False,
            last=True,
            limit=9,
            ttl_s=99,
        )
        assert got.new == [0] and not got.taken
        assert await parts.intake.submit(function, request) == 0
        await until_held(function)
        assert parts.core.state.calls[request.call_id].undone


@pytest.mark.parametrize("spawned", [False, True])
@in_loop
async def test_the_first_result_wins_of_whose_storing_the_controller_has_not_heard(
    shared: Instance, spawned: bool
) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = new_id("fc")
        send: Any = partial(client.submit, payloads={0: b"x"}) if spawned else client.invoke
        call = asyncio.ensure_future(send(function_id, call_id=call_id))
        assign = await agent.assigned.get()
        # As where the connection broke behind the command: in memory the input has no result.
        with shared.redis_client() as server:
            [(entry, _)] = server.xrange(keys.queue(function_id))
        link = RedisLink(redis_url(shared.directory), 30.0)
        first = result_of(assign, b"first").SerializeToString()
        await QueueStore(link).complete(
            *(function_id, call_id, [(entry.decode(), [(0, first)])]),
            ordered=spawned,
            ttl_s=600,
            unread_ttl_s=600,
        )
        await link.close()
        await agent.done(assign, b"second")
        await agent.acks.get()
        results = await client.results(call_id) if spawned else [await call]
        assert [one.data for one in results] == [b"first"]
        if not spawned:
            assert (await client.invoke(function_id, call_id=call_id)).data == b"first"
