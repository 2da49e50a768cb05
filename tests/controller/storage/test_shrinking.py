"""The embedded server's append-only file shrinks when what it tells of is gone."""

from __future__ import annotations

import asyncio

from rekindle.controller.storage.embedded_redis import redis_url
from rekindle.controller.storage.redis_link import RedisLink
from rekindle.controller.storage.shrinking import LEAST_BYTES, Shrinking, worth_rewriting
from tests.controller.harness import Instance, in_loop

MIB = 1 << 20


def test_a_file_is_rewritten_where_most_of_it_tells_of_what_is_gone() -> None:
    assert worth_rewriting(350 * MIB, 0, 3 * MIB)
    assert worth_rewriting(350 * MIB, 300 * MIB, 3 * MIB)  # made when there was more
    assert not worth_rewriting(LEAST_BYTES, 0, 2 * MIB)
    assert not worth_rewriting(350 * MIB, 0, 500 * MIB)
    assert not worth_rewriting(350 * MIB, 300 * MIB, 200 * MIB)  # it could do no better


@in_loop
async def test_the_file_is_small_again_once_its_content_is_gone(redis_alone: Instance) -> None:
    link = RedisLink(redis_url(redis_alone.directory), 30.0)
    with redis_alone.redis_client() as server:
        for i in range(400):
            server.set(f"key{i}", bytes(64 << 10))
        await Shrinking(link).look(purge=True)
        assert server.info()["aof_current_size"] > LEAST_BYTES  # all of it is there
        server.flushdb()
        # Again and again, as it does: the server frees behind the back of the command, and may
        # still be writing the file of before.
        while server.info()["aof_current_size"] > MIB:
            await Shrinking(link).look(purge=True)
            await asyncio.sleep(0.02)
        server.set("still", "written")
        assert server.get("still") == b"written"
    await link.close()
