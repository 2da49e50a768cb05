"""What a store holds, and what may go: nothing that a name keeps, and nothing that is young.

Mark and sweep. Whoever puts a blob meanwhile is safe, by the store's ``GRACE_S``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from rekindle.blobs.objects import Listed
from rekindle.blobs.store import BLOBS, CHUNKS, GRACE_S, HINTS, BlobStore, Ref
from rekindle.exception import BlobNotFoundError


@dataclass(frozen=True)
class Named:
    """What one name keeps; bytes."""

    ref: Ref
    size: int  # of its files
    stored_bytes: int  # of their chunks, in the store
    own_bytes: int  # of which no other name has them
    is_whole: bool


@dataclass(frozen=True)
class Usage:
    """What a store holds; bytes."""

    named: list[Named]
    stored_bytes: int  # all chunks
    unnamed_bytes: int  # of which no name keeps them


@dataclass(frozen=True)
class Collected:
    """What went, or would go."""

    objects: int
    freed_bytes: int
    kept_young: int  # unnamed, but not old enough


def usage(store: BlobStore) -> Usage:
    """What is there, by name. Raises BlobStoreError, BlobDamagedError."""
    sizes = {_last(one): one.size for one in store.objects.list(CHUNKS)}
    found = [(ref, *_chunks_of(store, ref.blobs)) for ref in store.refs()]
    holders: dict[str, int] = {}
    for _ref, _size, chunks, _whole in found:
        for chunk in chunks:
            holders[chunk] = holders.get(chunk, 0) + 1
    named = [
        Named(
            ref,
            size,
            sum(sizes.get(chunk, 0) for chunk in chunks),
            sum(sizes.get(chunk, 0) for chunk in chunks if holders[chunk] == 1),
            whole and all(chunk in sizes for chunk in chunks),
        )
        for ref, size, chunks, whole in found
    ]
    stored = sum(sizes.values())
    kept = sum(size for name, size in sizes.items() if name in holders)
    return Usage(named, stored, stored - kept)


def collect(store: BlobStore, *, grace_s: float = GRACE_S, dry_run: bool = False) -> Collected:
    """Remove what no name keeps and what is older than ``grace_s``.

    A grace shorter than the store's own is for a store that nobody puts anything into just now.
    Raises BlobStoreError; BlobDamagedError, and nothing goes, where a name cannot be read.
    """
    # Listed before names are read: what is put and named between the two is not in the list.
    listed = [one for part in (CHUNKS, BLOBS, HINTS) for one in store.objects.list(part)]
    keep: set[str] = set()
    for ref in store.refs():
        _size, chunks, _whole = _chunks_of(store, ref.blobs)
        keep |= {*ref.blobs, *chunks}
    before = time.time() - grace_s
    objects = freed = young = 0
    for one in listed:
        if _last(one) in keep:
            continue
        if one.modified > before:
            young += 1
            continue
        if not dry_run:
            # Who puts it again, as it is old, names it later than names were read here.
            age_s = store.age_s(one.name)
            if age_s is None:
                continue
            if age_s < grace_s:
                young += 1
                continue
            store.objects.delete(one.name)
        objects, freed = objects + 1, freed + one.size
    return Collected(objects, freed, young)


def _chunks_of(store: BlobStore, blobs: Iterable[str]) -> tuple[int, set[str], bool]:
    """Bytes of blobs, the chunks that they need, and whether all their indexes are there."""
    size, chunks, whole = 0, set[str](), True
    for blob in blobs:
        try:
            index = store.index(blob)
        except BlobNotFoundError:
            whole = False
            continue
        size += index.size
        chunks.update(index.stored())
    return size, chunks, whole


def _last(one: Listed) -> str:
    return one.name.rpartition("/")[2]
