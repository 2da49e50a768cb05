"""Records that Redis has damaged: the controller starts, tells of each, and none hides others.

Real Redis, real controller: it is killed, what it kept is damaged, and it is started again.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rekindle import Dict
from rekindle.controller.storage import keys
from rekindle.exception import AlreadyExistsError, InternalFailure, NotFoundError
from rekindle.wire import object_keys
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.damaged import (
    DAMAGES,
    cut_off,
    damage,
    flipped,
    instance_id,
    of_another_type,
    queued_anew,
    replaced,
    started_again,
    status,
    told,
    with_unknown_field,
)
from tests.controller.deployments.deployer import Deployer, by_function
from tests.controller.fake_agent import FakeAgent, echo
from tests.controller.harness import Client, Instance, in_loop, new_id, spec
from tests.controller.refusals import refused


@in_loop
async def test_a_damaged_deployment_hides_no_other_and_what_is_asked_of_it_is_refused(
    instance: Instance,
) -> None:
    table = keys.deployments(await instance_id(instance))
    with instance.redis_client() as server:
        async with Deployer(instance) as client, FakeAgent(instance) as agent:
            agent.answer(by_function)
            for name in ("good", *DAMAGES):
                await client.deploy("code", name)
            kept = {name: damage(server, table, name, how) for name, how in DAMAGES.items()}
            handle = await client.find(app="good")
            started_again(instance)
        async with Deployer(instance) as client, FakeAgent(instance) as agent:
            agent.answer(by_function)
            assert (await client.send(await client.find(app="good"))).data == handle.encode()
            assert sorted(await told(client, "deployment")) == sorted(DAMAGES)
            assert instance.log().count("what is stored cannot be read") == len(DAMAGES)
            for name in DAMAGES:
                for request in (
                    client.find(app=name),
                    client.deploy("other", name),
                    client.call("StopApp", pb.StopAppRequest(app=name)),
                    client.call("DeleteApp", pb.DeleteAppRequest(app=name)),
                    client.call("Rollback", pb.RollbackRequest(app=name, app_id=new_id("ap"))),
                ):
                    error = await refused(request)
                    assert isinstance(error, InternalFailure), error
                    assert "cannot be read" in str(error) and "rekindle damaged rm" in str(error)
                assert server.hget(table, name) == kept[name]
            # Set aside, the name is free.
            aside = (await told(client, "deployment"))["cut_off"]
            await client.call("SetAside", pb.SetAsideRequest(id=aside.id))
            assert (await client.deploy("other", "cut_off")).app.version == 1
            kept_aside = server.hget(keys.set_aside(await instance_id(instance)), aside.id)
            assert kept_aside == kept["cut_off"]
            assert "cut_off" not in await told(client, "deployment")
            error = await refused(client.call("SetAside", pb.SetAsideRequest(id=aside.id)))
            assert isinstance(error, NotFoundError)


@in_loop
async def test_what_is_queued_of_an_app_whose_deployment_is_damaged_is_run(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client:
        await client.deploy("code")
        function_id = await client.find()
        call_id = await client.submit(function_id, {0: b"x"})
        with instance.redis_client() as server:
            damage(server, keys.deployments(await instance_id(instance)), "app", cut_off)
        started_again(instance)
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(echo)
        (result,) = await client.results(call_id)
        assert result.status == pb.SUCCESS
        # It was not taken for one that was never switched to.
        (app,) = (await status(client)).apps
        assert not app.closing and not app.on_trial


@in_loop
async def test_a_damaged_app_or_function_hides_no_other(instance: Instance) -> None:
    with instance.redis_client() as server:
        async with Client(instance) as client:
            _, [good] = await client.register("good", spec("g"))
            _, [left, lost, gone] = await client.register("mixed", spec("a"), spec("b"), spec("c"))
            nameless, [of_nameless] = await client.register("nameless", spec("n"))
            strange, [of_strange] = await client.register("strange", spec("s"))
            call_id = await client.submit(lost, {0: b"x"})
            damage(server, keys.function(lost), "spec", flipped)
            server.delete(keys.function(gone))
            server.hdel(keys.app(nameless), "name")
            server.hset(keys.app(strange), "ephemeral", "7")
            kept = server.hgetall(keys.app(strange)), server.hgetall(keys.function(lost))
            started_again(instance)
        async with Client(instance) as client, FakeAgent(instance) as agent:
            agent.answer(echo)
            assert (await client.invoke(good)).data == b"x"
            assert (await client.invoke(left)).data == b"x"
            assert set(await told(client, "app")) == {nameless, strange}
            functions = await told(client, "function")
            assert set(functions) == {f"mixed.b ({lost})", gone}
            for function_id in (lost, gone, of_nameless, of_strange):
                error = await refused(client.invoke(function_id))
                assert isinstance(error, InternalFailure) and "cannot be read" in str(error)
            assert (server.hgetall(keys.app(strange)), server.hgetall(keys.function(lost))) == kept
            assert server.xlen(keys.queue(lost)) == 1
            info = await client.call("GetCall", pb.GetCallRequest(call_id=call_id))
            assert (info.inputs, info.done) == (1, 0)
            # Its program gives the app again, and it is as it was.
            await client.register("strange", spec("s"), app_id=strange)
            assert (await client.invoke(of_strange)).data == b"x"
            assert set(await told(client, "app")) == {nameless}


@in_loop
async def test_a_damaged_kind_of_a_function_or_version_is_told_of(instance: Instance) -> None:
    table = keys.deployments(await instance_id(instance))
    with instance.redis_client() as server:
        async with Deployer(instance) as client:
            _, [function_id] = await client.register("app", spec("f"))
            damage(
                *(server, keys.function(function_id), "spec"),
                lambda raw: raw.replace(b'"kind":"function"', b'"kind":"functiom"'),
            )
            await client.deploy("code", "deployed")
            damage(server, table, "deployed", lambda raw: raw.replace(b"rolling", b"rollinh"))
            started_again(instance)
        async with Client(instance) as client:
            assert len(await told(client, "function")) == len(await told(client, "deployment")) == 1


def pool_of(reply: pb.StatusReply, function_id: str) -> pb.PoolSettings:
    """What holds for a function."""
    (found,) = (
        one for app in reply.apps for one in app.functions if one.function_id == function_id
    )
    return found.pool.settings


@in_loop
async def test_damaged_settings_of_a_pool_hide_no_others_and_are_not_added_to(
    instance: Instance,
) -> None:
    damages = {
        "cut_off": cut_off,
        "flipped": flipped,
        "of_another_type": of_another_type,
        "with_unknown_field": with_unknown_field,
        "unknown_policy": lambda _: b'{"policy": "declarec", "policy_options": {}}',
    }
    with instance.redis_client() as server:
        async with Client(instance) as client:
            _, ids = await client.register("app", spec("good"), *map(spec, damages))
            of = dict(zip(("good", *damages), ids, strict=True))

            def set_to(name: str, most: int, **more: Any) -> Any:
                changes = pb.PoolChanges(max_containers=most)
                request = pb.SetPoolRequest(function=f"app.{name}", changes=changes, **more)
                return client.call("SetPool", request)

            for name in of:
                await set_to(name, 5)
            kept = {
                name: damage(server, keys.pool(of[name]), "*", how) for name, how in damages.items()
            }
            started_again(instance)
            reply = await status(client)
            assert pool_of(reply, of["good"]).max_containers == 5
            assert set(await told(client, "pool settings")) == {f"{of[n]}/*" for n in damages}
            for name in damages:
                assert not pool_of(reply, of[name]).HasField("max_containers")
                assert isinstance(await refused(set_to(name, 6)), InternalFailure)
                assert server.hget(keys.pool(of[name]), "*") == kept[name]
            await set_to("cut_off", 7, reset=True)
            assert pool_of(await status(client), of["cut_off"]).max_containers == 7
            assert len(await told(client, "pool settings")) == len(damages) - 1


@in_loop
async def test_an_agent_whose_record_is_damaged_is_waited_for_with_its_inputs(
    instance: Instance,
) -> None:
    table = keys.agents(await instance_id(instance))
    async with (
        Client(instance) as client,
        FakeAgent(instance) as agent,
        FakeAgent(instance) as other,
    ):
        _, [function_id] = await client.register("app", spec("f"))
        call_id = await client.submit(function_id, {0: b"x"})
        first = [asyncio.create_task(one.assigned.get()) for one in (agent, other)]
        (got,), _ = await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if got is first[1]:
            agent, other = other, agent
        agent_id = agent.hello.agent_id
        with instance.redis_client() as server:
            while not server.hexists(table, agent_id):
                await asyncio.sleep(0.01)  # it gives no event
            damage(server, table, agent_id, cut_off)
        started_again(instance)
        await other.connect()
        assert set(await told(client, "agent")) == {agent_id}
        # It comes back with its input, which nobody else was given meanwhile.
        await agent.connect(in_flight=[got.result()])
        await agent.done(got.result(), b"x")
        (result,) = await client.results(call_id)
        assert result.data == b"x" and other.assigned.empty()
        while await told(client, "agent"):
            await asyncio.sleep(0.01)  # it gives no event


@in_loop
async def test_a_damaged_queue_or_counter_hides_no_other(instance: Instance) -> None:
    async with Client(instance) as client:
        names = ("good", "counter", "queue", "group", "backlog")
        _, ids = await client.register("app", *map(spec, names))
        good, counter, queue, group, backlog = ids
        await client.submit(backlog, {0: b"x"})
        with instance.redis_client() as server:
            queued_anew(server, backlog, lambda fields: fields)
            server.set(keys.backlog(backlog), "7x")
            server.set(keys.undone(counter), "7x")
            replaced(server, [keys.queue(queue)])
            server.xgroup_destroy(keys.queue(group), keys.GROUP)
            started_again(instance)
            async with FakeAgent(instance) as agent:
                agent.answer(echo)
                assert (await client.invoke(good)).data == b"x"
                while len(await told(client, "queue")) < 4:
                    await asyncio.sleep(0.01)  # it gives no event
                assert not server.xpending(keys.queue(backlog), keys.GROUP)["pending"]
                assert (await status(client)).redis.up
                for function_id in (counter, queue):
                    error = await refused(client.invoke(function_id))
                    assert "Redis refused" in str(error)
                assert server.get(keys.undone(counter)) == b"7x"
                assert server.get(keys.queue(queue)) == b"what"


@in_loop
async def test_a_damaged_call_is_told_of_and_hides_none(instance: Instance) -> None:
    async with Client(instance) as client:
        _, [function_id] = await client.register("app", spec("f"))
        calls = [await client.submit(function_id, {0: b"x"}) for _ in range(4)]
        damaged, no_kind, unplaced, good = calls
        with instance.redis_client() as server:
            server.hset(keys.call(function_id, damaged), "t", "1x")
            server.hset(keys.call(function_id, no_kind), "k", "submiu")
            server.set(keys.call_index(unplaced), b"\xff")
            started_again(instance)
            async with FakeAgent(instance) as agent:
                agent.answer(echo)
                (result,) = await client.results(good)
                assert result.data == b"x"
                found = await told(client, "inputs")
                assert set(found) == {f"app.f ({one})" for one in (damaged, no_kind)}
                for one in (damaged, no_kind, unplaced):
                    error = await refused(client.call("GetCall", pb.GetCallRequest(call_id=one)))
                    assert isinstance(error, InternalFailure), error
                # Nothing of them is thrown away.
                assert server.xlen(keys.queue(function_id)) == 2


@in_loop
async def test_a_damaged_number_of_the_protocol_and_a_closed_app_end_no_start(
    instance: Instance,
) -> None:
    own = await instance_id(instance)
    async with Client(instance) as client:
        for name in ("one", "two"):
            app_id, _ = await client.register(name)
            await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
        with instance.redis_client() as server:
            damage(server, keys.closed_apps(own), app_id, cut_off)
            server.set(keys.protocol(own), "1x")
            started_again(instance)
            assert [one async for one in client.call("Logs", pb.LogsRequest(app="one"))] == []
            error = await refused(anext(aiter(client.call("Logs", pb.LogsRequest(app="two")))))
            assert isinstance(error, NotFoundError)
            assert len(await told(client, "closed app")) == len(await told(client, "protocol")) == 1
            assert server.get(keys.protocol(own)) == b"1x"


@in_loop
async def test_a_damaged_name_in_a_list_or_a_damaged_count_hides_no_status(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_DIR", str(instance.directory))
    own = await instance_id(instance)
    one = Dict.from_name("d", create_if_missing=True)
    await one.put.aio("key", "value")
    with instance.redis_client() as server:
        server.sadd(keys.dead_index(own), b"\xff")
        server.zadd(keys.kept(own), {b"\xff": 9_999_999_999})
        server.sadd(keys.RECORDED, b"\xff")
        server.sadd(keys.apps(own), b"ap-\xff")
        server.hset(object_keys.operations("dict", one.object_id), "put", "1x")
        started_again(instance)
        async with Client(instance) as client:
            _, [function_id] = await client.register("app", spec("f"))
            reply = await status(client)
            assert reply.redis.up and not reply.redis.reason
            assert [found.count for found in reply.objects.objects] == [1]
            recorded = pb.RecordedRequest(function="app.f")
            assert (await client.call("Recorded", recorded)).running
            assert server.smembers(keys.dead_index(own)) >= {b"\xff"}
            assert function_id


@in_loop
async def test_a_damaged_environment_hides_no_other_and_is_neither_renamed_nor_removed(
    instance: Instance,
) -> None:
    table = keys.environments(await instance_id(instance))
    damages = {**DAMAGES, "with_unknown_field": with_unknown_field}
    with instance.redis_client() as server:
        async with Client(instance) as client:
            for name in ("good", *damages):
                await client.call("CreateEnvironment", pb.EnvironmentRequest(name=name))
            kept = {name: damage(server, table, name, how) for name, how in damages.items()}
            started_again(instance)

            async def listed() -> dict[str, float]:
                reply = await client.call("ListEnvironments", pb.ListEnvironmentsRequest())
                return {one.name: one.created for one in reply.environments}

            found = await listed()
            assert set(found) == {"main", "good", *damages} and found["good"] > 0
            assert set(await told(client, "environment")) == set(damages)
            for name in damages:
                one = pb.EnvironmentRequest(name=name)
                assert isinstance(
                    await refused(client.call("CreateEnvironment", one)), AlreadyExistsError
                )
                rename = pb.RenameEnvironmentRequest(name=name, new_name="new")
                for method, request in (("DeleteEnvironment", one), ("RenameEnvironment", rename)):
                    assert isinstance(await refused(client.call(method, request)), InternalFailure)
                assert server.hget(table, name) == kept[name]
            rename = pb.RenameEnvironmentRequest(name="good", new_name="better")
            await client.call("RenameEnvironment", rename)
            assert set(await listed()) == {"main", "better", *damages}


@in_loop
async def test_an_environment_is_left_whole_where_something_in_it_is_damaged(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client:
        await client.deploy("code", "there/app")
        await client.deploy("code", "there/other")
        with instance.redis_client() as server:
            damage(server, keys.deployments(await instance_id(instance)), "there/app", flipped)
        started_again(instance)
        rename = pb.RenameEnvironmentRequest(name="there", new_name="new")
        delete = pb.EnvironmentRequest(name="there")
        for method, request in (("RenameEnvironment", rename), ("DeleteEnvironment", delete)):
            assert isinstance(await refused(client.call(method, request)), InternalFailure)
        assert (await client.app("there/other")).name == "there/other"
