"""The pipelined connection to Redis: how it is made, and what it says of refusals."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

from rekindle.controller.storage.embedded_redis import redis_socket
from rekindle.controller.storage.redis_link import NotPermittedError
from rekindle.controller.storage.redis_pipe import Listening, RedisPipe
from rekindle.wire.resp import packed
from tests.controller.harness import Instance, in_loop, running_instance
from tests.redis_server import refusing


def _pipe(instance: Instance) -> RedisPipe:
    listening = Listening(b"rk:wake:*", lambda *_: None, lambda: None)
    url = f"unix://{redis_socket(instance.directory)}"
    return RedisPipe(url, 30.0, [], lambda _: None, listening)


async def _answer(pipe: RedisPipe, *words: bytes) -> Any:
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    command = packed(*words)
    pipe.send(command, lambda: command, answer.set_result)
    return await answer


@in_loop
async def test_a_server_that_has_too_many_clients_is_asked_again() -> None:
    with running_instance(start=False) as instance, ExitStack() as others:
        instance.start_redis()
        asking = others.enter_context(instance.redis_client())
        last = others.enter_context(instance.redis_client())
        assert last.ping()
        asking.config_set("maxclients", asking.info("clients")["connected_clients"])
        pipe = _pipe(instance)
        opening = asyncio.ensure_future(pipe.open())
        while not opening.done() and not asking.info("stats")["rejected_connections"]:
            await asyncio.sleep(0.01)  # it gives no event
        last.close()
        await opening
        assert await _answer(pipe, b"PING") == b"PONG"
        await pipe.close()


@in_loop
async def test_a_right_that_is_missing_is_told_with_where_to_find_which_are_needed() -> None:
    with running_instance(start=False) as instance, instance.redis_client() as server:
        instance.start_redis()
        pipe = _pipe(instance)
        await pipe.open()
        with refusing(server, "get"):
            error = await _answer(pipe, b"GET", b"rk:key")
        assert isinstance(error, NotPermittedError) and "docs/operating.md" in str(error)
        await pipe.close()
