"""Where a call belongs is known as long as it has undone inputs, and for its time after that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from rekindle import exception
from rekindle.controller.core import Core
from rekindle.controller.instance import instance_id
from rekindle.controller.queue.call_times import CallTimes
from rekindle.controller.settings import Settings
from rekindle.controller.state import State
from rekindle.controller.storage import keys
from rekindle.controller.storage.call_store import CallStore
from rekindle.controller.storage.damage import Damage
from rekindle.controller.storage.embedded_redis import redis_url
from rekindle.controller.storage.queue_store import QueueStore
from rekindle.controller.storage.records import CallIndex, CallMeta
from rekindle.controller.wiring import Parts
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.fake_agent import FakeAgent, echo
from tests.controller.harness import Client, Instance, in_loop, new_id, running_instance, spec
from tests.controller.in_process import of_one_input, registered, running_parts
from tests.controller.refusals import refused
from tests.controller.storage.interrupting import Interrupting
from tests.redis_server import refusing

DAY_S = 86_400


class Times:
    """How long it is known yet where calls belong."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def of(self, call_id: str) -> int:
        """Seconds; -1: for ever."""
        return int(self._client.ttl(keys.call_index(call_id)))

    async def count(self, call_id: str) -> int:
        """Return when its time counts: the seconds."""
        while (left := self.of(call_id)) == -1:
            await asyncio.sleep(0.02)
        return left


@contextmanager
def times_of(instance: Instance) -> Iterator[Times]:
    with instance.redis_client() as client:
        yield Times(client)


async def nothing_more(client: Client, function_id: str, call_id: str) -> None:
    await client.submit(function_id, {}, call_id=call_id, last=True)


async def the_same_again(client: Client, function_id: str, call_id: str) -> None:
    await client.submit(function_id, {0: b"a"}, call_id=call_id, last=False)


@pytest.mark.parametrize("request_again", [nothing_more, the_same_again])
@in_loop
async def test_the_time_of_a_call_that_is_done_counts_after_a_later_request(
    shared: Instance, request_again: Callable[[Client, str, str], Awaitable[None]]
) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        agent.answer(echo)
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {0: b"a"}, last=False)
        with times_of(shared) as times:
            await times.count(call_id)
            await request_again(client, function_id, call_id)
            assert await times.count(call_id) > 6 * DAY_S
        info = await client.call("GetCall", pb.GetCallRequest(call_id=call_id))
        assert (info.inputs, info.done) == (1, 1)


@in_loop
async def test_the_time_of_a_call_without_inputs_counts(shared: Instance) -> None:
    async with Client(shared) as client:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {})
        with times_of(shared) as times:
            assert await times.count(call_id) > 6 * DAY_S


@in_loop
async def test_a_call_that_was_refused_is_forgotten_soon() -> None:
    with running_instance(REKINDLE_MAX_PENDING="1") as instance:
        async with Client(instance) as client:
            _, [function_id] = await client.register("app", spec())
            call_id = new_id("fc")
            error = await refused(client.submit(function_id, {0: b"", 1: b""}, call_id=call_id))
            assert isinstance(error, exception.ResourceExhaustedError)
            with times_of(instance) as times:
                assert await times.count(call_id) <= 600
            status = await client.call("Status", pb.StatusRequest())
            assert status.kept.calls == 0


@in_loop
async def test_the_time_of_a_call_that_waits_on_the_stream_does_not_count() -> None:
    """Its requests end, and those of others, whose time counts."""
    with running_instance(REKINDLE_HELD_INPUTS="1") as instance:
        async with Client(instance) as client, FakeAgent(instance, max_runners=1) as agent:
            _, [function_id] = await client.register("app", spec())
            await client.submit(function_id, {0: b"held"})
            await agent.assigned.get()
            waiting = await client.submit(function_id, {0: b"waits"})
            await client.submit(function_id, {0: b"waits"}, call_id=waiting)
            empty = await client.submit(function_id, {})
            with times_of(instance) as times:
                await times.count(empty)  # together with what there is to count
                assert times.of(waiting) == -1


