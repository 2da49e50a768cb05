"""Hashing files, and writing them so that they outlast a power cut."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import xxhash

_CHUNK = 4 << 20


def hash_file(path: Path, *, sync: bool = False) -> str:
    """xxh3 (128 bits, hex) of a file's content; with ``sync`` it is on disk afterwards.

    Raises OSError.
    """
    state = xxhash.xxh3_128()
    buffer = memoryview(bytearray(_CHUNK))
    with open(path, "rb", buffering=0) as source:
        if sync:
            os.fsync(source.fileno())
        while count := source.readinto(buffer):
            state.update(buffer[:count])
    return state.hexdigest()


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


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


def is_full(error: OSError) -> bool:
    """Whether an error means that there is no space, by disk or by quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
