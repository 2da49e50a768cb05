"""The store of blobs: chunks by their hash, indexes by theirs, and names that keep them.

``chunks/ab/HASH`` holds one chunk in zstd, however many blobs it is part of; ``blobs/ab/ID`` an
index, written after all its chunks; ``refs/KIND/NAME`` says what a name needs, and is what keeps
blobs from being collected; ``hints/ID`` which chunks the first readers touched. Every chunk is
verified by its hash when it arrives. Blocks; all methods may be called from any thread.
"""

from __future__ import annotations

import functools
import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from rekindle import filesystems
from rekindle.blobs import index as index_room
from rekindle.blobs.index import Index, check_id
from rekindle.blobs.objects import Objects, open_objects
from rekindle.exception import (
    BlobDamagedError,
    BlobNotFoundError,
    BlobStoreError,
    InvalidError,
    SetupError,
)
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

T = TypeVar("T")

CHUNKS, BLOBS, REFS, HINTS = "chunks", "blobs", "refs", "hints"
#: What is younger is never collected: somebody may be about to name it.
GRACE_S = 24 * 3600.0
#: A chunk that is there is written again when it is older, so that it is not collected before the
#: blob that is being put has its index.
REFRESH_S = GRACE_S / 4
_LEVEL = 3
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


@dataclass(frozen=True)
class Patience:
    """How often a request is tried, and how long is waited between; seconds."""

    attempts: int = 5
    first_wait_s: float = 0.05
    most_wait_s: float = 2.0


@dataclass(frozen=True)
class Ref:
    """A name in the store, and what it keeps."""

    kind: str
    name: str
    blobs: tuple[str, ...]
    about: dict[str, Any]
    created: float  # seconds of CLOCK_REALTIME


