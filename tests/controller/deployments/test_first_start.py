"""A new version's first start: what does not start does not replace what works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import pytest

from rekindle import exception
from rekindle.wire import class_parameters
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.class_parameters import ClassParameter
from rekindle.wire.errors import from_rpc_error
from rekindle.wire.volumes import VolumeMount
from tests.controller.deployments.deployer import Deployer, by_function
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Instance, in_loop, new_id, running_instance, spec
from tests.controller.processes import process


@asynccontextmanager
async def agent_that_dies(instance: Instance) -> AsyncIterator[FakeAgent]:
    """Its connection ends, then its process: it is lost at once."""
    with process() as theirs:
        async with FakeAgent(instance, pid=theirs.pid) as agent:
            yield agent


@asynccontextmanager
async def beating(agent: FakeAgent) -> AsyncIterator[None]:
    """It sends heartbeats, as agents do."""

    async def beat() -> None:
        while True:
            await agent.send(heartbeat=pb.Heartbeat())
            await asyncio.sleep(0.02)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@in_loop
async def test_a_version_that_does_not_start_does_not_replace_one_that_works(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("a")  # nothing to replace: it is not started first
        await client.deploy("b")
        works = await client.find()
        tried = await agent.prepares.get()
        assert (tried.function_id, tried.strategy) == (works, "warm") and agent.prepares.empty()
        agent.starts = "ModuleNotFoundError: No module named 'nope'"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.deploy("c")
        error = from_rpc_error(caught.value)
        assert isinstance(error, exception.StartError)
        assert "version 3, does not start, so version 2 stays: f: ModuleNotFound" in str(error)
        with pytest.raises(grpc.aio.AioRpcError, match="version 2 stays"):
            request = pb.RollbackRequest(app="app", app_id=new_id("ap"))
            await client.call("Rollback", request)
        assert (await client.app()).version == 2 and await client.find() == works
        assert (await client.send(works)).data == works.encode()
        report = await client.call("Status", pb.StatusRequest())
        assert [one.version for one in report.apps if not one.draining] == [2]
        # What is to be replaced at any price is.
        reply = await client.deploy("c", strategy="recreate")
        assert reply.app.version == 3 and not reply.notes


@in_loop
async def test_agents_are_told_which_version_is_live_and_of_none_that_does_not_start(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        first, second, fourth = new_id("ap"), new_id("ap"), new_id("ap")
        await client.deploy("a", app_id=first)
        await client.deploy("b", app_id=second)
        agent.starts = "ZeroDivisionError: division by zero"
        with pytest.raises(grpc.aio.AioRpcError, match="version 2 stays"):
            await client.deploy("c")
        agent.starts = ""
        await client.deploy("d", app_id=fourth)
        assert [await agent.lives.get() for _ in range(3)] == [first, second, fourth]
        await client.call("StopApp", pb.StopAppRequest(app="app"))
        assert agent.lives.empty()


@in_loop
async def test_agents_are_told_of_a_function_that_its_version_is_not_live_yet(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:

        async def on_trial(function_id: str) -> bool:
            request = pb.FetchFunctionRequest(function_id=function_id)
            reply = await client.gateway.FetchFunction(request, metadata=client.metadata)
            return bool(reply.on_trial)

        await client.deploy("a")
        first, agent.starts = await client.find(), None
        deploying = asyncio.ensure_future(client.deploy("b"))
        tried = await agent.prepares.get()
        assert await on_trial(tried.function_id) and not await on_trial(first)
        await agent.send(prepared=pb.PrepareDone(request_id=tried.request_id, ok=True))
        assert (await deploying).app.version == 2
        assert not await on_trial(tried.function_id)
        _, [ephemeral] = await client.register("other", spec("g"))
        assert not await on_trial(ephemeral)


@in_loop
async def test_what_nothing_runs_of_is_started_first_all_the_same(instance: Instance) -> None:
    """Each class by its defaults, and one function of those that start alike."""
    size = ClassParameter("size", "int", "3")
    functions = (
        *(spec("f", module="m"), spec("g", module="m"), spec("h", module="other")),
        *(spec("Plain", kind="cls", module="m"), spec("Sized", kind="cls", parameters=(size,))),
        spec("Named", kind="cls", parameters=(ClassParameter("name", "str"),)),
    )
    async with Deployer(instance) as client, FakeAgent(instance) as agent, beating(agent):
        await client.deploy("a", functions=functions)
        await client.deploy("b", functions=functions)
        ids = {await client.find(one.name): one.name for one in functions}
        tried = [agent.prepares.get_nowait() for _ in range(agent.prepares.qsize())]
        assert {ids[one.function_id]: one.params for one in tried} == {
            "h": b"",
            "Plain": b"",
            "Sized": class_parameters.pack("Sized", {"size": 3}),
        }
        agent.starts = "ZeroDivisionError: division by zero"
        with pytest.raises(grpc.aio.AioRpcError, match=r"Plain: Zero.+; Sized: Zero"):
            await client.deploy("c", functions=functions)
        assert (await client.app()).version == 2


@in_loop
async def test_an_instance_that_was_called_a_moment_ago_is_started_first(
    instance: Instance,
) -> None:
    """By a call of which the controller hears with the next heartbeat alone."""
    named = spec("Named", kind="cls", parameters=(ClassParameter("name", "str"),))
    params = class_parameters.pack("Named", {"name": "x"})
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        await client.deploy("a", functions=(named,))
        of, agent.starts = await client.find("Named"), None
        deploying = asyncio.ensure_future(client.deploy("b", functions=(named,)))
        present = (await client.app()).app_id
        while {one.app_id for one in (await client.call("Status", pb.StatusRequest())).apps} == {
            present
        }:
            await asyncio.sleep(0.02)  # until it is registered, which gives no event
        direct = pb.DirectCalls(function_id=of, params=params, leases=1)
        await agent.send(heartbeat=pb.Heartbeat(stats=pb.NodeStats(direct=[direct])))
        tried = await agent.prepares.get()
        assert tried.params == params
        await agent.send(prepared=pb.PrepareDone(request_id=tried.request_id, ok=True))
        assert (await deploying).app.version == 2
        # One that has other parameters is not made of what a former one had.
        again = replace(named, parameters=(ClassParameter("label", "str"),))
        async with beating(agent):
            await client.deploy("c", functions=(again,))
        assert agent.prepares.empty()


@in_loop
async def test_a_first_start_goes_to_another_node_and_needs_none(instance: Instance) -> None:
    async with Deployer(instance) as client:
        await client.deploy("a")
        reply = await client.deploy("b")
        assert "no node is connected" in reply.notes[0] and reply.app.version == 2
        async with agent_that_dies(instance) as lost:
            lost.starts = None
            deploying = asyncio.ensure_future(client.deploy("c"))
            await lost.prepares.get()
        async with FakeAgent(instance) as other:
            assert (await deploying).app.version == 3
            assert other.prepares.qsize() == 1


@in_loop
async def test_what_has_volumes_is_started_first_once_for_each_set_of_them(
    instance: Instance,
) -> None:
    """Of a store's folder what is said to its client counts, too."""
    volume = VolumeMount(path="/v", name="shelf")
    part = replace(volume, read_only=True, sub_path="part")
    bucket = VolumeMount(path="/b", url="s3://bucket", options={"key": "a"})
    other = replace(bucket, options={"key": "b"})
    functions = (
        *(spec("f", volumes=(volume,)), spec("g", volumes=(volume,)), spec("h", volumes=(part,))),
        *(spec("i", volumes=(bucket,)), spec("j", volumes=(bucket,)), spec("k", volumes=(other,))),
        spec("Stored", kind="cls", volumes=(volume, bucket)),
    )
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        await client.deploy("a", functions=functions)
        assert (await client.deploy("b", functions=functions)).app.version == 2
        ids = {await client.find(one.name): one.name for one in functions}
        tried = [agent.prepares.get_nowait() for _ in range(agent.prepares.qsize())]
        assert sorted(ids[one.function_id] for one in tried) == ["Stored", "f", "h", "i", "k"]
        rolled = await client.call("Rollback", pb.RollbackRequest(app="app", app_id=new_id("ap")))
        assert rolled.app.version == 3


