"""Tables of an instance that are of another type: named, with what to do; none is begun without."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import redis

from rekindle import Dict
from rekindle.controller.instance import instance_id
from rekindle.controller.storage import keys, tables
from rekindle.controller.storage.embedded_redis import redis_url
from rekindle.controller.storage.redis_link import RedisLink, RefusedError
from rekindle.exception import Error, InternalFailure
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.damaged import replaced
from tests.controller.deployments.deployer import Deployer
from tests.controller.harness import Client, Instance, in_loop
from tests.controller.refusals import refused


@in_loop
async def test_each_that_is_of_another_type_is_named_with_both(redis_alone: Instance) -> None:
    link = RedisLink(redis_url(redis_alone.directory), 5.0)
    with redis_alone.redis_client() as server:
        for key, wanted in tables._types("in-0").items():
            server.flushall()
            server.rpush(key, "what")
            named = re.escape(f"{key} is a list where a {wanted} is to be. ")
            with pytest.raises(tables.DamagedTableError, match=named):
                await tables.check(link, "in-0", 5.0)
        server.flushall()
        await tables.check(link, "in-0", 5.0)
    await link.close()


@in_loop
async def test_a_controller_does_not_start_without_one_until_that_is_what_is_wanted(
    instance: Instance,
) -> None:
    name = instance_id(instance.directory)
    async with Client(instance) as client:
        await client.register("app")
        with instance.redis_client() as server:
            kept = server.dump(keys.apps(name))
            for key in (keys.apps(name), keys.schedules(name), keys.protocol(name)):
                before = server.dump(key)
                server.delete(key)
                server.rpush(key, "what")
                instance.kill_controller()
                said = instance.refused_controller()
                assert said.startswith("refused: ") and f"{key} is a list" in said
                assert f"RENAME KEY {keys.set_aside(name)}:KEY" in said
                server.rename(key, f"{keys.set_aside(name)}:{key}")
                instance.start_controller()
                if before is not None:
                    server.restore(key, 0, before, replace=True)
            assert kept is not None
            replaced(server, [keys.once("fu-any")])  # one that is told of when it is read
            instance.kill_controller()
            instance.start_controller()


@asynccontextmanager
async def replaced_meanwhile(server: redis.Redis, key: str) -> AsyncIterator[str]:
    """In the block it is of another type; how its error is to begin."""
    before = server.dump(key)
    replaced(server, [key])
    try:
        kind = tables._types(key.rpartition(":")[2])[key]
        yield re.escape(f"{key} is a string where a {kind} is to be. Somebody else")
    finally:
        server.delete(key)
        if isinstance(before, bytes):
            server.restore(key, 0, before)


@in_loop
async def test_one_that_is_replaced_while_a_controller_runs_is_named_to_who_asks(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_DIR", str(instance.directory))
    name = instance_id(instance.directory)
    wanted = pb.SecretRef(name="kept", environment="main")
    secret = pb.PutSecretRequest(secret=wanted, values={"KEY": "value"}, new_id="st-1")
    other = pb.EnvironmentRequest(name="other")
    with instance.redis_client() as server:
        async with Deployer(instance) as client:
            asked: dict[str, Callable[[], Awaitable[object]]] = {
                keys.environments(name): lambda: client.call("CreateEnvironment", other),
                keys.SECRETS: lambda: client.call("PutSecret", secret),
                keys.apps(name): lambda: client.register("another"),
                keys.deployments(name): lambda: client.deploy("code"),
            }
            for key, ask in asked.items():
                async with replaced_meanwhile(server, key) as named:
                    await refused(ask(), InternalFailure, named)
        async with replaced_meanwhile(server, keys.objects(name)) as named:
            with pytest.raises(InternalFailure, match=named):
                await Dict.from_name("new", create_if_missing=True).len.aio()


@in_loop
async def test_an_error_of_what_is_no_table_stays_what_it_is(redis_alone: Instance) -> None:
    link = RedisLink(redis_url(redis_alone.directory), 5.0)
    with redis_alone.redis_client() as server:
        server.set(keys.protocol("in-0"), "1")
        server.set("rk:other", "what")
        with pytest.raises(RefusedError) as caught:
            await link.command("HGETALL", "rk:other")
        for error in (caught.value, Error("of another kind")):
            assert await tables.behind(link, "in-0", error) is error
        redis_alone.kill_redis()
        assert await tables.behind(link, "in-0", caught.value) is caught.value
    await link.close()
