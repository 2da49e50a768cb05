"""Deployments whose programs go: each is live and its program heard of it, or it is not live."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import grpc
import pytest

from rekindle import exception
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.errors import from_rpc_error
from tests.controller.deployments.deployer import Deployer
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Client, Instance, in_loop, new_id, running_instance


@pytest.fixture
def impatient() -> Iterator[Instance]:
    """One that waits for no program that has gone."""
    with running_instance(REKINDLE_DEPLOY_GRACE_S="0.05") as made:
        yield made


@pytest.fixture
def patient() -> Iterator[Instance]:
    """One that waits for longer than a test takes."""
    with running_instance(REKINDLE_DEPLOY_GRACE_S="60", REKINDLE_HOLD_GRACE_S="60") as made:
        yield made


async def begin(client: Deployer, agent: FakeAgent, app_id: str) -> asyncio.Task[pb.DeployReply]:
    """A second version that is being started."""
    await client.deploy("a")
    agent.starts = None
    task = asyncio.create_task(client.deploy("b", app_id=app_id))
    await agent.prepares.get()
    return task


async def killed_in_making(instance: Instance, client: Deployer, agent: FakeAgent) -> str:
    """The controller is killed while it starts a version, and is back; the id of its app."""
    app_id = new_id("ap")
    task = await begin(client, agent, app_id)
    instance.kill_controller()
    await asyncio.gather(task, return_exceptions=True)
    instance.start_controller()
    await agent.connect()
    return app_id


async def ended(client: Client, task: asyncio.Task[pb.DeployReply]) -> None:
    """Hang up, and wait until the controller has heard of it."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await open_apps(client)  # one connection is read in its order


async def started(agent: FakeAgent, prepare: pb.PrepareOnAgent) -> None:
    """It is."""
    await agent.send(prepared=pb.PrepareDone(request_id=prepare.request_id, ok=True))


async def open_apps(client: Client) -> set[str]:
    """Ids of all that the controller has."""
    return {one.app_id for one in (await client.call("Status", pb.StatusRequest())).apps}


@in_loop
async def test_a_version_whose_program_has_gone_is_dropped_while_it_starts(
    impatient: Instance,
) -> None:
    async with Deployer(impatient) as client, FakeAgent(impatient) as agent:
        app_id = new_id("ap")
        await ended(client, await begin(client, agent, app_id))
        assert await agent.closes.get() == app_id
        found = await client.app()
        assert (found.version, found.draining) == (1, [])
        while app_id in await open_apps(client):
            await asyncio.sleep(0.02)  # it gives no event
        agent.starts = ""
        assert (await client.deploy("b")).app.version == 2  # it is not in the way of the next


@in_loop
async def test_a_version_that_has_started_goes_live_when_its_program_is_back(
    patient: Instance,
) -> None:
    async with Deployer(patient) as client, FakeAgent(patient) as agent:
        await client.deploy("a")
        called = client.send(await client.find())
        assign = await agent.assigned.get()
        agent.starts, app_id = None, new_id("ap")
        task = asyncio.create_task(client.deploy("b", app_id=app_id))
        prepare = await agent.prepares.get()
        await ended(client, task)
        await started(agent, prepare)
        await agent.done(assign)  # what this agent sent before was acted on
        await called
        assert (await client.app()).version == 1
        again = await client.deploy("b", app_id=app_id)
        assert (again.app.version, again.app.app_id, again.unchanged) == (2, app_id, False)


@in_loop
async def test_a_program_that_gives_up_is_told_that_it_was_in_time(patient: Instance) -> None:
    async with Deployer(patient) as client, FakeAgent(patient) as agent:
        app_id = new_id("ap")
        task = await begin(client, agent, app_id)
        reply = await client.call("GiveUpDeploy", pb.GiveUpDeployRequest(app_id=app_id))
        assert not reply.live
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await task
        assert isinstance(from_rpc_error(caught.value), exception.ExecutionError)
        assert await agent.closes.get() == app_id
        with pytest.raises(grpc.aio.AioRpcError):  # it was on its way
            await client.deploy("b", app_id=app_id)
        assert (await client.app()).version == 1


@in_loop
async def test_a_program_that_gives_up_is_told_that_it_was_too_late(patient: Instance) -> None:
    async with Deployer(patient) as client:
        app_id = (await client.deploy("a")).app.app_id
        reply = await client.call("GiveUpDeploy", pb.GiveUpDeployRequest(app_id=app_id))
        assert (reply.live, reply.version) == (True, 1)
        assert (await client.app()).app_id == app_id


