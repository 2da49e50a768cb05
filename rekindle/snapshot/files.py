"""Hashing and syncing files, and the files that a live process has loaded."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import xxhash

from rekindle.snapshot.manifest import LoadedFile

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


def loaded_files(pid: int | str = "self", modules: Iterable[str] = ()) -> dict[str, LoadedFile]:
    """Files that a live process has mapped, and the ``modules``' files, as they are now.

    ``pid`` as numbered under this process's /proc. Deleted files and devices are left out: what
    they held is in the snapshot itself. Raises OSError when the process is gone.
    """
    names = {os.path.abspath(path) for path in modules}
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            fields = line.rstrip("\n").split(None, 5)
            if len(fields) == 6 and fields[5].startswith("/"):
                names.add(fields[5])
    found: dict[str, LoadedFile] = {}
    for name in sorted(names):
        if name.endswith(" (deleted)") or name.startswith(("/dev/", "/memfd:", "/SYSV")):
            continue
        try:
            info = os.stat(name)
        except OSError:
            continue  # a module inside a zip file, or gone since: nothing to compare with
        found[name] = LoadedFile(info.st_size, info.st_mtime_ns)
    return found