@pytest.fixture
def patient() -> Iterator[Instance]:
    """One that waits for an agent for longer than a test takes."""
    with running_instance(REKINDLE_DEPLOY_AGENT_S="60", REKINDLE_AGENT_GRACE_S="60") as made:
        yield made


@in_loop
async def test_a_first_start_waits_for_an_agent_that_was_lost_before_it(patient: Instance) -> None:
    async with Deployer(patient) as client:
        await client.deploy("a")
        async with agent_that_dies(patient):
            pass
        while (await client.call("Status", pb.StatusRequest())).agents:
            await asyncio.sleep(0.02)  # it gives no event
        deploying = asyncio.ensure_future(client.deploy("b"))
        async with FakeAgent(patient) as back:
            back.starts = "ZeroDivisionError: division by zero"
            with pytest.raises(grpc.aio.AioRpcError, match="version 1 stays: f: ZeroDiv"):
                await deploying
        assert (await client.app()).version == 1


@in_loop
async def test_a_first_start_whose_agent_is_lost_is_made_again_when_one_is_back(
    patient: Instance,
) -> None:
    async with Deployer(patient) as client:
        await client.deploy("a")
        async with agent_that_dies(patient) as lost:
            lost.starts = None
            deploying = asyncio.ensure_future(client.deploy("b"))
            await lost.prepares.get()
        async with FakeAgent(patient) as back:
            back.starts = "ZeroDivisionError: division by zero"
            with pytest.raises(grpc.aio.AioRpcError, match="version 1 stays: f: ZeroDiv"):
                await deploying
        assert (await client.app()).version == 1


