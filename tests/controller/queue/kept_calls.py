"""Calls that are kept when they are done: made, taken by their readers, and looked for in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from rekindle.wire import rekindle_pb2 as pb
from tests.controller.harness import Client, Instance, new_id


@contextmanager
def looking(instance: Instance) -> Iterator[Callable[[str], set[str]]]:
    """The keys in Redis that name something."""
    with instance.redis_client() as client:
        yield lambda name: {key.decode() for key in client.keys(f"rk:*{name}*")}


async def a_map(client: Client, function_id: str, count: int, **more: Any) -> str:
    """Submit inputs of a map, whose only reader is who submits it; its id."""
    call_id = new_id("fc")
    request = {
        "call_id": call_id,
        "function_id": function_id,
        "inputs": [pb.Input(index=i, payload=b"x") for i in range(count)],
        "last": True,
        "read_once": True,
    }
    await client.call("Submit", pb.SubmitRequest(**request | more))
    return call_id


async def take(client: Client, call_id: str, function_id: str, **what: Any) -> None:
    """Say that results were taken."""
    one = pb.TakenCall(call_id=call_id, function_id=function_id, **what)
    await client.call("Taken", pb.TakenRequest(calls=[one]))


@asynccontextmanager
async def holding(client: Client, app_id: str) -> AsyncIterator[None]:
    """Keep an app open."""
    stream = client.call("HoldApp", pb.HoldAppRequest(app_id=app_id))
    await stream.read()
    yield
    stream.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Return when it is so."""
    while not condition():
        await asyncio.sleep(0.01)
