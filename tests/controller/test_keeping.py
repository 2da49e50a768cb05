"""A Redis of the user's that does not keep what it is given: refused, or told of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from rekindle.controller.storage.embedded_redis import redis_socket
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.harness import Client, Instance, in_loop
from tests.redis_server import refusing

_EVICTS = "maxmemory 104857600, maxmemory-policy volatile-lru"


@pytest.fixture
def of_users(redis_alone: Instance) -> Instance:
    """Its Redis is one of the user's, as far as a controller can tell."""
    url = f"unix://{redis_socket(redis_alone.directory)}?db=0"
    redis_alone.environ["REKINDLE_REDIS_URL"] = url
    return redis_alone


@contextmanager
def evicting(instance: Instance, most: int = 100 << 20) -> Iterator[redis.Redis]:
    """It is told to give up keys when it has so many bytes of them."""
    with instance.redis_client() as server:
        server.config_set("maxmemory", most)
        server.config_set("maxmemory-policy", "volatile-lru")
        yield server


def test_a_controller_does_not_start_on_one_that_evicts(of_users: Instance) -> None:
    with evicting(of_users) as server:
        said = of_users.refused_controller()
        assert said.startswith("refused: invalid: the Redis at ") and f"({_EVICTS})" in said
        assert "set `maxmemory-policy noeviction` there" in said
        server.config_set("maxmemory-policy", "noeviction")
    of_users.start_controller()
    assert "may be lost" not in of_users.log()


def test_one_with_no_limit_evicts_nothing(of_users: Instance) -> None:
    with evicting(of_users, most=0):
        of_users.start_controller()


def test_one_that_does_not_say_how_it_is_set_is_used(of_users: Instance) -> None:
    with evicting(of_users) as server, refusing(server, "info"):
        of_users.start_controller()


@in_loop
async def test_one_without_an_append_only_file_is_told_of_until_it_has_one(
    of_users: Instance,
) -> None:
    with of_users.redis_client() as server:
        server.config_set("appendonly", "no")
        of_users.start_controller()
        assert "what is queued may be lost" in of_users.log()
        async with Client(of_users) as client:
            status = await client.call("Status", pb.StatusRequest())
            assert status.redis.up and "set `appendonly yes` there" in status.redis.may_lose
            server.config_set("appendonly", "yes")
            assert not (await client.call("Status", pb.StatusRequest())).redis.may_lose


@in_loop
async def test_one_that_is_told_to_evict_later_is_told_of(of_users: Instance) -> None:
    of_users.start_controller()
    async with Client(of_users) as client:
        with evicting(of_users):
            status = await client.call("Status", pb.StatusRequest())
        assert f"({_EVICTS})" in status.redis.may_lose
        assert status.redis.maxmemory_policy == "volatile-lru"
