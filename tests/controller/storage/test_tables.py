"""Tables of an instance that are of another type: named, with what to do; none is begun without."""

from __future__ import annotations

import re

import pytest

from rekindle.controller.instance import instance_id
from rekindle.controller.storage import keys, tables
from rekindle.controller.storage.embedded_redis import redis_url
from rekindle.controller.storage.redis_link import RedisLink
from tests.controller.damaged import replaced
from tests.controller.harness import Client, Instance, in_loop


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
