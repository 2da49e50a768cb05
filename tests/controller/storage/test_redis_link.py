"""Refusals of a real Redis that pass: the same command is sent again until it is taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from rekindle.controller.storage.embedded_redis import redis_url
from rekindle.controller.storage.redis_link import RedisLink
from rekindle.exception import ServiceError
from tests.controller.harness import Instance, in_loop, running_instance
from tests.redis_server import refusing


@pytest.fixture(scope="module")
def server() -> Iterator[Instance]:
    """A Redis that is as it was after each of the tests here."""
    with running_instance(start=False) as instance:
        instance.start_redis()
        yield instance


@asynccontextmanager
async def full(redis: Redis) -> AsyncIterator[None]:
    """No memory is left."""
    await redis.config_set("maxmemory", 1)
    try:
        yield
    finally:
        await redis.config_set("maxmemory", 0)


@asynccontextmanager
async def busy(redis: Redis) -> AsyncIterator[None]:
    """Somebody's script does not end."""
    await redis.config_set("lua-time-limit", 1)
    script = asyncio.create_task(redis.eval("while true do end", 0))
    while not await _is_refused(redis):
        await asyncio.sleep(0.01)  # it gives no event
    try:
        yield
    finally:
        await redis.script_kill()
        await asyncio.gather(script, return_exceptions=True)


@asynccontextmanager
async def without_its_primary(redis: Redis) -> AsyncIterator[None]:
    """It is the replica of a server that it cannot reach."""
    await redis.config_set("replica-serve-stale-data", "no")
    await redis.replicaof("127.0.0.1", "1")
    try:
        yield
    finally:
        await redis.replicaof("NO", "ONE")
        await redis.config_set("replica-serve-stale-data", "yes")


async def _is_refused(redis: Redis) -> bool:
    try:
        await redis.ping()
    except RedisError:
        return True
    return False


def _command(link: RedisLink) -> Awaitable[object]:
    return link.command("SET", "key", "value")


def _script(link: RedisLink) -> Awaitable[object]:
    return link.script("swap", ["table"], ["field", "", "value"])


def _transaction(link: RedisLink) -> Awaitable[object]:
    commands = [("ZADD", "scores", 1, "one"), ("SET", "key", "value")]
    return link.commands(commands, atomic=True)


@in_loop
@pytest.mark.parametrize("work", [_command, _script, _transaction])
@pytest.mark.parametrize("refusal", [full, busy, without_its_primary])
async def test_what_is_refused_for_now_is_waited_for(
    server: Instance,
    refusal: Callable[[Redis], AbstractAsyncContextManager[None]],
    work: Callable[[RedisLink], Awaitable[object]],
) -> None:
    link = RedisLink(redis_url(server.directory), 0.0)
    redis = Redis.from_url(redis_url(server.directory))
    await redis.flushall()
    async with refusal(redis):
        task = asyncio.ensure_future(work(link))
        while not link.lost and not task.done():
            await asyncio.sleep(0.01)  # it gives no event
        assert not task.done()
    assert await task
    assert not link.lost
    await link.close()
    await redis.aclose()


@in_loop
async def test_who_is_cancelled_while_a_connection_is_made_does_not_go_on(server: Instance) -> None:
    turns, ended = 0, False
    while not ended:  # at each turn of the loop that a first command takes
        link = RedisLink(redis_url(server.directory), 0.0)
        asked = asyncio.ensure_future(link.command("PING"))
        for _ in range(turns):
            await asyncio.sleep(0)
        turns += 1
        ended = not asked.cancel()
        await asyncio.wait([asked])
        assert asked.cancelled() != ended
        await link.close()


@in_loop
async def test_the_place_in_a_script_is_no_part_of_what_is_told(server: Instance) -> None:
    link = RedisLink(redis_url(server.directory), 0.2)
    redis = Redis.from_url(redis_url(server.directory))
    await redis.flushall()
    async with full(redis):
        with pytest.raises(ServiceError, match="has not answered") as told:
            await _script(link)
    assert "user_script" in str(told.value.__cause__)
    assert "script:" not in str(told.value)
    await link.close()
    await redis.aclose()


@in_loop
async def test_what_is_refused_for_good_is_not_sent_again(server: Instance) -> None:
    link = RedisLink(redis_url(server.directory), 0.0)
    await link.command("SET", "text", "no list")
    with pytest.raises(ServiceError, match="refused a command: WRONGTYPE"):
        await link.command("RPUSH", "text", "more")
    await link.close()


@in_loop
async def test_of_a_transaction_that_is_refused_nothing_is_done_and_no_value_told(
    server: Instance,
) -> None:
    link = RedisLink(redis_url(server.directory), 0.0)
    with server.redis_client() as redis:
        redis.flushall()
        with refusing(redis, "hset"), pytest.raises(ServiceError, match="no permissions") as told:
            await link.commands([("SET", "key", "one"), ("HSET", "a", "b", "two")], atomic=True)
        assert "two" not in str(told.value) and not redis.keys("*")
        commands = [("SET", "key", "one"), ("ZADD", "scores", 1, "two"), ("RENAME", "none", "x")]
        replies = await link.commands(commands, atomic=True, harmless="no such key")
        assert replies[1] == 1 and isinstance(replies[2], Exception)
        assert redis.get("key") == b"one"
    await link.close()