class BlobStore:
    """See the module."""

    def __init__(self, objects: Objects, patience: Patience | None = None) -> None:
        self.objects = objects
        self.url = objects.url  # without a password, for messages
        self.patience = patience or Patience()
        self._local = threading.local()

    # ---- chunks and indexes --------------------------------------------------------------------

    def put_chunk(self, data: bytes | memoryview, *, overwrite: bool = False) -> tuple[str, int]:
        """Keep a chunk, unless it is there; its hash, and the bytes sent.

        ``overwrite``: also where it is there, as that may be damaged. Raises BlobStoreError.
        """
        name = index_room.digest(data)
        if name == index_room.hash_of_zeros(len(data)):
            return name, 0
        place = _chunk(name)
        age_s = None if overwrite else self.age_s(place)
        if age_s is not None and age_s < REFRESH_S:
            return name, 0
        packed: bytes = self._codec()[0].compress(data)
        self._trying(lambda: self.objects.put(place, packed))
        return name, len(packed)

    def get_chunk(self, name: str, length: int, blob: str) -> tuple[bytes, int]:
        """A chunk that has ``length`` bytes, and the bytes received; it is what its name says.

        Raises BlobNotFoundError; BlobDamagedError where it is damaged however often it is fetched;
        BlobStoreError.
        """
        received = 0

        def once() -> bytes:
            nonlocal received
            packed = self.objects.get(_chunk(name))
            if packed is None:
                raise BlobNotFoundError(
                    f"blob {blob} is not whole in {self.url}: its chunk {name} is missing there; "
                    "it was collected while nothing named it, or the store was changed by hand"
                )
            received += len(packed)
            return self._unpack(packed, name, length, blob)

        return self._trying(once), received

    def put_index(self, index: Index) -> str:
        """Publish a blob, all of whose chunks are there; its id. Raises BlobStoreError."""
        self._trying(lambda: self.objects.put(_blob(index.id), index.encoded))
        return index.id

    def index(self, blob: str) -> Index:
        """What a blob is made of. Raises BlobNotFoundError, BlobDamagedError, BlobStoreError."""

        def once() -> Index:
            data = self.objects.get(_blob(check_id(blob)))
            if data is None:
                raise BlobNotFoundError(f"there is no blob {blob} in {self.url}")
            return index_room.decode(blob, data, self.url)

        return self._trying(once)

    def _unpack(self, packed: bytes, name: str, length: int, blob: str) -> bytes:
        _, decompressor, zstd_error = self._codec()
        try:
            data: bytes = decompressor.decompress(packed, max_output_size=length)
        except zstd_error as error:
            raise self._damaged(name, blob) from error
        if len(data) != length or index_room.digest(data) != name:
            raise self._damaged(name, blob)
        return data

    def _damaged(self, name: str, blob: str) -> BlobDamagedError:
        return BlobDamagedError(
            f"blob {blob} is damaged in {self.url}: its chunk {name} is not what was put there; "
            f"remove {_chunk(name)} from the store and have the blob pushed again"
        )

    def _codec(self) -> Any:
        """A compressor, a decompressor and their error; each thread has its own."""
        if not hasattr(self._local, "codec"):
            zstandard = _zstandard()
            self._local.codec = (
                zstandard.ZstdCompressor(level=_LEVEL),
                zstandard.ZstdDecompressor(),
                zstandard.ZstdError,
            )
        return self._local.codec

    @property
    def address(self) -> str:
        """Its URL with all that it needs, for other processes."""
        return self.objects.address

    def age_s(self, place: str) -> float | None:
        """Seconds since an object was put, also again; None where it is gone. BlobStoreError."""
        return self._trying(lambda: self.objects.age_s(place))

    # ---- names ---------------------------------------------------------------------------------

    def put_ref(self, kind: str, name: str, blobs: Iterable[str], about: dict[str, Any]) -> Ref:
        """Name blobs that are there, and keep them from now on. Raises BlobStoreError."""
        ref = Ref(kind, name, tuple(blobs), about, time.time())
        text = json.dumps({"blobs": ref.blobs, "about": about, "created": ref.created})
        self._trying(lambda: self.objects.put(_ref(kind, name), text.encode()))
        return ref

    def ref(self, kind: str, name: str) -> Ref | None:
        """What a name needs; None where there is no such name.

        Raises BlobDamagedError, BlobStoreError.
        """
        data = self._trying(lambda: self.objects.get(_ref(kind, name)))
        if data is None:
            return None
        try:
            raw = json.loads(data)
            blobs = tuple(map(check_id, raw["blobs"]))
            return Ref(kind, name, blobs, dict(raw["about"]), float(raw["created"]))
        except (ValueError, KeyError, TypeError, InvalidError) as error:
            raise BlobDamagedError(f"{_ref(kind, name)} in {self.url} cannot be read") from error

    def refs(self) -> Iterator[Ref]:
        """All names. Raises BlobStoreError, and BlobDamagedError for one that cannot be read."""
        for listed in self._trying(lambda: list(self.objects.list(REFS))):
            _, kind, name = listed.name.split("/", 2)
            ref = self.ref(kind, name)
            if ref is not None:  # removed meanwhile
                yield ref

    def delete_ref(self, kind: str, name: str) -> None:
        """Let go of a name; what it kept goes with the next collection. Raises BlobStoreError."""
        self._trying(lambda: self.objects.delete(_ref(kind, name)))

    # ---- hints ---------------------------------------------------------------------------------

    def put_hint(self, blob: str, chunks: Iterable[int]) -> None:
        """Keep which chunks of a blob a first reader touched, in that order; BlobStoreError."""
        text = json.dumps(list(chunks), separators=(",", ":"))
        self._trying(lambda: self.objects.put(_hint(blob), text.encode()))

    def hint(self, blob: str) -> list[int]:
        """The chunks to fetch first; none where nothing is known, or what is cannot be read."""
        try:
            data = self._trying(lambda: self.objects.get(_hint(blob)))
            return [int(number) for number in json.loads(data)] if data else []
        except (BlobStoreError, ValueError, TypeError) as error:
            log.warning("no hint", extra=kv(blob=blob, reason=error))
            return []

    # ---- patience ------------------------------------------------------------------------------

    def _trying(self, once: Callable[[], T]) -> T:
        """Do it again where the store did not do it, or sent something else than it was given."""
        wait_s = self.patience.first_wait_s
        for attempt in range(1, self.patience.attempts + 1):
            try:
                return once()
            except (BlobStoreError, BlobDamagedError) as error:
                if attempt >= self.patience.attempts:
                    raise
                log.info("store asked again", extra=kv(attempt=attempt, reason=error))
            # Not all at the same moment: who failed together would fail together again.
            time.sleep(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, self.patience.most_wait_s)
        raise AssertionError("an attempt is made at least")


@functools.lru_cache(maxsize=8)
def open_store(url: str) -> BlobStore:
    """The store at a URL. Raises SetupError, InvalidError, BlobStoreError."""
    filesystems.check_shared(url, "the store")
    store = BlobStore(open_objects(url))
    _zstandard()  # who opens it is told, not who pushes to it in the background
    return store


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise SetupError(
            "a store of blobs needs the package zstandard: pip install 'rekindle[blobs]'"
        ) from None
    return zstandard


def _chunk(name: str) -> str:
    return f"{CHUNKS}/{name[:2]}/{name}"


def _blob(name: str) -> str:
    return f"{BLOBS}/{name[:2]}/{name}"


def _hint(blob: str) -> str:
    return f"{HINTS}/{check_id(blob)}"


def _ref(kind: str, name: str) -> str:
    for part in (kind, name):
        if not _PART.match(part):
            raise InvalidError(f"{part[:100]!r} cannot be part of a name in the store")
    return f"{REFS}/{kind}/{name}"
