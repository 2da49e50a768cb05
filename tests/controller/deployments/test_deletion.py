"""A stopped app is deleted: what is left of it in Redis has an end by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from rekindle import exception
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import spec_message
from rekindle.wire.phases import now_ns
from tests.controller.deployments.deployer import Deployer, by_function
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Client, Instance, in_loop, new_id, spec
from tests.controller.pools.agents import beat, recorded, set_pool, until
from tests.controller.queue.test_dead_letters import kill_five_times
from tests.controller.refusals import refused


async def deploy(client: Client, name: str, code: str) -> None:
    """A version of an app whose function has a schedule."""
    function = pb.FunctionDef(
        spec=spec_message(spec("f", code_digest=code)),
        code=code.encode(),
        schedule=pb.Schedule(cron="0 0 1 1 *", timezone="UTC"),
    )
    app = pb.RegisterAppRequest(app_id=new_id("ap"), name=name, functions=[function])
    app.source.digest, app.source.data = "0123456789abcdef" + code, b"modules"
    await client.call("Deploy", pb.DeployRequest(app=app, strategy="recreate"))


async def used(client: Deployer, agent: FakeAgent, name: str) -> str:
    """An app of two versions that has left all that there is; the id of a call of it."""
    await deploy(client, name, "a")
    await deploy(client, name, "b")
    function_id = await client.find("f", name)
    await set_pool(client, function_id, scaledown_window_s=7)
    agent.answer(None)
    given_up = await client.submit(function_id, {0: b"x"})
    await kill_five_times(agent, 0)
    await client.results(given_up)
    agent.answer(by_function)
    await client.send(function_id)
    start = pb.RunnerStart(
        seq=1, at_ns=now_ns(), function="f", function_id=function_id, strategy="cold"
    )
    start.phases_ms["import"] = 1000
    await beat(agent, starts=[start])
    log = pb.LogLine(app_id=(await client.app(name)).app_id, function="f", text="a line")
    await agent.send(log=log)
    variant = await client.variant(function_id)
    await client.send(variant)
    await recorded(client, f"{name}.f")  # stores arrivals
    return given_up


async def ends(instance: Instance, *words: str) -> bool:
    """Whether all keys that have one of these words have a time."""
    server = instance.redis_client()
    left = [key for word in words for key in stored(instance, word) if server.ttl(key) == -1]
    print("for ever:", *left)
    return not left


def stored(instance: Instance, name: str) -> list[str]:
    """Keys that say something of an app."""
    server = instance.redis_client()
    return [key for key in map(bytes.decode, server.keys("rk:*")) if name in _all_of(server, key)]


def _all_of(server: redis.Redis, key: str) -> str:
    """A key with what is in it, as text."""
    read: Any = {
        b"hash": server.hgetall,
        b"string": server.get,
        b"set": server.smembers,
        b"zset": lambda one: server.zrange(one, 0, -1),
        b"stream": server.xrange,
    }[server.type(key)]
    return key + str(read(key))


@in_loop
async def test_of_a_deleted_app_nothing_stays_for_ever(instance: Instance) -> None:
    name = "doomed-app"
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        call_id = await used(client, agent, name)
        await deploy(client, "other", "c")
        ids = [one.app_id for one in (await client.app(name)).versions]
        with pytest.raises(exception.InvalidError, match=r"version 2\).*`rekindle app stop"):
            raise await refused(client.call("DeleteApp", pb.DeleteAppRequest(app=name)))
        await client.call("StopApp", pb.StopAppRequest(app=name))
        instance.kill_controller()  # at its end it stores what it has recorded
        instance.start_controller()
        await agent.lost_connection()
        await agent.connect()
        gone = await client.call("DeleteApp", pb.DeleteAppRequest(app=name))
        assert (gone.name, gone.versions, gone.schedules, gone.dead_letters) == (name, 2, 1, 1)
        await until(lambda: ends(instance, name, *ids))
        left = {key for word in (name, *ids) for key in stored(instance, word)}
        assert not [key for key in left if key.startswith(("rk:logs", "rk:dead:", "rk:costs"))]
        assert not [key for key in left if key.startswith(("rk:arrivals", "rk:source"))]
        with pytest.raises(exception.NotFoundError, match=r"no app 'doomed-app'.*'other'"):
            raise await refused(client.call("DeleteApp", pb.DeleteAppRequest(app=name)))
        # A call's result stays for its time, and the name is free.
        [result] = await client.results(call_id)
        assert result.status == pb.RUNNER_LOST
        await deploy(client, name, "d")
        assert (await client.app(name)).version == 1
        assert not (await client.call("DeadLetters", pb.DeadLettersRequest())).letters


@in_loop
async def test_a_deletion_waits_for_what_is_done_of_the_name_and_refuses_what_came_first(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("a")
        await client.call("StopApp", pb.StopAppRequest(app="app"))
        deploying = asyncio.ensure_future(client.deploy("b"))
        deleting = asyncio.ensure_future(client.call("DeleteApp", pb.DeleteAppRequest(app="app")))
        await asyncio.wait([deploying, deleting])
        assert (await deploying).app.version in (1, 2)
        found = await client.app()
        if deleting.exception() is None:
            assert found.version == 1
        else:
            with pytest.raises(exception.InvalidError, match="can be called"):
                raise await refused(deleting)
            assert found.version == 2
        assert (await client.send(await client.find())).data


@in_loop
async def test_what_a_deleted_environment_had_goes_as_well(instance: Instance) -> None:
    name = "doomed/app"
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        await used(client, agent, name)
        await client.call("DeleteEnvironment", pb.EnvironmentRequest(name="doomed"))
        await until(lambda: ends(instance, name))
        assert not (await client.call("DeadLetters", pb.DeadLettersRequest())).letters
