"""Files that share pages on disk, on file systems that can (XFS, Btrfs; not ext4).

The kernel compares the pages itself before it shares them, so nothing that reads a file ever sees
a change. What two templates of the same packages have in common depends on where things lie in
their memory: with random addresses, next to nothing; see docs/snapshots.md.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import xxhash

from rekindle.linux.files import share_range
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

PAGE_BYTES = 4096
#: Shorter runs of equal pages cost more in extents than they save.
MIN_RUN_PAGES = 4
#: Files with more pages are left alone: each page costs some 100 bytes of memory to compare.
MOST_PAGES = 1 << 19

_MOST_AT_ONCE = 16 << 20
_CHUNK = 4 << 20

_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EISDIR, errno.EPERM}
_supported: dict[int, bool] = {}


def supported(directory: Path) -> bool:
    """Whether files in this directory can share pages; found out once for each file system."""
    device = os.stat(directory).st_dev
    if device not in _supported:
        try:
            _supported[device] = _try(directory)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                log.warning("page sharing not tried", extra=kv(path=directory, reason=error))
                return False  # a full disk, say: asked again
            _supported[device] = False
    return _supported[device]


def _try(directory: Path) -> bool:
    fds: list[int] = []
    try:
        for _ in range(2):
            fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fds.append(fd)
            os.write(fd, b"x" * PAGE_BYTES)
            os.fsync(fd)
        return share_range(fds[0], 0, fds[1], 0, PAGE_BYTES) == PAGE_BYTES
    finally:
        for fd in fds:
            os.close(fd)


def share_pages(target: Path, donor: Path) -> int:
    """Let ``target`` share the pages that ``donor`` has, too; bytes shared.

    Neither file's content changes. A failure is logged: it costs disk space, nothing else.
    """
    shared = 0
    try:
        with target.open("rb") as ours, donor.open("rb") as theirs:
            sizes = [os.fstat(file.fileno()).st_size for file in (ours, theirs)]
            if max(sizes) > MOST_PAGES * PAGE_BYTES:
                return 0
            runs = _common_runs(list(_digests(theirs.fileno())), list(_digests(ours.fileno())))
            for there, here, pages in runs:
                shared += _share_run(theirs.fileno(), there, ours.fileno(), here, pages)
    except OSError as error:
        log.warning("pages not shared", extra=kv(path=target, donor=donor, reason=error))
    return shared


def _digests(fd: int) -> Iterator[int]:
    """A digest of each whole page."""
    position = 0
    while chunk := os.pread(fd, _CHUNK, position):
        view = memoryview(chunk)
        for start in range(0, len(chunk) - PAGE_BYTES + 1, PAGE_BYTES):
            yield xxhash.xxh3_64_intdigest(view[start : start + PAGE_BYTES])
        position += len(chunk)


def _common_runs(theirs: list[int], ours: list[int]) -> Iterator[tuple[int, int, int]]:
    """Runs of pages that are equal: page number in theirs, in ours, and how many."""
    first: dict[int, int] = {}
    for number, digest in enumerate(theirs):
        first.setdefault(digest, number)
    here = 0
    while here < len(ours):
        there = first.get(ours[here])
        if there is None:
            here += 1
            continue
        length = 1
        while (
            here + length < len(ours)
            and there + length < len(theirs)
            and ours[here + length] == theirs[there + length]
        ):
            length += 1
        if length >= MIN_RUN_PAGES:
            yield there, here, length
        here += length


def _share_run(source: int, there: int, target: int, here: int, pages: int) -> int:
    done, size = 0, pages * PAGE_BYTES
    while done < size:
        got = share_range(
            source,
            there * PAGE_BYTES + done,
            target,
            here * PAGE_BYTES + done,
            min(size - done, _MOST_AT_ONCE),
        )
        if not got:
            break  # equal digests, other bytes
        done += got
    return done
