"""The errors that a controller refuses requests with."""

from __future__ import annotations

import grpc
import pytest

from rekindle import exception
from rekindle.wire.errors import from_rpc_error


async def refused(call: object) -> exception.Error:
    """The error that an awaitable call raises."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return from_rpc_error(caught.value)
