"""Requests to a controller over gRPC."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc.aio

from rekindle import paths
from rekindle.sdk.connection.blob_offload import BlobOffload
from rekindle.sdk.connection.channel import open_channel
from rekindle.sdk.connection.retrying import BrokenError
from rekindle.wire import errors, rekindle_pb2_grpc


class GrpcTransport:
    """Requests over gRPC; in a forked child, over a process of its own (relay.py)."""

    def __init__(self, instance: Path, token: str, *, inherited: bool) -> None:
        target = f"unix:{paths.controller_socket(instance)}"
        self._channel: Any = None
        self._stub: Any
        if inherited:
            from rekindle.sdk.connection.relay import RelayStub

            self._stub = RelayStub(target)
        else:
            self._channel = open_channel(target)
            self._stub = rekindle_pb2_grpc.ControllerStub(self._channel)  # type: ignore[no-untyped-call]
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def one(self, method: str, request: Any, _reply: Any) -> Any:
        """See Transport."""
        try:
            return await getattr(self._stub, method)(request, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise _meant(error) from None

    async def many(self, method: str, request: Any, _reply: Any) -> AsyncGenerator[Any, None]:
        """See Transport."""
        call = getattr(self._stub, method)(request, metadata=self._metadata)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise _meant(error) from None
        finally:
            call.cancel()

    def offload(self, url: str, threshold_bytes: int) -> BlobOffload:
        """See Transport."""
        return BlobOffload(url, threshold_bytes)

    async def close(self) -> None:
        """See Transport."""
        if self._channel is not None:
            await self._channel.close(None)


def _meant(error: grpc.aio.AioRpcError) -> Exception:
    return BrokenError() if errors.is_connection_loss(error) else errors.from_rpc_error(error)
