"""The files of a store: hashed, written so that they outlast a power cut, locked."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import mmap
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xxhash

from rekindle.linux.files import lock, sync, try_lock
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Who waits longer for the store's lock says so: an agent that starts does, for one.
_LONG_S = 1.0

_CHUNK = 4 << 20
#: Of a store: held for moments, by whoever adds, moves or removes names in it.
LOCK = ".lock"


def hash_file(path: Path, *, sync: bool = False, direct: bool = False) -> str:
    """xxh3 (128 bits, hex) of a file's content; with ``sync`` it is on disk afterwards.

    ``direct`` reads what is on the disk and leaves the page cache alone, where the file system can.
    Raises OSError.
    """
    if direct:
        try:
            return _hash(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return _hash(fd, sync=sync)


def _hash(fd: int, *, sync: bool = False) -> str:
    state = xxhash.xxh3_128()
    try:
        # Anonymous memory, as it is aligned, which direct reads ask for.
        with mmap.mmap(-1, _CHUNK) as buffer, memoryview(buffer) as view:
            if sync:
                os.fsync(fd)
            while count := os.readv(fd, [view]):
                with view[:count] as part:
                    state.update(part)
    finally:
        os.close(fd)
    return state.hexdigest()


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    sync(path)


def write_durably(path: Path, text: str) -> None:
    """Write a new file whole: after a crash it is there as given, or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(draft, "w", encoding="utf-8") as target:
            target.write(text)
            target.flush()
            os.fsync(target.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Unlink everything in a directory, and it; what stays is logged.

    Files are not written to on the way: processes go on with what they have mapped.
    """
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        log.warning("not removed", extra=kv(path=path))


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Be the only one, among all processes and threads, that changes the store in ``root``.

    Goes with the process. Not to be taken twice by one thread.
    """
    fd = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not try_lock(fd):
            began = time.monotonic()
            lock(fd)
            if (waited_s := time.monotonic() - began) > _LONG_S:
                log.warning("store was locked", extra=kv(path=root, waited_s=round(waited_s, 1)))
        yield
    finally:
        os.close(fd)


# ---- what costs a second look when it is lost, no more -----------------------------------------


#: Of a place where no file can be.
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


def recall(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none that can be read, which is logged."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if not isinstance(error, OSError) or error.errno not in _NOT_THERE:
            log.warning("notes unreadable, made again", extra=kv(path=path, reason=error))
        return {}
    return raw if isinstance(raw, dict) else {}


def remember(path: Path, notes: dict[str, Any]) -> None:
    """Write them for ``recall``; a failure is logged."""
    try:
        write_durably(path, json.dumps(notes))
    except OSError as error:
        log.warning("notes not kept", extra=kv(path=path, reason=error))
