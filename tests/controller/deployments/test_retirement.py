"""A former version ends what it has, or newer code does, whoever is away or killed meanwhile."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from rekindle import exception
from rekindle.controller.instance import instance_id
from rekindle.controller.storage import keys
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.deployments.deployer import Deployer
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Instance, in_loop, new_id
from tests.controller.refusals import refused


@in_loop
async def test_a_former_version_ends_what_it_has(instance: Instance) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        await client.deploy("a")
        former = await client.find()
        waits = client.send(former, call_id=(call_id := new_id("fc")))
        begun = await agent.assigned.get()
        await client.deploy("b")
        assert (await client.app()).draining == [begun.app_id]
        again = client.send(former, call_id=call_id)  # its connection broke: no second run
        instance.kill_controller()
        instance.start_controller()
        await agent.lost_connection()
        await agent.connect([begun])
        third = client.send(former, call_id=call_id)
        await agent.done(begun, b"done by the former")
        assert (await third).data == b"done by the former"
        for ended in await asyncio.gather(waits, again, return_exceptions=True):
            if not isinstance(ended, grpc.aio.AioRpcError):  # its connection broke
                assert ended.data == b"done by the former"
        found = await client.until_ended()
        assert found.version == 2
        assert await agent.all_assigned() == []


@in_loop
async def test_a_former_version_ends_though_redis_refused_to_say_what_it_has(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance):
        await client.deploy("a")
        count = keys.undone(await client.find())
        with instance.redis_client() as server:
            server.rpush(count, "no number")
            await client.deploy("b")
            await instance.until_logged("a version does not end yet")
            server.delete(count)
        await client.until_ended()


@in_loop
async def test_a_version_or_an_app_is_closed_though_redis_refused_a_command_of_it(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance):
        await client.deploy("a")
        app_id, _ = await client.register("other")
        close = pb.CloseAppRequest(app_id=app_id)
        names = keys.closed_apps(instance_id(instance.directory))
        with instance.redis_client() as server:
            server.rpush(names, "no hash")
            await client.deploy("b")
            await instance.until_logged("a version does not end yet")
            await refused(
                client.call("CloseApp", close), exception.InternalFailure, "is a list where"
            )
            server.delete(names)
        await client.until_ended()
        await client.call("CloseApp", close)
        report = await client.call("Status", pb.StatusRequest())
        assert [one.version for one in report.apps] == [2]


@in_loop
@pytest.mark.parametrize("strategy", ["rolling", "recreate"])
async def test_a_version_is_deployed_once_no_agent_lends_the_former(
    shared: Instance, strategy: str
) -> None:
    name = f"retires-{strategy}"
    async with Deployer(shared) as client, FakeAgent(shared) as agent:
        agent.confirms_retiring = False
        former = (await client.deploy("a", name)).app.app_id
        made = asyncio.ensure_future(client.deploy("b", name, strategy=strategy))
        retire = await agent.retires.get()
        assert retire.app_id == former
        assert (await client.app(name)).version == 2 and not made.done()
        await agent.send(retired=pb.AppRetired(request_id=retire.request_id))
        assert (await made).app.version == 2


@in_loop
async def test_a_version_is_deployed_though_an_agent_is_lost_meanwhile(shared: Instance) -> None:
    async with Deployer(shared) as client, FakeAgent(shared) as agent:
        agent.confirms_retiring = False
        await client.deploy("a", "lost")
        made = asyncio.ensure_future(client.deploy("b", "lost"))
        await agent.retires.get()
        await agent.disconnect()
        assert (await made).app.version == 2


@in_loop
async def test_an_agent_that_was_away_at_a_switch_hears_of_it_when_it_is_back(
    shared: Instance,
) -> None:
    async with Deployer(shared) as client, FakeAgent(shared) as agent:
        former = (await client.deploy("a", "away")).app.app_id
        calls = asyncio.ensure_future(client.send(await client.find(app="away")))
        begun = await agent.assigned.get()
        await agent.disconnect()
        present = (await client.deploy("b", "away", strategy="recreate")).app.app_id
        await agent.connect([begun])
        while (await agent.retires.get()).app_id != former:
            pass
        while await agent.lives.get() != present:
            pass
        await agent.done(begun)
        await calls


@in_loop
async def test_recreate_has_the_new_code_run_what_was_running(instance: Instance) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        await client.deploy("a")
        former = await client.find()
        waits = asyncio.ensure_future(client.send(former))
        begun = await agent.assigned.get()
        await client.deploy("b", strategy="recreate")
        await agent.closes.get()
        await agent.send(returned=pb.InputsReturned(call_id=begun.call_id, indexes=[0]))
        again = await agent.assigned.get()
        assert again.function_id == former
        fetched = await client.gateway.FetchFunction(
            pb.FetchFunctionRequest(function_id=former), metadata=client.metadata
        )
        assert (fetched.function.code, fetched.retired) == (b"b", True)
        await agent.done(again, b"by the new")
        assert (await waits).data == b"by the new"
        await client.until_ended()
        # The former version still is what it was.
        await client.call("Rollback", pb.RollbackRequest(app="app", app_id=new_id("ap")))
        fetched = await client.gateway.FetchFunction(
            pb.FetchFunctionRequest(function_id=await client.find()), metadata=client.metadata
        )
        assert fetched.function.code == b"a"


@in_loop
async def test_a_controller_that_is_killed_goes_on_to_have_new_code_run_what_was_running(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.confirms_closing = False
        former_id = (await client.deploy("a")).app.app_id
        former = await client.find()
        call_id = await client.submit(former, {0: b"x"})
        begun = await agent.assigned.get()
        await client.deploy("b", strategy="recreate")
        assert await agent.closes.get() == former_id  # and before it has done so
        instance.kill_controller()
        instance.start_controller()
        await agent.lost_connection()
        agent.confirms_closing = True
        await agent.connect([begun])
        assert await agent.closes.get() == former_id
        await agent.send(returned=pb.InputsReturned(call_id=begun.call_id, indexes=[0]))
        again = await agent.assigned.get()
        fetched = await client.gateway.FetchFunction(
            pb.FetchFunctionRequest(function_id=again.function_id), metadata=client.metadata
        )
        assert fetched.function.code == b"b"
        with instance.redis_client() as server:
            while not server.hexists(keys.app(former_id), "recreated"):
                await asyncio.sleep(0.02)  # it gives no event
        assert agent.recreates == [former_id] * 2
        # What runs by the new code is not stopped by the next restart.
        instance.kill_controller()
        instance.start_controller()
        await agent.lost_connection()
        await agent.connect([again])
        await agent.done(again, b"by the new")
        assert (await client.results(call_id))[0].data == b"by the new"
        await client.until_ended()
        # Nor is what is called by the number of its version.
        pinned = asyncio.ensure_future(client.send(former, pinned=True))
        begun = await agent.assigned.get()
        instance.kill_controller()
        instance.start_controller()
        await agent.lost_connection()
        await asyncio.gather(pinned, return_exceptions=True)  # its connection broke
        await agent.connect([begun])
        await agent.done(begun, b"by its own")
        await client.until_ended()
        assert agent.recreates == [former_id] * 2


@in_loop
async def test_recreate_stops_what_runs_on_an_agent_that_was_away(instance: Instance) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        former = (await client.deploy("a")).app.app_id
        call_id = await client.submit(await client.find(), {0: b"x"})
        begun = await agent.assigned.get()
        await agent.disconnect()
        await instance.until_logged("agent's connection ended")
        await client.deploy("b", strategy="recreate")
        await agent.connect([begun])
        assert await agent.closes.get() == former and agent.recreates == [former]
        await agent.send(returned=pb.InputsReturned(call_id=call_id, indexes=[0]))
        again = await agent.assigned.get()
        await agent.done(again, b"by the new")
        assert (await client.results(call_id))[0].data == b"by the new"
        await client.until_ended()
