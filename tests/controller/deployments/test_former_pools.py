"""Settings and stats of pools by an id of a former version: they are those of the present one."""

from __future__ import annotations

from typing import Any

from rekindle.wire import rekindle_pb2 as pb
from tests.controller.deployments.deployer import Deployer, by_function
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Instance, in_loop


async def set_most(client: Deployer, most: int | None = None, **of: Any) -> pb.SetPoolReply:
    """Set ``max_containers``, or nothing; what is in force then."""
    changes = pb.PoolChanges(max_containers=most)
    request = pb.SetPoolRequest(every_instance=True, changes=changes, **of)
    reply: pb.SetPoolReply = await client.call("SetPool", request)
    return reply


async def status_id(client: Deployer, function_id: str, **more: Any) -> str:
    """Of which function a status tells that is asked by this id."""
    request = pb.StatusRequest(function_id=function_id, **more)
    (app,) = (await client.call("Status", request)).apps
    (function,) = app.functions
    return str(function.function_id)


@in_loop
async def test_settings_and_stats_by_a_former_id_are_those_of_the_present_version(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        await client.deploy("a")
        former = await client.find()
        of_former = await client.variant(former)
        running = client.send(former)
        begun = await agent.assigned.get()
        await client.deploy("b")
        present = await client.find()
        of_present = await client.variant(present)
        # While the former version still ends what it has, and when it was put away.
        assert list((await set_most(client, 5, function_id=former)).function_ids) == [present]
        assert list((await set_most(client, 6, function="app.f")).function_ids) == [present]
        assert await status_id(client, former) == present
        await agent.done(begun, b"in the end")
        await running
        await client.until_ended()
        for known, meant, most in ((former, present, 6), (of_former, of_present, 7)):
            if known == of_former:
                await set_most(client, 7, function_id=of_former)
            for function_id in (known, meant):
                now = await set_most(client, function_id=function_id)
                assert list(now.function_ids) == [meant]
                assert now.settings.max_containers == most
                assert await status_id(client, function_id) == meant


@in_loop
async def test_settings_of_a_numbered_version_are_its_own(instance: Instance) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("a")
        former = await client.find()
        await client.deploy("b")
        present = await client.find()
        await client.until_ended()
        changed = await set_most(client, 5, function_id=former, pinned=True)
        assert list(changed.function_ids) == [former]
        assert await status_id(client, former, pinned=True) == former
        assert not (await set_most(client, function_id=present)).settings.max_containers
