"""Keys in Redis of another type than they had: no pass over many fails for one of them.

Real Redis, real controller, as in test_damage.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rekindle import Dict, Queue
from rekindle.controller.state import Function
from rekindle.controller.storage import keys
from rekindle.controller.storage.records import Completion
from rekindle.controller.storage.redis_link import RefusedError
from rekindle.controller.wiring import Parts
from rekindle.exception import InternalFailure
from rekindle.wire import object_keys
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.damaged import replaced, started_again, status, told
from tests.controller.fake_agent import FakeAgent, echo, result_of
from tests.controller.harness import Client, Instance, in_loop, new_id, running_instance, spec
from tests.controller.in_process import of_one_input, registered, running_parts
from tests.controller.refusals import refused


async def completed(
    parts: Parts, function: Function, call_id: str, entry: str, **more: Any
) -> Completion:
    """Store the result of a call's one input."""
    return await parts.loader._store.complete(
        *(function.function_id, call_id, [(entry, [(0, b"result")])]),
        ordered=True,
        ttl_s=60,
        unread_ttl_s=60,
        **more,
    )


def whole(function: Function, call_id: str) -> pb.TakenRequest:
    """What the only reader of a call says that asks for nothing more of it."""
    one = pb.TakenCall(call_id=call_id, function_id=function.function_id, whole=True)
    return pb.TakenRequest(calls=[one])


@in_loop
async def test_damaged_letters_of_a_function_hide_no_others_nor_the_status(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance, max_runners=8) as agent:
        _, [good, bad] = await client.register("app", spec("good"), spec("bad"))
        agent.answer(lambda assign: result_of(assign, b"", pb.INTERNAL))
        for function_id in (good, bad):
            await client.results(await client.submit(function_id, {0: b"x"}))
        with instance.redis_client() as server:
            replaced(server, [keys.dead(bad)])
            reply = await status(client)
            assert reply.redis.up and not reply.redis.reason
            dead = {one.name: one.dead for app in reply.apps for one in app.functions}
            assert dead == {"good": 1, "bad": 0}
            found = await told(client, "dead letters")
            assert set(found) == {bad}
            listed = await client.call("DeadLetters", pb.DeadLettersRequest())
            assert [one.function_id for one in listed.letters] == [good]
            for request in (
                client.call("DeadLetters", pb.DeadLettersRequest(function_id=bad)),
                client.call("Replay", pb.DeadLetterSelection(function_id=bad)),
                client.call("Drop", pb.DeadLetterSelection(ids=[f"{bad}/1-1"])),
            ):
                assert isinstance(await refused(request), InternalFailure)
            # One more that is given up: its result says so, as there is no place for its letter.
            [result] = await client.results(await client.submit(bad, {0: b"x"}))
            assert "could not be stored" in result.message
            assert server.get(keys.dead(bad)) == b"what"
            agent.answer(echo)
            replayed = await client.call("Replay", pb.DeadLetterSelection(all=True))
            assert replayed.count == 1
            await client.call("SetAside", pb.SetAsideRequest(id=found[bad].id))
            assert not await told(client, "dead letters")


@in_loop
async def test_damaged_lists_of_calls_end_no_pass_over_those_of_other_functions(
    redis_alone: Instance,
) -> None:
    async with running_parts(redis_alone) as parts:
        bad, good = await registered(parts), await registered(parts)
        with redis_alone.redis_client() as server:
            replaced(server, [keys.once(bad.function_id)])
            server.sadd(keys.once(good.function_id), "fc-gone")
            await parts.retention.prune()
            assert not server.exists(keys.once(good.function_id))
            replaced(server, [keys.kept(parts.config.instance_id)])
            await parts.retention.prune()
            store, index = parts.call_times._calls, keys.call_index("fc-a")
            await store.index_call("fc-a", good.index)
            await store.expire_indexes(["fc-a"], 60)
            assert 0 < server.ttl(index) <= 60
            await store.drop_indexes(["fc-a"])
            assert not server.exists(index)
            reply = await parts.status.make()
            assert reply.redis.up and not reply.redis.reason
            names = {one.name for one in reply.damaged}
            assert names == {bad.function_id, "those that are done and kept"}
            # Its app ends all the same.
            await parts.apps.close(bad.app.app_id)
            assert {one.name for one in parts.damage.messages()} == names - {bad.function_id}


@in_loop
async def test_damaged_results_are_not_taken_for_their_call(redis_alone: Instance) -> None:
    async with running_parts(redis_alone) as parts:
        function = await registered(parts)
        request = of_one_input(function, read_once=True)
        await parts.intake.submit(function, request)
        results = keys.results(function.function_id, request.call_id)
        some = whole(function, request.call_id)
        some.calls[0].whole = False
        some.calls[0].first.append(0)
        some.calls[0].last.append(0)
        with redis_alone.redis_client() as server:
            replaced(server, [results])
            await parts.retention.taken(some)
            assert not list(parts.damage.messages())
            assert server.get(results) == b"what"
            await parts.retention.taken(whole(function, request.call_id))
            assert not server.exists(results)


@in_loop
async def test_a_damaged_list_of_calls_keeps_none_of_them_and_blames_none(
    redis_alone: Instance,
) -> None:
    async with running_parts(redis_alone) as parts:
        function = await registered(parts)
        left, read = new_id("fc"), new_id("fc")
        for call_id in (left, read):
            one = of_one_input(function, read_once=True)
            one.call_id = call_id
            await parts.intake.submit(function, one)
        entries = {one.call.call_id: name for name, one in function.entries.items()}
        await parts.retention.taken(whole(function, left))  # its reader is gone before the result
        with redis_alone.redis_client() as server:
            replaced(server, [keys.once(function.function_id)])
            for call_id, over in ((left, True), (read, False)):
                got = await completed(parts, function, call_id, entries[call_id])
                assert got.over == over
            await parts.retention.taken(whole(function, read))
            await parts.retention.taken(whole(function, new_id("fc")))
            for call_id in (left, read):
                assert not server.exists(keys.call(function.function_id, call_id))
            assert not list(parts.damage.messages())
            await parts.retention.prune()
            assert {one.name for one in parts.damage.messages()} == {function.function_id}


