"""What a blob is made of: its size, and the hashes of its chunks, all of one size but the last.

A blob's name is the hash of its index, so an index proves itself and proves every chunk.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from rekindle.exception import BlobDamagedError, InvalidError

#: Smaller: more requests for what a start touches. Larger: more bytes that nobody asked for.
CHUNK_BYTES = 1 << 20
_MOST_CHUNK_BYTES = 64 << 20

_ID = re.compile(r"[0-9a-f]{64}\Z")
_FORMAT = 1


def digest(data: bytes | memoryview) -> str:
    """The hash that chunks and indexes are named by."""
    return hashlib.sha256(data).hexdigest()


def check_id(text: str) -> str:
    """``text``, if it names a blob or a chunk: names come from others, and become paths.

    Raises InvalidError.
    """
    if not _ID.match(text):
        raise InvalidError(f"{text[:100]!r} names no blob (64 hex digits)")
    return text


@functools.cache
def hash_of_zeros(length: int) -> str:
    """The hash of a chunk without content: it is neither stored nor fetched."""
    return digest(bytes(length))


@dataclass(frozen=True)
class Index:
    """A blob's parts. Sizes in bytes."""

    size: int
    chunk_bytes: int
    chunks: tuple[str, ...]

    @functools.cached_property
    def encoded(self) -> bytes:
        """As it is stored."""
        plain = {
            "format": _FORMAT,
            "size": self.size,
            "chunk_bytes": self.chunk_bytes,
            "chunks": list(self.chunks),
        }
        return json.dumps(plain, separators=(",", ":")).encode()

    @functools.cached_property
    def id(self) -> str:
        """The blob's name."""
        return digest(self.encoded)

    def length_of(self, number: int) -> int:
        """Bytes of a chunk."""
        return min(self.chunk_bytes, self.size - number * self.chunk_bytes)

    def is_hole(self, number: int) -> bool:
        """Whether a chunk is zeros, all of it."""
        return self.chunks[number] == hash_of_zeros(self.length_of(number))

    def covering(self, offset: int, length: int) -> range:
        """The numbers of the chunks that a range lies in."""
        end = min(self.size, offset + length)
        if offset >= end:
            return range(0)
        return range(offset // self.chunk_bytes, (end - 1) // self.chunk_bytes + 1)

    def stored(self) -> Iterator[str]:
        """The hashes of the chunks that the store holds, each once."""
        holes = {hash_of_zeros(self.chunk_bytes)}
        if self.chunks:
            holes.add(hash_of_zeros(self.length_of(len(self.chunks) - 1)))
        yield from (one for one in dict.fromkeys(self.chunks) if one not in holes)


def decode(blob: str, data: bytes, url: str) -> Index:
    """An index that came from a store. Raises BlobDamagedError."""
    if digest(data) != blob:
        raise BlobDamagedError(f"the index of blob {blob} in {url} is damaged: its hash is another")
    try:
        raw = json.loads(data)
        index = Index(raw["size"], raw["chunk_bytes"], tuple(map(check_id, raw["chunks"])))
    except (ValueError, KeyError, TypeError, InvalidError) as error:
        raise BlobDamagedError(f"blob {blob} in {url} has no index that can be read") from error
    if raw.get("format") != _FORMAT or not 0 < index.chunk_bytes <= _MOST_CHUNK_BYTES:
        raise BlobDamagedError(f"the index of blob {blob} in {url} has another format")
    if len(index.chunks) != -(-index.size // index.chunk_bytes):
        raise BlobDamagedError(f"the index of blob {blob} in {url} does not fit its size")
    return index
