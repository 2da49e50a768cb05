"""What a real Redis answers and has not written (its disk is full, or it dies) is not told."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from rekindle.controller.storage import confirmations
from rekindle.controller.storage.redis_link import RedisLink
from rekindle.exception import ServiceError
from tests import descriptors
from tests.controller.harness import Instance, in_loop
from tests.e2e.harness import SMALL_DISK
from tests.redis_server import wait_for_redis


@contextmanager
def _on_a_small_disk() -> Iterator[Path]:
    """The directory of a Redis whose disk has 4 MiB, as it is seen from here."""
    with tempfile.TemporaryDirectory(prefix="rk-") as directory:
        command = [sys.executable, "-m", "rekindle.controller.storage.embedded_redis"]
        server = subprocess.Popen([*SMALL_DISK, directory, "4m", *command, "--dir", directory])
        seen = Path(f"/proc/{server.pid}/root{directory}")
        try:
            wait_for_redis(seen, 30.0)
            yield seen
        finally:
            server.kill()
            server.wait()


def _fill(file: Path) -> None:
    """Until nothing more can be written."""
    with file.open("wb", buffering=0) as filler:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    filler.write(b"x" * size)


@asynccontextmanager
async def _linked(directory: Path, patience_s: float = 20.0) -> AsyncIterator[RedisLink]:
    """To the Redis of an instance directory; closed in the end."""
    link = RedisLink(f"unix://{directory}/redis.sock", patience_s)
    try:
        yield link
    finally:
        await link.close()


@in_loop
async def test_the_first_write_that_does_not_get_to_the_disk_is_not_told_to_be_done() -> None:
    with _on_a_small_disk() as directory:
        async with _linked(directory, 0.5) as link:
            await link.command("SET", "before", "x", durable=True)
            _fill(directory / "filler")
            with pytest.raises(ServiceError, match=r"MISCONF.*see that it runs and has room"):
                await link.command("SET", "key", "x" * 5000, durable=True)
            assert "MISCONF" in await link.refusal(1.0)
            again = link.command("SET", "key", "y", durable=True, patience_s=0)
            waiting = asyncio.ensure_future(again)
            (directory / "filler").unlink()
            await waiting
            assert await link.refusal(1.0) == ""


@in_loop
async def test_what_a_server_answered_that_then_died_is_sent_again(redis_alone: Instance) -> None:
    async with _linked(redis_alone.directory) as link:
        runs = 0

        async def write(client: Redis) -> int:
            nonlocal runs
            runs += 1
            await client.set("key", runs)
            if runs == 1:  # as if this one had not been written
                await asyncio.to_thread(redis_alone.kill_redis)
                await asyncio.to_thread(redis_alone.start_redis)
            return runs

        assert await link.run(write, durable=True) == 2


@in_loop
async def test_a_connection_that_was_closed_while_nobody_used_it_sends_nothing_again(
    redis_alone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirmations, "_IDLE_S", 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of what redis-py has deprecated
        async with _linked(redis_alone.directory) as link:
            await link.command("SET", "key", 0, durable=True)
            with redis_alone.redis_client() as client:
                client.client_kill_filter(skipme=True)
            runs = 0

            async def write(client: Redis) -> None:
                nonlocal runs
                runs += 1
                await client.set("key", runs)

            await link.run(write, durable=True)
            assert runs == 1


@in_loop
async def test_who_waits_to_be_told_is_told_that_it_is_over_when_all_is_closed(
    redis_alone: Instance,
) -> None:
    async with _linked(redis_alone.directory) as link:
        begun = await link._confirmations.begin()
        waiting = asyncio.create_task(link._confirmations.confirm(begun))
        await asyncio.sleep(0)  # it has asked for a round, which has not begun
    with pytest.raises(ConnectionError, match="away meanwhile"):
        await waiting


@in_loop
async def test_many_are_confirmed_together_and_each_by_a_question_asked_after_it(
    redis_alone: Instance,
) -> None:
    def asked() -> int:
        found: int = client.info("commandstats").get("cmdstat_ping", {"calls": 0})["calls"]
        return found

    with redis_alone.redis_client() as client:
        async with _linked(redis_alone.directory) as link:
            before = asked()
            many = (link.command("SET", f"k{i}", i, durable=True) for i in range(200))
            await asyncio.gather(*many)
            together = asked()
            assert 1 <= together - before < 200
            await link.command("SET", "one", 1, durable=True)
            assert asked() == together + 1


@in_loop
async def test_nothing_is_confirmed_while_what_is_written_cannot_be_relied_on(
    redis_alone: Instance,
) -> None:
    async with _linked(redis_alone.directory, 0.2) as link:
        reason = "a.aof could not be flushed"
        link.distrust(lambda: reason)
        with pytest.raises(ServiceError, match=r"a\.aof could not be flushed"):
            await link.command("SET", "key", "x", durable=True)
        assert "a.aof could not be flushed" in await link.refusal(1.0)
        await link.command("SET", "key", "x")  # what nobody is told of
        reason = ""
        await link.command("SET", "key", "x", durable=True)


@in_loop
async def test_the_descriptors_of_a_closed_link_are_closed(redis_alone: Instance) -> None:
    before = descriptors.opened()
    async with _linked(redis_alone.directory, 1.0) as link:
        await link.command("SET", "key", "x", durable=True)
    assert not descriptors.newly_open(before)
