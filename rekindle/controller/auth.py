"""The bearer token of an instance: who has no token gets nothing but the health check."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from rekindle.exception import AuthError
from rekindle.wire.errors import to_status

_HEALTH = "/grpc.health.v1.Health/"


class TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Refuses every RPC, health apart, whose ``authorization`` is not ``Bearer <token>``."""

    def __init__(self, token: str) -> None:
        if not token:
            raise AuthError("the instance's token is empty; write one to its token file")
        self._expected = f"Bearer {token}".encode()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or str(handler_call_details.method).startswith(_HEALTH):
            return handler
        given = b""
        for key, value in handler_call_details.invocation_metadata or ():
            if key == "authorization":
                given = value.encode() if isinstance(value, str) else value
        if hmac.compare_digest(given, self._expected):
            return handler
        return _refusing(handler, "no token was sent" if not given else "the token is wrong")


def _refusing(handler: Any, reason: str) -> Any:
    """A handler of the same kind (unary or streaming) that only refuses."""
    code, text, metadata = to_status(
        AuthError(f"{reason}: send 'authorization: Bearer <token>' with the instance's token")
    )

    async def unary(_request: Any, context: Any) -> None:
        await context.abort(code, text, metadata)

    async def stream(_request: Any, context: Any) -> Any:
        await context.abort(code, text, metadata)
        yield  # makes this a generator, which a streaming handler must be

    if handler.request_streaming and handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(stream)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(stream)
    return grpc.unary_unary_rpc_method_handler(unary)
