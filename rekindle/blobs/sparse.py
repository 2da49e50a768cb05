"""A blob on its way to this machine: a sparse file, and which of its chunks are there.

A folder holds ``data``, ``have`` (a byte for each chunk) and ``about.json``. A chunk is noted after
it was written, so that a process that is killed leaves nothing that is taken for what it is not;
after the machine was started again all that is there is verified, as the disk may have kept the
note and not the chunk. The folder belongs to one process at a time.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from rekindle.blobs import index as index_room
from rekindle.blobs.index import Index
from rekindle.exception import BlobError
from rekindle.linux import files
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

DATA, HAVE, ABOUT, LOCK = "data", "have", "about.json", "lock"


class SparseFile:
    """See the module. Methods may be called from several threads."""

    def __init__(self, folder: Path, index: Index, lock_fd: int) -> None:
        self.folder = folder
        self.index = index
        self._lock_fd = lock_fd
        self._data = self._have = -1
        self._bits = bytearray(len(index.chunks))
        self._missing = len(index.chunks)
        self._noting = threading.Lock()
        self.bytes_here = 0

    @classmethod
    def open(cls, folder: Path, blob: str, index: Index) -> SparseFile:
        """Begin, or go on where it was left. Raises BlobError while another process has it."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock_fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not files.try_lock(lock_fd):
                raise BlobError(f"blob {blob} is being fetched to {folder} by another process")
            made = cls(folder, index, lock_fd)
            made._begin(blob)
        except BaseException:
            os.close(lock_fd)
            raise
        return made

    def _begin(self, blob: str) -> None:
        about = self._read_about()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        if about.get("blob") != blob:
            flags |= os.O_TRUNC
        self._data = os.open(self.folder / DATA, flags, 0o600)
        self._have = os.open(self.folder / HAVE, flags, 0o600)
        os.ftruncate(self._data, self.index.size)
        count = len(self.index.chunks)
        noted = os.pread(self._have, count, 0)
        certain = about.get("boot") == _boot_id()
        os.ftruncate(self._have, count)
        for number in range(count):
            here = self.index.is_hole(number)
            if not here and number < len(noted) and noted[number] == 1:
                here = certain or self._verified(number)
                if not here:
                    os.pwrite(self._have, b"\0", number)
            if here:
                self._count(number)
        text = json.dumps({"blob": blob, "boot": _boot_id()})
        (self.folder / ABOUT).write_text(text)

    def _read_about(self) -> dict[str, str]:
        try:
            raw = json.loads((self.folder / ABOUT).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return raw if isinstance(raw, dict) else {}

    def _verified(self, number: int) -> bool:
        data = os.pread(self._data, self.index.length_of(number), number * self.index.chunk_bytes)
        return index_room.digest(data) == self.index.chunks[number]

    # ---- chunks --------------------------------------------------------------------------------

    def has(self, number: int) -> bool:
        """Whether a chunk is there."""
        return self._bits[number] == 1

    @property
    def is_complete(self) -> bool:
        """Whether all are there."""
        return self._missing == 0

    def missing(self) -> Iterator[int]:
        """The numbers of the chunks that are not there."""
        return (number for number in range(len(self._bits)) if not self._bits[number])

    def write(self, number: int, data: bytes) -> None:
        """Keep a chunk that was verified. Raises OSError (a full disk)."""
        position, left = number * self.index.chunk_bytes, memoryview(data)
        while left:
            count = os.pwrite(self._data, left, position)
            position, left = position + count, left[count:]
        os.pwrite(self._have, b"\1", number)
        self._count(number)

    def _count(self, number: int) -> None:
        with self._noting:
            if not self._bits[number]:
                self._bits[number] = 1
                self._missing -= 1
                self.bytes_here += self.index.length_of(number)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of a range whose chunks are there."""
        return os.pread(self._data, size, offset)

    @property
    def disk_bytes(self) -> int:
        """What it takes of the disk."""
        return os.fstat(self._data).st_blocks * 512

    # ---- the end -------------------------------------------------------------------------------

    def complete(self, target: Path, mode: int) -> None:
        """Give the file, all of which is there, its place, durably; what is open stays so.

        A second time it is copied, and so it is to another file system. Raises OSError.
        """
        draft = self.folder / DATA
        if not draft.exists() or self.folder.stat().st_dev != target.parent.stat().st_dev:
            draft = target.with_name(f".{target.name}.copy")
            with open(draft, "wb") as copy:
                for offset in range(0, self.index.size, self.index.chunk_bytes):
                    copy.write(self.read(offset, self.index.chunk_bytes))
                copy.flush()
                os.fsync(copy.fileno())
        os.fsync(self._data)
        os.chmod(draft, mode)
        os.replace(draft, target)
        files.sync(target.parent)
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Let go of it; what is there is kept for the next one. May be called again."""
        for fd in (self._data, self._have, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._data = self._have = self._lock_fd = -1

    def __enter__(self) -> SparseFile:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def remove(folder: Path) -> None:
    """Unlink all of a folder that is free."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        log.warning("not removed", extra=kv(path=folder))


def is_free(folder: Path) -> bool:
    """Whether no process has a folder at this moment."""
    try:
        fd = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        return files.try_lock(fd)
    finally:
        os.close(fd)


def _boot_id() -> str:
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as source:
        return source.read().strip()
    return ""
