"""What is kept of former versions: it is rolled back to, and let go when there are too many."""

from __future__ import annotations

import asyncio
from typing import Any

from rekindle import exception
from rekindle.controller.deployments.records import KEPT_VERSIONS
from rekindle.controller.storage import keys
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.deployments.deployer import Deployer, by_function
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Instance, in_loop, new_id
from tests.controller.refusals import refused


def _rollback(**more: Any) -> pb.RollbackRequest:
    return pb.RollbackRequest(app="app", app_id=new_id("ap"), **more)


@in_loop
async def test_a_version_is_rolled_back_to_while_its_inputs_run_by_newer_code(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        await client.deploy("a")
        former = await client.find()
        waits = asyncio.ensure_future(client.send(former))
        begun = await agent.assigned.get()
        await client.deploy("b", strategy="recreate")
        await agent.closes.get()
        await agent.send(returned=pb.InputsReturned(call_id=begun.call_id, indexes=[0]))
        again = await agent.assigned.get()
        # That one runs newer code soon, too; the first keeps to what it was given, secrets as well.
        also = asyncio.ensure_future(client.send(await client.find()))
        newer = await agent.assigned.get()
        await client.deploy("c", strategy="recreate")
        secrets = await client.gateway.FetchSecrets(
            pb.FetchFunctionRequest(function_id=former), metadata=client.metadata
        )
        assert secrets.values == {"OF": "b"}
        await client.call("Rollback", _rollback(version=1))
        for function_id, code in ((former, b"b"), (await client.find(), b"a")):
            fetched = await client.gateway.FetchFunction(
                pb.FetchFunctionRequest(function_id=function_id), metadata=client.metadata
            )
            assert fetched.function.code == code
        for assign, call in ((again, waits), (newer, also)):
            await agent.done(assign, b"by the new")
            assert (await call).data == b"by the new"


@in_loop
async def test_versions_are_rolled_back_to_and_a_stopped_app_comes_back(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        for code in "abc":
            await client.deploy(code)
        for expected in (2, 1):  # once more goes further back
            request = pb.RollbackRequest(app="app", app_id=new_id("ap"))
            reply = await client.call("Rollback", request)
            assert reply.app.versions[0].rolled_back_to == expected
        assert reply.app.version == 5
        await refused(
            client.call("Rollback", _rollback(version=9)),
            exception.NotFoundError,
            "no version 9; the newest is 5",
        )
        function_id = await client.find()
        waits = asyncio.ensure_future(client.send(function_id))
        await waits
        await client.call("StopApp", pb.StopAppRequest(app="app"))
        await refused(client.send(function_id), exception.ExecutionError, "'app' is stopped")
        await refused(client.find(), exception.ExecutionError, "'app' is stopped")
        instance.kill_controller()
        instance.start_controller()
        await agent.lost_connection()
        await agent.connect()
        assert (await client.app()).stopped
        reply = await client.call("Rollback", _rollback())
        assert (reply.app.version, reply.app.versions[0].rolled_back_to) == (6, 5)
        assert (await client.send(function_id)).data == (await client.find()).encode()


@in_loop
async def test_the_newest_versions_are_kept(instance: Instance) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("0")
        first = await client.find()
        for number in range(1, KEPT_VERSIONS + 1):
            await client.deploy(str(number))
            await client.until_ended()
        versions = (await client.app()).versions
        assert [one.kept for one in versions] == [True] * KEPT_VERSIONS + [False]
        await refused(
            client.find(version=1), exception.InvalidError, "version 1 of 'app' is not kept"
        )
        await refused(client.send(first, pinned=True), exception.NotFoundError, "not kept any more")
        # Who knows its id alone calls the present version.
        assert (await client.send(first)).data == (await client.find()).encode()


@in_loop
async def test_a_version_that_a_killed_controller_was_to_let_go_is_let_go_by_the_next_one(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("0")
        function = keys.function(await client.find())
        for number in range(1, KEPT_VERSIONS + 1):
            await client.deploy(str(number))
            await client.until_ended()
        app = keys.app((await client.app()).versions[-1].app_id)
        with instance.redis_client() as server:
            while server.ttl(app) < 0 or server.hexists(function, "secrets"):
                await asyncio.sleep(0.02)  # it gives no event
            # As it is where the controller is killed before it has done that.
            server.persist(app)
            server.hset(function, "secrets", "sealed")
            instance.kill_controller()
            instance.start_controller()
            while server.ttl(app) < 0 or server.hexists(function, "secrets"):
                await asyncio.sleep(0.02)  # it gives no event


@in_loop
async def test_a_version_that_ends_when_it_is_not_kept_any_more_is_forgotten(
    instance: Instance,
) -> None:
    stored = instance.redis_client()
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        waits, begun, variants = [], [], []
        for number in range(2):
            await client.deploy(str(number))
            waits.append(client.send(await client.find()))
            begun.append(await agent.assigned.get())
            variants.append(await client.variant(begun[-1].function_id))
        for number in range(2, KEPT_VERSIONS + 2):
            await client.deploy(str(number))
        assert [one.kept for one in (await client.app()).versions][-2:] == [False, False]

        async def ended(number: int) -> None:
            await agent.done(begun[number], b"in the end")
            assert (await waits[number]).data == b"in the end"
            while stored.ttl(keys.app(begun[number].app_id)) < 0:  # the last of it
                await asyncio.sleep(0.02)  # it gives no event
            for function_id in (begun[number].function_id, variants[number]):
                key = keys.function(function_id)
                assert not stored.hexists(key, "code") and not stored.hexists(key, "secrets")
                assert stored.hexists(key, "app") and stored.ttl(key) > 0  # whose it was

        await ended(0)
        instance.kill_controller()
        instance.start_controller()
        await agent.lost_connection()
        await agent.connect([begun[1]])
        call_id = begun[1].call_id
        waits[1] = client.send(begun[1].function_id, call_id=call_id)
        await ended(1)
