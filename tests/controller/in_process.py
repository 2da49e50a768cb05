"""The parts of a controller in the test's own process, on a real Redis: nothing runs by itself.

For what is to happen between two steps of one of them, which no request tells from outside.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from rekindle.controller.instance import instance_id
from rekindle.controller.settings import Settings
from rekindle.controller.state import Function
from rekindle.controller.storage.embedded_redis import redis_url
from rekindle.controller.wiring import Config, Parts
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import spec_message
from tests.controller.harness import Instance, new_id, spec


def parts_of(instance: Instance, **settings: Any) -> Parts:
    """Those of a controller of an instance whose Redis runs."""
    return Parts(
        Config(
            directory=instance.directory,
            instance_id=instance_id(instance.directory),
            token="t",
            redis_url=redis_url(instance.directory),
            embedded=True,
            settings=Settings(**settings),
            metrics_listen="",
            blob_url="",
            blob_threshold_bytes=0,
            secrets_key_file=instance.directory / "secrets.key",
        )
    )


@asynccontextmanager
async def running_parts(instance: Instance, **settings: Any) -> AsyncIterator[Parts]:
    """The same, ended afterwards as if they were killed."""
    parts = parts_of(instance, **settings)
    try:
        yield parts
    finally:
        await end(parts)


async def end(parts: Parts) -> None:
    """As if they were killed: what they had begun does not go on."""
    await parts.core.tasks.cancel()
    await parts.link.close()


async def registered(parts: Parts) -> Function:
    """A function of an app that is open."""
    definition = pb.FunctionDef(spec=spec_message(spec()), code=b"code")
    request = pb.RegisterAppRequest(app_id=new_id("ap"), name="app", functions=[definition])
    (handle,) = await parts.apps.register(request)
    return parts.core.state.functions[handle.function_id]


def of_one_input(function: Function, **more: Any) -> pb.SubmitRequest:
    """What submits a call that has one input."""
    return pb.SubmitRequest(
        call_id=new_id("fc"),
        function_id=function.function_id,
        inputs=[pb.Input(index=0, payload=b"x")],
        last=True,
        **more,
    )
