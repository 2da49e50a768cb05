"""Whether a store can be used: it answers, its place is there, it keeps what it is given.

For who asks before anything depends on it. Bounded in time; raises what goes wrong, in words.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from rekindle.blobs import waiting
from rekindle.blobs.objects import DRAFTS, FolderObjects
from rekindle.blobs.store import BLOBS, CHUNKS, HINTS, REFS, BlobStore
from rekindle.exception import BlobStoreError, InvalidError

T = TypeVar("T")

#: In no way of what a store holds.
_FOLDER = "probes"
#: What is in the folder of a store; and what is in one that is empty, where it is a disk.
_OF_STORES, _OF_DISKS = {CHUNKS, BLOBS, REFS, HINTS, DRAFTS, _FOLDER}, {"lost+found"}
#: Who looks at a machine does not wait longer; see also waiting.py.
_MOST_S = 10.0


def answer(store: BlobStore) -> None:
    """See that it answers. Raises BlobStoreError, InvalidError."""
    _bounded(store, lambda: store.objects.get(f"{_FOLDER}/none"))


def check_folder(store: BlobStore) -> bool:
    """Whether a store is a folder that has still to be made.

    Raises InvalidError for one that is a slip more likely: what is above it is not there either,
    or other things are in it.
    """
    if not isinstance(store.objects, FolderObjects):
        return False
    root = store.objects.root
    try:
        found = {one.name for one in root.iterdir()} - _OF_DISKS
    except FileNotFoundError:
        if root.parent.is_dir():
            return True
        raise InvalidError(
            f"the store {store.url} is in {root.parent}, which is not there: make that folder, or "
            f"name another"
        ) from None
    except NotADirectoryError:
        raise InvalidError(f"the store {store.url} is no folder: name another") from None
    except OSError:  # who asks it hears why
        return False
    if found and not found & _OF_STORES:
        raise InvalidError(
            f"the store {store.url} is a folder of other things ({', '.join(sorted(found)[:3])}): "
            f"name one for the store alone, which is made where it is not there"
        )
    return False


def is_there(store: BlobStore) -> bool:
    """Whether there is anything at its URL, a bucket or folder at least.

    Raises BlobStoreError, InvalidError.
    """
    answer(store)
    return _bounded(store, store.objects.is_there)


def keep(store: BlobStore) -> None:
    """See that what is put there comes back, and can go. Raises BlobStoreError, InvalidError."""
    answer(store)

    def try_it() -> None:
        name, data = f"{_FOLDER}/{os.urandom(8).hex()}", os.urandom(16)
        store.objects.put(name, data)
        try:
            found = store.objects.get(name)
        finally:  # nobody else removes it: no collection knows that folder
            store.objects.delete(name)
        if found != data:
            raise BlobStoreError(f"the store {store.url} does not give back what it was given")

    _bounded(store, try_it)


def _bounded(store: BlobStore, work: Callable[[], T]) -> T:
    return waiting.ask(work, url=store.url, seconds=min(waiting.wait_s(), _MOST_S))
