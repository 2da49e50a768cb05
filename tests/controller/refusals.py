"""The errors that a controller refuses requests with."""

from __future__ import annotations

import grpc
import pytest

from rekindle import exception
from rekindle.wire.errors import from_rpc_error


async def refused(
    call: object, kind: type[exception.Error] = exception.Error, match: str | None = None
) -> exception.Error:
    """The error that an awaitable call raises; it is of a kind, and its words match."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    with pytest.raises(kind, match=match) as own:
        raise from_rpc_error(caught.value)
    return own.value