@in_loop
async def test_a_first_start_that_an_agent_was_asked_for_in_vain_is_asked_for_when_it_is_back(
    patient: Instance,
) -> None:
    """Its connection broke with the question: whether that has arrived, nobody knows."""
    async with Deployer(patient) as client, FakeAgent(patient) as agent:
        await client.deploy("a")
        agent.starts = None
        agent.confirms_retiring = agent.confirms_closing = False
        deploying = asyncio.ensure_future(client.deploy("b"))
        tried = await agent.prepares.get()
        await agent.disconnect()
        await agent.connect()
        assert await agent.prepares.get() == tried
        await agent.send(prepared=pb.PrepareDone(request_id=tried.request_id, ok=True))
        # So it is with the order to lend none of the former version.
        retire = await agent.retires.get()
        await agent.disconnect()
        await agent.connect()
        while await agent.retires.get() != retire:
            pass
        await agent.send(retired=pb.AppRetired(request_id=retire.request_id))
        assert (await deploying).app.version == 2
        # And with the order to end what it has of that, which was sent again by now.
        assert [await agent.closes.get() for _ in range(2)] == [retire.app_id] * 2
        drain = agent.close_orders[retire.app_id]
        assert drain.drain
        await agent.disconnect()
        agent.confirms_closing = True
        await agent.connect()
        assert await agent.closes.get() == retire.app_id
        await client.until_ended()


@in_loop
async def test_a_first_start_that_an_ending_agent_gives_up_is_made_again(patient: Instance) -> None:
    async with Deployer(patient) as client, FakeAgent(patient) as other:
        await client.deploy("a")
        other.starts = None
        deploying = asyncio.ensure_future(client.deploy("b"))
        tried = await other.prepares.get()
        await other.send(leaves=pb.AgentLeaves(reason="it was told to end"))
        given_up = pb.PrepareDone(request_id=tried.request_id, reason="its app was closed")
        await other.send(prepared=given_up)
        async with FakeAgent(patient) as next_one:
            assert (await deploying).app.version == 2
            assert next_one.prepares.qsize() == 1


@in_loop
async def test_a_version_whose_first_start_ends_its_agent_again_and_again_is_not_live(
    patient: Instance,
) -> None:
    async with Deployer(patient) as client:
        await client.deploy("a")
        deploying = None
        for _ in range(3):
            async with agent_that_dies(patient) as lost:
                lost.starts = None
                # With none connected and none expected it would not be started first.
                deploying = deploying or asyncio.ensure_future(client.deploy("b"))
                await lost.prepares.get()
        assert deploying is not None
        with pytest.raises(grpc.aio.AioRpcError, match=r"f: the agents .* lost, 3"):
            await deploying
        assert (await client.app()).version == 1


@in_loop
async def test_an_agent_that_the_instance_starts_itself_is_waited_for() -> None:
    with running_instance(start=False, REKINDLE_DEPLOY_AGENT_S="60") as instance:
        instance.start_redis()
        instance.start_controller("--own-agent")
        async with Deployer(instance) as client:
            await client.deploy("a")
            deploying = asyncio.ensure_future(client.deploy("b"))
            async with FakeAgent(instance) as agent:
                assert (await deploying).app.version == 2
                assert agent.prepares.qsize() == 1


@in_loop
async def test_where_an_agent_that_was_lost_is_not_back_in_time_that_is_said(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client:
        await client.deploy("a")
        async with agent_that_dies(instance):
            pass
        reply = await client.deploy("b")
        assert "no node is connected" in reply.notes[0] and reply.app.version == 2
