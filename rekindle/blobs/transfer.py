"""Whole files to a store and from it: several chunks at a time, and taken up again after a break.

What is there already is not sent, nor fetched again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rekindle.blobs import waiting
from rekindle.blobs.index import CHUNK_BYTES, Index
from rekindle.blobs.sparse import SparseFile
from rekindle.blobs.store import BlobStore
from rekindle.exception import BlobError

T = TypeVar("T")
R = TypeVar("R")

#: Requests at a time. Each holds a chunk, and the store's answer, in memory.
AT_ONCE = 16

#: ``progress(done, total)``: bytes of the file.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Pushed:
    """A file that is in the store."""

    blob: str
    size: int
    sent_bytes: int  # over the wire: what the store had already is not among them


def push(
    store: BlobStore,
    path: Path,
    *,
    chunk_bytes: int = CHUNK_BYTES,
    at_once: int = AT_ONCE,
    progress: Progress = lambda _done, _total: None,
    overwrite: bool = False,
) -> Pushed:
    """Put a file into the store. It must not change meanwhile.

    ``overwrite``: all of it, in place of what is there, which may be damaged.

    Raises BlobError, BlobStoreError, OSError. What was sent before a break is not sent again.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        count = -(-size // chunk_bytes)
        names: list[str] = [""] * count
        sent = done = 0

        def send(number: int) -> tuple[int, str, int, int]:
            length = min(chunk_bytes, size - number * chunk_bytes)
            data = os.pread(file.fileno(), length, number * chunk_bytes)
            if len(data) != length:
                raise BlobError(f"{path} became shorter while it was put into {store.url}")
            name, packed = store.put_chunk(data, overwrite=overwrite)
            return number, name, packed, length

        for number, name, packed, length in _several(send, range(count), at_once):
            names[number] = name
            sent, done = sent + packed, done + length
            progress(done, size)
        if os.fstat(file.fileno()).st_size != size:
            raise BlobError(f"{path} grew while it was put into {store.url}")
    index = Index(size, chunk_bytes, tuple(names))
    return Pushed(store.put_index(index), size, sent)


def fetch(
    store: BlobStore,
    blob: str,
    target: Path,
    *,
    mode: int = 0o600,
    at_once: int = AT_ONCE,
    progress: Progress = lambda _done, _total: None,
) -> int:
    """Get a blob as a file that is whole when it is at ``target``; bytes received.

    What is on its way lies beside it, in ``.NAME.part``, and is taken up again by the next try.
    Raises BlobNotFoundError, BlobDamagedError, BlobStoreError, also for a store of which nothing
    comes for as long as is waited (waiting.py), BlobError for a disk that does not take it.
    """
    try:
        return _fetch(store, blob, target, mode, at_once, progress)
    except OSError as error:
        raise BlobError(
            f"blob {blob} from {store.url} cannot be kept at {target}: {error.strerror or error}"
        ) from error


def _fetch(
    store: BlobStore, blob: str, target: Path, mode: int, at_once: int, progress: Progress
) -> int:
    what, seconds = f"blob {blob} from the store {store.url}", waiting.wait_s()
    (index,) = waiting.ask_each(store.index, [blob], what=what, at_once=1, seconds=seconds)
    folder = target.with_name(f".{target.name}.part")
    with SparseFile.open(folder, blob, index) as sparse:
        received, done = 0, sparse.bytes_here

        def get(number: int) -> tuple[int, bytes, int]:
            data, packed = store.get_chunk(index.chunks[number], index.length_of(number), blob)
            return number, data, packed

        missing = list(sparse.missing())
        with closing(
            waiting.ask_each(get, missing, what=what, at_once=at_once, seconds=seconds)
        ) as arriving:
            for number, data, packed in arriving:
                # Here, and not in a thread, which may be left behind when the file is closed.
                sparse.write(number, data)
                received, done = received + packed, done + len(data)
                progress(done, index.size)
        sparse.complete(target, mode)
    return received


def _several(work: Callable[[T], R], items: Iterable[T], at_once: int) -> Iterable[R]:
    """The results of work on all items, as they come; no more begins after one has failed."""
    waiting: set[Future[R]] = set()
    with ThreadPoolExecutor(at_once, thread_name_prefix="blob") as threads:
        try:
            for item in items:
                if len(waiting) >= 2 * at_once:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for one in done:
                        yield one.result()
                waiting.add(threads.submit(work, item))
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for one in done:
                    yield one.result()
        finally:
            for one in waiting:
                one.cancel()
