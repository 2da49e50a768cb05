"""Payloads and results that are too large for the queue travel through the blob store.

A key travels in their place. The store is where the controller says it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rekindle import lazily

if TYPE_CHECKING:
    import asyncio

    from rekindle.wire import blobs
else:
    asyncio = lazily.module("asyncio")
    blobs = lazily.module("rekindle.wire.blobs")


#: No threshold is so low that the controller must be asked for it.
ALWAYS_INLINE_BYTES = 4096


class BlobOffload:
    """The blob store of one controller, on the background thread."""

    def __init__(self, url: str, threshold_bytes: int) -> None:
        self._url = url
        self._threshold = threshold_bytes if url else 0

    def takes(self, size: int) -> bool:
        """Whether something of this size goes into the store."""
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