@in_loop
async def test_a_rollback_whose_program_has_gone_is_dropped(impatient: Instance) -> None:
    async with Deployer(impatient) as client, FakeAgent(impatient) as agent:
        await client.deploy("a")
        await client.deploy("b")
        await agent.prepares.get()
        await client.until_ended()
        while not agent.closes.empty():
            agent.closes.get_nowait()
        agent.starts, app_id = None, new_id("ap")
        request = pb.RollbackRequest(app="app", app_id=app_id)
        task: asyncio.Task[pb.DeployReply] = asyncio.create_task(_rolled_back(client, request))
        await agent.prepares.get()
        await ended(client, task)
        while await agent.closes.get() != app_id:
            pass
        assert (await client.app()).version == 2


async def _rolled_back(client: Deployer, request: pb.RollbackRequest) -> pb.DeployReply:
    reply: pb.DeployReply = await client.call("Rollback", request)
    return reply


@in_loop
async def test_what_a_killed_controller_was_making_is_made_where_its_program_asks_again(
    patient: Instance,
) -> None:
    async with Deployer(patient) as client, FakeAgent(patient) as agent:
        app_id = await killed_in_making(patient, client, agent)
        agent.starts = ""
        again = await client.deploy("b", app_id=app_id)
        assert (again.app.version, again.app.app_id) == (2, app_id)
        await client.until_ended()
        assert app_id in await open_apps(client) and await client.find()


@in_loop
async def test_what_a_killed_controller_was_making_is_dropped_where_nobody_asks_again(
    impatient: Instance,
) -> None:
    async with Deployer(impatient) as client, FakeAgent(impatient) as agent:
        app_id = await killed_in_making(impatient, client, agent)
        while await agent.closes.get() != app_id:
            pass
        assert (await client.app()).version == 1


@in_loop
async def test_what_is_being_dropped_is_no_version_of_a_program_that_asks_again(
    impatient: Instance,
) -> None:
    async with Deployer(impatient) as client, FakeAgent(impatient) as agent:
        agent.confirms_closing = False
        app_id = await killed_in_making(impatient, client, agent)
        agent.starts = ""
        assert await agent.closes.get() == app_id
        again = asyncio.create_task(client.deploy("b", app_id=app_id))
        await asyncio.sleep(0)  # now it is asked for, and what is asked for after it comes later
        await client.app()
        agent.confirms_closing = True
        await agent.closed(app_id)
        with pytest.raises(grpc.aio.AioRpcError, match="was closed"):
            await again
        assert (await client.app()).version == 1 and await client.find()
        assert (await client.deploy("b")).app.version == 2


@in_loop
async def test_what_is_started_or_waits_for_its_turn_when_its_controller_ends_is_not_live(
    patient: Instance,
) -> None:
    async with Deployer(patient) as client, FakeAgent(patient) as agent:
        slow = await begin(client, agent, new_id("ap"))
        queued = asyncio.create_task(client.deploy("c"))
        await asyncio.sleep(0)  # now it is asked for, and what is asked for after it comes later
        await client.app()
        await agent.send(leaves=pb.AgentLeaves(reason="it was told to end", ended=True))
        await agent.lost_connection()
        assert patient.end_controller() == 0
        for task in (slow, queued):
            task.cancel()
        await asyncio.gather(slow, queued, return_exceptions=True)
        patient.start_controller()
        assert (await client.app()).version == 1


@in_loop
async def test_an_app_that_is_stopped_waits_for_no_version_of_it_and_its_programs_are_told(
    patient: Instance,
) -> None:
    async with Deployer(patient) as client, FakeAgent(patient) as agent:
        app_id = new_id("ap")
        slow = await begin(client, agent, app_id)
        queued = asyncio.create_task(client.deploy("c"))
        await asyncio.sleep(0)  # now it is asked for, and what is asked for after it comes later
        await client.app()
        stopped = await client.call("StopApp", pb.StopAppRequest(app="app"))
        assert (stopped.version, stopped.stopped) == (1, True)
        for task in (slow, queued):
            with pytest.raises(grpc.aio.AioRpcError, match="'app' was stopped meanwhile") as caught:
                await task
            assert isinstance(from_rpc_error(caught.value), exception.ExecutionError)
        assert await agent.closes.get() == app_id and agent.prepares.empty()
        assert not await open_apps(client)
