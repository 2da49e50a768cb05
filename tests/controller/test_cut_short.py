"""A controller that is killed between two writes that belong together: all is kept, or nothing.

Real Redis, real controller. Redis refuses the second of them, so that the first one is what the
controller leaves that is killed then.
"""

from __future__ import annotations

import asyncio

import redis

from rekindle.controller.storage import keys
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.damaged import instance_id, started_again, status
from tests.controller.deployments.deployer import Deployer, by_function
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Instance, in_loop, new_id
from tests.controller.refusals import refused
from tests.redis_server import refusing


def keys_of(server: redis.Redis, *ids: str) -> set[bytes]:
    """What names one of them."""
    return {key for one in ids for key in server.scan_iter(f"rk:*{one}*")}


@in_loop
async def test_of_an_app_that_was_not_kept_whole_nothing_is_kept(instance: Instance) -> None:
    async with Deployer(instance) as client:
        app_id = new_id("ap")
        with instance.redis_client() as server:
            with refusing(server, "sadd"):
                assert "no permissions" in str(await refused(client.register(app_id=app_id)))
            assert not keys_of(server, app_id, app_id[-8:])
            _, [function_id] = await client.register(app_id=app_id)
            assert keys_of(server, app_id) and keys_of(server, function_id)


@in_loop
async def test_an_app_whose_end_was_cut_short_is_whole_until_it_ends(instance: Instance) -> None:
    own = await instance_id(instance)
    async with Deployer(instance) as client:
        app_id, [function_id] = await client.register()
        await client.deploy("code", "deployed")
        version = (await client.app("deployed")).app_id
        of_version = await client.find(app="deployed")
        close = pb.CloseAppRequest(app_id=app_id)
        with instance.redis_client() as server:
            before = keys_of(server, function_id, of_version)
            with refusing(server, "srem"):
                await refused(client.call("CloseApp", close))
                await refused(client.call("StopApp", pb.StopAppRequest(app="deployed")))
            assert keys_of(server, function_id, of_version) == before
            started_again(instance)
            assert not (await status(client)).damaged
            while server.exists(keys.apps(own)):
                await asyncio.sleep(0.01)  # it gives no event
            assert not keys_of(server, function_id)
            assert server.hget(keys.app(version), "closed") == b"0"
            assert server.hget(keys.function(of_version), "code") == b"code"


@in_loop
async def test_a_version_that_was_not_made_leaves_nothing_though_its_end_was_cut_short(
    instance: Instance,
) -> None:
    own, app_id = await instance_id(instance), new_id("ap")
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        await client.deploy("a")
        agent.starts = "it does not start"
        with instance.redis_client() as server:
            with refusing(server, "unlink"):
                await refused(client.deploy("b", app_id=app_id))
            assert server.hget(keys.app(app_id), "closed") == b"1"
            started_again(instance)
            while server.sismember(keys.apps(own), app_id):
                await asyncio.sleep(0.01)  # it gives no event
            assert not server.exists(keys.app(app_id))


@in_loop
async def test_a_deployed_app_whose_rename_was_broken_off_is_there(instance: Instance) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("former", "old/app")
        former = await client.find(app="old/app")
        await client.deploy("code", "old/app")
        await client.until_ended("old/app")
        function_id = await client.find(app="old/app")
        own = await instance_id(instance)
        rename = pb.RenameEnvironmentRequest(name="old", new_name="new")
        with instance.redis_client() as server:
            # Its record begins so: the app is renamed, and that is not.
            server.acl_setuser("default", enabled=True, reset_keys=True, keys=["rk:[^d]*"])
            error = await refused(client.call("RenameEnvironment", rename))
            assert "No permissions" in str(error)
            server.acl_setuser("default", enabled=True, keys=["*"])
            assert server.hkeys(keys.deployments(own)) == [b"old/app"]
            for one in (await client.app("old/app")).versions:
                assert server.hget(keys.app(one.app_id), "name") == b"new/app"
        started_again(instance)
        await agent.connect()
        assert await client.find(app="old/app") == function_id
        (there,) = (await status(client)).apps
        assert there.name == "old/app" and not there.on_trial
        for called in (function_id, former):
            assert (await client.send(called)).data == function_id.encode()
        await client.call("RenameEnvironment", rename)
        present = await client.find(app="new/app")
        assert (await client.send(present)).data == present.encode()
