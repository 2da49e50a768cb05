"""How requests get to a controller: over gRPC, or, in an image, over the agent (framed.py).

Both raise the same: what the controller answers, and BrokenError for a connection that was lost.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rekindle.sdk.connection.blob_offload import BlobOffload


class Transport(Protocol):
    """One way to the controller; used on one event loop."""

    async def one(self, method: str, request: Any, reply: Any) -> Any:
        """Make a request that has one reply, of the message ``reply``."""

    def many(self, method: str, request: Any, reply: Any) -> AsyncGenerator[Any, None]:
        """Make one that has many replies, of the message ``reply``; it ends with the iteration."""

    def offload(self, url: str, threshold_bytes: int) -> BlobOffload:
        """The blob store of the controller, as it is reached from here."""

    async def close(self) -> None:
        """Hang up."""


def open_transport(instance: Path, token: str, *, inherited: bool) -> Transport:
    """To the controller of an instance. ``inherited``: this process was forked from one that has a
    connection of its own."""
    if importlib.util.find_spec("rekindle.sdk.connection.over_grpc") is None:
        # What images are shown of rekindle has no gRPC (runtime/images/runner_code.py).
        from rekindle.sdk.connection.framed import FramedTransport

        return FramedTransport(instance, token)
    from rekindle.sdk.connection.over_grpc import GrpcTransport

    return GrpcTransport(instance, token, inherited=inherited)