@in_loop
async def test_a_result_is_not_stored_by_halves_where_the_queue_is_damaged(
    redis_alone: Instance,
) -> None:
    async with running_parts(redis_alone) as parts:
        function = await registered(parts)
        request = of_one_input(function)
        await parts.intake.submit(function, request)
        (entry,) = function.entries
        queue = keys.queue(function.function_id)
        call = keys.call(function.function_id, request.call_id)
        letters = {0: (b"letter", b"request")}
        with redis_alone.redis_client() as server:
            server.rename(queue, "aside")
            server.set(queue, "what")
            before = server.hgetall(call)
            with pytest.raises(RefusedError, match="WRONGTYPE"):
                await completed(
                    parts, function, request.call_id, entry, letters=letters, most_letters=9
                )
            assert server.hgetall(call) == before
            assert not server.exists(keys.dead(function.function_id))
            server.rename("aside", queue)
            await completed(
                parts, function, request.call_id, entry, letters=letters, most_letters=9
            )
            assert server.xlen(keys.dead(function.function_id)) == 1
            assert not server.xlen(queue)


@in_loop
async def test_a_damaged_call_is_in_the_way_of_no_other_of_its_function() -> None:
    with running_instance(REKINDLE_HELD_INPUTS="1") as instance:
        async with Client(instance) as client:
            app_id, [function_id] = await client.register("app", spec(), ephemeral=True)
            hold = client.call("HoldApp", pb.HoldAppRequest(app_id=app_id))
            await hold.read()
            bad, *good = [await client.submit(function_id, {0: b"x"}) for _ in range(4)]
            with instance.redis_client() as server:
                replaced(server, [keys.call(function_id, bad)])
                started_again(instance)
                hold = client.call("HoldApp", pb.HoldAppRequest(app_id=app_id))
                await hold.read()
                async with FakeAgent(instance) as agent:
                    agent.answer(echo)
                    for one in good:
                        assert [result.data for result in await client.results(one)] == [b"x"]
                    assert set(await told(client, "inputs")) == {f"app.double ({bad})"}
                    assert server.get(keys.call(function_id, bad)) == b"what"
                    # Their time counts, though nobody can say so of the damaged one.
                    for one in good:
                        while server.ttl(keys.call_index(one)) < 0:
                            await asyncio.sleep(0.01)  # it gives no event


@in_loop
async def test_a_damaged_record_of_settings_ends_no_start(instance: Instance) -> None:
    async with Client(instance) as client:
        _, [function_id] = await client.register("app", spec())
        with instance.redis_client() as server:
            replaced(server, [keys.pool(function_id)])
            started_again(instance)
            async with FakeAgent(instance) as agent:
                agent.answer(echo)
                assert (await client.invoke(function_id)).data == b"x"
            found = (await told(client, "pool settings"))[function_id]
            changes = pb.PoolChanges(max_containers=3)
            request = pb.SetPoolRequest(function="app.double", changes=changes)
            assert isinstance(await refused(client.call("SetPool", request)), InternalFailure)
            await client.call("SetAside", pb.SetAsideRequest(id=found.id))
            await client.call("SetPool", request)
            assert not await told(client, "pool settings")


@in_loop
async def test_a_damaged_dict_or_queue_hides_no_other_in_the_status(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_DIR", str(instance.directory))
    good = Dict.from_name("good", create_if_missing=True)
    await good.put.aio("key", "value")
    bad = Dict.from_name("bad", create_if_missing=True)
    queue = Queue.from_name("queue", create_if_missing=True)
    for one in (bad, queue):
        await one.len.aio()
    with instance.redis_client() as server:
        replaced(server, [object_keys.dict_entries(bad.object_id)])
        server.zadd(object_keys.queue_partitions(queue.object_id), {"": 9e15})
        replaced(server, [object_keys.queue_items(queue.object_id)])
    async with Client(instance) as client:
        found = {one.name: one.count for one in (await status(client)).objects.objects}
        assert found == {"good": 1, "bad": 0, "queue": 0}
        assert set(await told(client, "content")) == {
            f"bad ({bad.object_id})",
            f"queue ({queue.object_id})",
        }
        await Dict.objects.delete.aio("bad")
        assert set(await told(client, "content")) == {f"queue ({queue.object_id})"}


@in_loop
async def test_runners_of_an_app_that_cannot_be_read_are_not_stopped(instance: Instance) -> None:
    async with Client(instance) as client:
        app_id, _ = await client.register("app", spec())
        with instance.redis_client() as server:
            server.hdel(keys.app(app_id), "name")
        started_again(instance)
        async with FakeAgent(instance) as agent:

            async def has_runners_of(*app_ids: str) -> None:
                runners = [pb.RunnerStats(id=f"ru-{one}", app_id=one) for one in app_ids]
                await agent.send(heartbeat=pb.Heartbeat(stats=pb.NodeStats(runners=runners)))

            await has_runners_of(app_id)
            await has_runners_of("ap-gone")
            assert await agent.closes.get() == "ap-gone"
            # Set aside, it is known that there is none any more.
            found = (await told(client, "app"))[app_id]
            await client.call("SetAside", pb.SetAsideRequest(id=found.id))
            await has_runners_of(app_id)
            assert await agent.closes.get() == app_id
