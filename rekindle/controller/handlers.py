"""How handlers of the gRPC services answer: with our errors, and to the end of what they began.

Knows no request.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

import grpc
import grpc.aio

from rekindle import paths
from rekindle.background_tasks import BackgroundTasks
from rekindle.exception import Error
from rekindle.wire.errors import to_status

Context = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")
Request = TypeVar("Request")
Reply = TypeVar("Reply")


class Explains(Protocol):
    """A service that knows what is behind an error."""

    async def behind(self, error: Error) -> Error:
        """What to tell the peer of it."""


class HasTasks(Protocol):
    """A service whose handlers may go on by themselves."""

    tasks: BackgroundTasks


def answered(
    handle: Callable[[Any, Request, Context], Awaitable[Reply]],
) -> Callable[[Any, Request, Context], Awaitable[Reply]]:
    """Let rekindle's exceptions of a unary handler reach the peer as what they are."""

    async def handler(self: Explains, request: Request, context: Context) -> Reply:
        try:
            return await handle(self, request, context)
        except Error as error:
            said = await self.behind(error)
        except OSError as error:  # of a file beside Redis: the key of secrets, say
            if (unwritable := paths.unwritable(error)) is None:
                raise
            said = unwritable
        code, text, metadata = to_status(said)
        await context.abort(code, text, metadata)
        raise said  # abort has raised

    return handler


def streamed(
    handle: Callable[[Any, Request, Context], AsyncIterator[Reply]],
) -> Callable[[Any, Request, Context], AsyncIterator[Reply]]:
    """The same for a handler that streams its replies."""

    async def handler(self: Explains, request: Request, context: Context) -> AsyncIterator[Reply]:
        try:
            async for reply in handle(self, request, context):
                yield reply
        except Error as error:
            code, text, metadata = to_status(await self.behind(error))
            await context.abort(code, text, metadata)

    return handler


def to_its_end(
    handle: Callable[[Any, Request, Context], Coroutine[Any, Any, Reply]],
) -> Callable[[Any, Request, Context], Awaitable[Reply]]:
    """Have a unary handler do what it began, also when the client that asked goes meanwhile.

    For what changes more than one thing: cancelled between two, an app would be closing for ever.
    """

    @functools.wraps(handle)
    async def handler(self: HasTasks, request: Request, context: Context) -> Reply:
        return await self.tasks.to_its_end(handle(self, request, context), handle.__name__)

    return handler


def answering(service: type[T]) -> type[T]:
    """The same for all handlers of a service."""
    for name, method in list(vars(service).items()):
        if inspect.isasyncgenfunction(method):
            setattr(service, name, streamed(method))
        elif inspect.iscoroutinefunction(method):
            setattr(service, name, answered(method))
    return service
