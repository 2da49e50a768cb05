"""Payloads and results that are too large for the queue: they go beside it, through the blob store.

What travels in their place is a key. The store is where the controller says it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING

from rekindle.sdk.calls.result_buffer import Arrived
from rekindle.sdk.connection.background import background
from rekindle.wire import blobs
from rekindle.wire import rekindle_pb2 as pb

if TYPE_CHECKING:
    from rekindle.sdk.connection.client import Client

#: No threshold is so low that the controller must be asked for it.
ALWAYS_INLINE_BYTES = 4096
#: Results that are fetched while the caller has the one before them.
_AHEAD = 4


#: A result, as it came, and the future of data that comes from the store.
Fetched = tuple[pb.Result, bytes, Future[bytes] | None]


class BlobOffload:
    """The blob store of one controller, on the background thread."""

    def __init__(self, url: str, threshold_bytes: int) -> None:
        self._url = url
        self._threshold = threshold_bytes if url else 0

    def goes(self, size: int) -> bool:
        """Whether something of this size goes beside."""
        return 0 < self._threshold < size

    async def put(self, call_id: str, index: int, payload: bytes) -> str:
        """Put a payload; its key. Raises ServiceError, SetupError."""

        def put() -> str:
            key = blobs.new_key(call_id, index, payload)
            blobs.open_store(self._url).put(key, payload)
            return key

        return await asyncio.to_thread(put)

    async def get(self, key: str) -> bytes:
        """What is there. Raises InternalFailure, ServiceError, SetupError."""
        return await asyncio.to_thread(lambda: blobs.open_store(self._url).get(key))


async def inputs_of(
    client: Client, call_id: str, method: str, batch: list[tuple[int, bytes]]
) -> list[pb.Input]:
    """Inputs as they travel; large payloads are in the store then."""

    async def one(index: int, payload: bytes) -> pb.Input:
        if len(payload) > ALWAYS_INLINE_BYTES:
            beside = await client.beside()
            if beside.goes(len(payload)):
                key = await beside.put(call_id, index, payload)
                return pb.Input(index=index, method=method, blob=key)
        return pb.Input(index=index, method=method, payload=payload)

    if max(len(payload) for _, payload in batch) <= ALWAYS_INLINE_BYTES:
        return [pb.Input(index=i, method=method, payload=payload) for i, payload in batch]
    return await asyncio.gather(*(one(index, payload) for index, payload in batch))


async def put_aside(client: Client, request: pb.SubmitRequest) -> None:
    """Move what is large in a request into the store."""
    for one in request.inputs:
        payload = one.payload
        if len(payload) > ALWAYS_INLINE_BYTES:
            beside = await client.beside()
            if beside.goes(len(payload)):
                one.blob = await beside.put(request.call_id, one.index, payload)
                one.ClearField("payload")


def fetched(client: Client, due: list[Arrived]) -> Iterator[Fetched]:
    """Results with the data that comes for them from the store; a few are fetched ahead."""
    waiting: deque[Fetched] = deque()
    parse = pb.Result.FromString
    for _, raw in due:
        result = parse(raw)
        key = result.blob
        if not key and not waiting:
            yield result, raw, None
            continue
        fetch = (
            asyncio.run_coroutine_threadsafe(client.blob(key), background().loop) if key else None
        )
        waiting.append((result, raw, fetch))
        if len(waiting) > _AHEAD:
            yield waiting.popleft()
    yield from waiting
