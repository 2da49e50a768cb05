"""What of a call is kept when it is done, and what goes: what was taken, and what an app leaves."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from rekindle import exception
from rekindle.controller.storage import keys as names
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.blobs import new_key, open_store
from rekindle.wire.messages import as_dict
from tests.controller.fake_agent import FakeAgent, echo
from tests.controller.harness import Client, Instance, in_loop, new_id, running_instance, spec
from tests.controller.in_process import registered, running_parts
from tests.controller.queue.kept_calls import a_map, looking, take, until
from tests.controller.refusals import refused


@in_loop
async def test_a_map_goes_when_its_reader_has_all_of_it(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        agent.answer(echo)
        _, [function_id] = await client.register("app", spec())
        call_id = await a_map(client, function_id, 50)
        assert len(await client.results(call_id)) == 50
        with looking(shared) as keys:
            assert keys(call_id)
            await take(client, call_id, function_id, whole=True)
            assert not keys(call_id)
        await take(client, call_id, function_id, whole=True)  # once more does nothing
        error = await refused(client.call("GetCall", pb.GetCallRequest(call_id=call_id)))
        assert isinstance(error, exception.OutputExpiredError | exception.NotFoundError)


@in_loop
async def test_what_was_not_taken_is_there_for_a_reader_that_asks_again(
    instance: Instance,
) -> None:
    """Its stream was cut, and the controller was killed: nothing counts but what it has said."""
    async with Client(instance) as client, FakeAgent(instance) as agent:
        agent.answer(echo)
        _, [function_id] = await client.register("app", spec())
        call_id = await a_map(client, function_id, 100)
        assert len(await client.results(call_id)) == 100
        await take(client, call_id, function_id, first=[0, 40], last=[9, 49])
        instance.kill_controller()
        instance.kill_redis()
        instance.start_redis()
        instance.start_controller()
        left = {result.index for result in await client.results(call_id)}
        assert left == set(range(100)) - set(range(10)) - set(range(40, 50))
        again = {result.index for result in await client.results(call_id, have=range(20))}
        assert again == left - set(range(20))


@in_loop
async def test_a_result_that_a_caller_has_goes_and_one_that_it_has_not_stays(
    shared: Instance,
) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        agent.answer(echo)
        _, [function_id] = await client.register("app", spec())
        call_id = new_id("fc")
        for _ in range(2):  # its answer was lost on the way
            assert (await client.invoke(function_id, call_id=call_id)).status == pb.SUCCESS
        with looking(shared) as keys:
            assert keys(call_id)
            await take(client, call_id, function_id, whole=True)
            assert not keys(call_id)


@in_loop
async def test_results_that_others_may_read_are_not_taken_from_them(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        agent.answer(echo)
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {0: b"a", 1: b"b"})
        assert len(await client.results(call_id)) == 2
        await take(client, call_id, function_id, first=[0], last=[0])
        await take(client, call_id, function_id, whole=True)
        assert len(await client.results(call_id)) == 2


@in_loop
async def test_a_map_that_nobody_reads_on_goes_with_its_last_input(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await a_map(client, function_id, 3)
        assign = await agent.assigned.get()
        await take(client, call_id, function_id, whole=True)
        with looking(shared) as keys:
            assert keys(f"call:{{{function_id}}}:{call_id}")
            for given in [assign, *[await agent.assigned.get() for _ in range(2)]]:
                assert not keys(f"results:{{{function_id}}}:{call_id}")
                await agent.done(given, b"late")
            await until(lambda: not keys(call_id))


@in_loop
async def test_an_ephemeral_app_leaves_its_spawned_calls_alone(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        agent.answer(echo)
        app_id, [function_id] = await client.register("app", spec(), ephemeral=True)
        spawned = await client.submit(function_id, {0: b"kept"})
        mapped = await a_map(client, function_id, 20)
        asked = new_id("fc")
        await client.invoke(function_id, call_id=asked)
        for call_id in (spawned, mapped):
            await client.results(call_id)
        with looking(shared) as keys:
            assert all(keys(one) for one in (spawned, mapped, asked))
            await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
            assert keys(spawned)
            await until(lambda: not keys(mapped) and not keys(asked))
            # Their results, and where to find them; nothing else names the function.
            assert all(spawned in key for key in keys(function_id))
        assert [result.data for result in await client.results(spawned)] == [b"kept"]


@in_loop
async def test_a_reader_gets_all_of_what_an_app_had_done_as_it_ended(
    redis_alone: Instance,
) -> None:
    async with running_parts(redis_alone) as parts:
        function = await registered(parts)
        function.app.ephemeral = True
        inputs = [pb.Input(index=i) for i in range(1000)]
        more = {"call_id": new_id("fc"), "function_id": function.function_id, "read_once": True}
        request = pb.SubmitRequest(inputs=inputs, last=True, **more)  # type: ignore[arg-type]
        await parts.intake.submit(function, request)
        await parts.canceller.call(request.call_id, terminate=False)
        stream = parts.results.stream(pb.ResultsRequest(call_id=request.call_id))
        got = len(await anext(stream))
        assert got < 1000
        forgetting = asyncio.create_task(parts.retention.forget(function.app))
        await asyncio.wait([forgetting], timeout=0.2)
        got += sum([len(page) async for page in stream])
        assert got == 1000
        await forgetting
        with pytest.raises(exception.Error):
            await anext(parts.results.stream(pb.ResultsRequest(call_id=request.call_id)))


@in_loop
async def test_what_was_not_taken_outlives_an_app_that_is_not_its_programs_alone(
    shared: Instance,
) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        agent.answer(echo)
        app_id, [function_id] = await client.register("app", spec(), ephemeral=False)
        call_id = await a_map(client, function_id, 3)
        await client.results(call_id)
        await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
        assert len(await client.results(call_id)) == 3


@in_loop
async def test_a_close_that_was_cut_short_is_ended_by_the_next_controller(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        agent.answer(echo)
        app_id, [function_id] = await client.register("app", spec(), ephemeral=True)
        mapped = await a_map(client, function_id, 20)
        await client.results(mapped)
        with looking(instance) as keys:
            with instance.redis_client() as server:
                instance.kill_controller()
                server.hset(f"rk:app:{app_id}", "closed", 1)  # it had got as far as this
            instance.start_controller()
            await until(lambda: not keys(mapped) and not keys(function_id))


@in_loop
async def test_blobs_go_with_what_was_taken(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        agent.answer(echo)
        _, [function_id] = await client.register("app", spec())
        call_id = await a_map(client, function_id, 2)
        await client.results(call_id)
        url = (instance.directory / "blobs").as_uri()
        made = [new_key(call_id, i, b"large") for i in range(2)]
        for key in made:
            await asyncio.to_thread(open_store(url).put, key, b"large")
        folder = instance.directory / "blobs" / call_id
        await take(client, call_id, function_id, first=[0], last=[0], blobs=made[:1])
        await until(lambda: [p.name for p in folder.iterdir()] == [made[1].partition("/")[2]])
        await take(client, call_id, function_id, whole=True)
        await until(lambda: not folder.exists())


@in_loop
async def test_blobs_that_others_may_read_are_not_taken_from_them(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        agent.answer(echo)
        _, [function_id] = await client.register("app", spec())
        spawned = await client.submit(function_id, {0: b"a"})
        mapped = await a_map(client, function_id, 1)
        store = open_store((instance.directory / "blobs").as_uri())
        for call_id in (spawned, mapped):
            await client.results(call_id)
            key = new_key(call_id, 0, b"large")
            await asyncio.to_thread(store.put, key, b"large")
            await take(client, call_id, function_id, first=[0], last=[0], blobs=[key])
        await until(lambda: not list((instance.directory / "blobs").glob(f"{mapped}/*")))
        assert len(list((instance.directory / "blobs").glob(f"{spawned}/*"))) == 1


@in_loop
async def test_all_of_a_call_that_is_done_has_a_time_and_none_of_it_while_it_is_not(
    shared: Instance,
) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("app", spec())
        with shared.redis_client() as server:

            def times(call_id: str) -> set[int]:
                """In days, begun ones too; -1: for ever."""
                found = (names.call(function_id, call_id), names.results(function_id, call_id))
                return {
                    -(-server.ttl(one) // 86_400) if server.ttl(one) > 0 else -1 for one in found
                }

            call_id = await client.submit(function_id, {0: b"a"}, last=False)
            await agent.done(await agent.assigned.get())
            await agent.acks.get()
            assert times(call_id) == {7}
            await client.submit(function_id, {1: b"b"}, call_id=call_id)
            given = await agent.assigned.get()
            assert times(call_id) == {-1}
            await agent.done(given)
            await agent.acks.get()
            assert times(call_id) == {7}
            agent.answer(echo)
            asked = new_id("fc")
            await client.invoke(function_id, call_id=asked)
            assert 0 < server.ttl(names.results(function_id, asked)) <= 600


@in_loop
async def test_a_map_is_known_by_the_function_that_it_was_meant_for_before(
    shared: Instance,
) -> None:
    """Its reader knows a former version, and a newer one ran it."""
    async with Client(shared) as client, FakeAgent(shared) as agent:
        agent.answer(echo)
        _, [function_id] = await client.register("app", spec())
        _, [former_id] = await client.register("app", spec())
        call_id = await a_map(client, function_id, 5)
        await client.results(call_id)
        with looking(shared) as keys:
            await take(client, call_id, former_id, whole=True)
            assert not keys(call_id)


@in_loop
async def test_what_makes_no_sense_is_refused(shared: Instance) -> None:
    async with Client(shared) as client:
        _, [function_id] = await client.register("app", spec())
        foreign = new_key(new_id("fc"), 0, b"x")
        for what in (
            {"first": [3], "last": [2]},
            {"first": [3]},
            {"first": [0], "last": [1 << 30]},
            {"blobs": ["../../etc/passwd"]},
            {"blobs": [foreign]},
        ):
            request = take(client, new_id("fc"), function_id, **what)
            assert isinstance(await refused(request), exception.InvalidError)


@in_loop
async def test_lists_of_calls_lose_those_whose_time_is_over_though_nobody_asks() -> None:
    """A client was killed, and another left its map before it had said how long that is."""
    short = {"REKINDLE_RESULT_TTL_S": "2", "REKINDLE_INVOKE_RESULT_TTL_S": "1"}
    with running_instance(REKINDLE_REAP_S="0.1", **short) as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            _, [function_id] = await client.register("app", spec())
            undone = await a_map(client, function_id, 1)
            await client.submit(function_id, {0: b"kept"})
            await a_map(client, function_id, 1)
            await a_map(client, function_id, 1, last=False)
            asked = asyncio.ensure_future(client.invoke(function_id))
            given = [await agent.assigned.get() for _ in range(5)]
            once, kept = f"rk:once:{{{function_id}}}", "rk:kept:*"
            with instance.redis_client(decode_responses=True) as server:
                assert server.scard(once) == 4
                for assign in given:
                    if assign.call_id != undone:
                        await agent.done(assign)
                await asked
                await until(lambda: bool(server.keys(kept)))
                [listed] = server.keys(kept)
                # As one whose index was lost with a Redis that had no time to write it.
                server.zadd(listed, {new_id("fc"): time.time() + 1000})
                await until(lambda: server.smembers(once) == {undone})
                await until(lambda: not server.keys(kept))
            left = await client.call("Status", pb.StatusRequest())
            assert [one.calls for one in left.kept.not_taken] == [1]


@in_loop
async def test_what_is_gone_is_found_on_a_long_list_of_what_is_kept(redis_alone: Instance) -> None:
    async with running_parts(redis_alone) as parts:
        until, instance_id = time.time() + 1000, parts.core.state.instance_id
        there = [f"fc-there{n}" for n in range(2000)]
        gone = [f"fc-gone{n}" for n in range(20)]
        listed = [("ZADD", names.kept(instance_id), until, one) for one in (*there, *gone)]
        await parts.link.commands([("SET", names.call_index(one), "x") for one in there])
        await parts.link.commands(listed)
        for _ in range(40):
            await parts.retention.prune()
        assert await parts.link.command("ZCARD", names.kept(instance_id)) == len(there)


@in_loop
async def test_status_tells_what_is_kept_and_for_whom(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        agent.answer(echo)
        _, [function_id] = await client.register("shop", spec())

        async def kept() -> Any:
            reply = await client.call("Status", pb.StatusRequest())
            return as_dict(reply.kept)

        call_id = await client.submit(function_id, {0: b"a"})
        await client.results(call_id)
        mapped = await a_map(client, function_id, 5)
        await client.results(mapped)
        while (found := await kept())["calls"] < 2:
            await asyncio.sleep(0.05)
        [one] = found["of"]
        assert (one["app"], one["function"], one["calls"]) == ("shop", "double", 2)
        assert one["last_gone_in_s"] == pytest.approx(7 * 86_400, rel=0.01)
        assert found["not_taken"] == [{"app": "shop", "function": "double", "calls": 1}]
        await take(client, mapped, function_id, whole=True)
        found = await kept()
        assert (found["calls"], found["not_taken"]) == (1, [])