@in_loop
async def test_a_killed_controllers_successor_counts_the_time_of_what_was_done(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        _, [function_id] = await client.register("app", spec())
        app_id, [gone_id] = await client.register("other", spec("other"))
        done = [await client.submit(one, {0: b""}) for one in (function_id, gone_id)]
        for assign in [await agent.assigned.get() for _ in done]:
            await agent.done(assign)
            await agent.acks.get()
        instance.kill_controller()
        with times_of(instance) as times:
            with instance.redis_client() as server:
                for one in done:  # whether it was killed in time or not
                    server.persist(keys.call_index(one))
                assert server.srem(keys.apps(instance_id(instance.directory)), app_id) == 1
            instance.start_controller()
            undone = await client.submit(function_id, {0: b""})
            for one in done:
                assert await times.count(one) > 6 * DAY_S
            assert times.of(undone) == -1


@in_loop
async def test_a_controller_that_ends_counts_the_time_of_what_was_done(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {0: b""})
        await agent.done(await agent.assigned.get())
        await agent.acks.get()
    assert instance.end_controller() == 0  # at once: nobody is connected
    with times_of(instance) as times:
        assert times.of(call_id) > 6 * DAY_S


@in_loop
async def test_a_controller_ends_cleanly_though_redis_refuses_to_count_a_time(
    instance: Instance,
) -> None:
    with instance.redis_client() as server:
        server.acl_setuser("default", enabled=True, commands=["-zadd"])
        async with Client(instance) as client, FakeAgent(instance) as agent:
            _, [function_id] = await client.register("app", spec())
            await client.submit(function_id, {0: b""})
            await agent.done(await agent.assigned.get())
            await agent.acks.get()
    assert instance.end_controller() == 0
    assert "not all was stored" in instance.log() and "event=ended" in instance.log()


@in_loop
async def test_the_time_of_a_call_that_nobody_reads_counts_though_the_last_reply_was_lost(
    redis_alone: Instance,
) -> None:
    """Redis has forgotten the call with its last result; the same sent again finds nothing."""
    async with running_parts(redis_alone) as parts:
        request = await cancellable(parts, read_once=True)
        left = pb.TakenCall(call_id=request.call_id, function_id=request.function_id, whole=True)
        await parts.retention.taken(pb.TakenRequest(calls=[left]))
        store: Any = parts.intake._store
        complete = store.complete

        async def with_its_reply_lost(*args: Any, **kwargs: Any) -> Any:
            assert (await complete(*args, **kwargs)).over
            return await complete(*args, **kwargs)

        store.complete = with_its_reply_lost
        await parts.canceller.call(request.call_id, terminate=False)
        with times_of(redis_alone) as times:
            assert await times.count(request.call_id) <= 600


@in_loop
async def test_the_time_that_redis_refused_to_count_is_counted_later(redis_alone: Instance) -> None:
    async with running_parts(redis_alone) as parts:
        request = await cancellable(parts)
        with redis_alone.redis_client() as server:
            await parts.canceller.call(request.call_id, terminate=False)
            with refusing(server, "zadd"):
                for _ in range(2):
                    with pytest.raises(exception.ServiceError, match="no permissions"):
                        await parts.call_times.count()
        await parts.call_times.count()
        with times_of(redis_alone) as times:
            assert times.of(request.call_id) > 6 * DAY_S


async def cancellable(parts: Parts, **more: Any) -> pb.SubmitRequest:
    """A call whose one input waits."""
    function = await registered(parts)
    request = of_one_input(function, **more)
    await parts.intake.submit(function, request)
    return request


@pytest.mark.parametrize("then", ["HMGET", "ZADD", "EXPIRE"])
@in_loop
async def test_a_call_that_gets_inputs_as_its_time_begins_is_known_for_as_long_as_they_take(
    redis_alone: Instance, then: str
) -> None:
    link = Interrupting(redis_url(redis_alone.directory))
    store, calls = QueueStore(link), CallStore(link, "a", Damage(link, "a"))
    times = CallTimes(core := Core(State("a"), Settings()), calls)
    function_id, call_id = new_id("fu"), new_id("fc")
    at = CallIndex(function_id, "app", "work")

    async def submit(*indexes: int) -> None:
        with times.request(function_id, call_id):
            await calls.index_call(call_id, at)
            await store.accept(
                *(function_id, call_id, CallMeta("ap-1", b"", "", 1, "submit"), b"", indexes),
                take=False,
                last=False,
                limit=100,
                ttl_s=60,
            )

    try:
        await link.command("XGROUP", "CREATE", keys.queue(function_id), "rk", "0", "MKSTREAM")
        await submit()
        link.after[then] = lambda: submit(0)
        await times.count()
        assert not link.after
        await times.count()
        with times_of(redis_alone) as left:
            assert left.of(call_id) == -1
        assert await calls.kept(10) == (0, [])
    finally:
        await core.tasks.cancel()
        await link.close()
