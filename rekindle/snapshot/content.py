"""Files that several snapshots have in common are stored once.

``ROOT/.content/HASH-SIZE`` is one more name of each large file in the store. A new snapshot whose
file has the same content gets that file instead of its own; a file that has no other name left is
removed. Files are only ever linked and unlinked here, never written: processes have them mapped.
"""

from __future__ import annotations

import contextlib
import filecmp
import logging
import os
import re
from pathlib import Path

from rekindle.linux.disk_use import Inode
from rekindle.snapshot import stamp
from rekindle.snapshot.files import locked
from rekindle.snapshot.manifest import IMAGES, MAPPED, Manifest
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

DIRECTORY = ".content"
#: Smaller files are not worth a name.
LARGE_BYTES = 64 << 10

_NAME = re.compile(r"[0-9a-f]{32}-\d+\Z")


def share(root: Path, draft: Path, manifest: Manifest) -> int:
    """Replace large files of a draft by those of the same content; bytes saved. Raises OSError.

    All files have been synced, and none is in use yet.
    """
    saved = 0
    for path, item in manifest.content.items():
        if item.size < LARGE_BYTES:
            continue
        part, _, name = path.partition("/")
        names = [draft / path]
        if part == IMAGES and name in manifest.mapped_links:
            names.append(draft / MAPPED / name)
        if _share_one(root, root / DIRECTORY / f"{item.xxh3}-{item.size}", names):
            saved += item.size
    return saved


def _share_one(root: Path, kept: Path, names: list[Path]) -> bool:
    """Whether ``names`` are now names of the file that was kept already."""
    try:
        before = kept.stat()
        # The hash finds it; only the bytes prove it.
        same = filecmp.cmp(kept, names[0], shallow=False)
    except FileNotFoundError:
        before, same = None, False
    with locked(root):
        now = _stat(kept)
        if before is None and now is not None:
            return False  # another agent was quicker; the next snapshot may share with it
        if before is not None and (now is None or not os.path.samestat(before, now)):
            return False
        if not same:
            if now is not None:
                log.warning("kept file is corrupt", extra=kv(path=kept))
            kept.parent.mkdir(exist_ok=True, mode=0o700)
            _link(names[0], kept)
            return False
        assert now is not None
        with stamp.unbroken(stamp.holders(root, {now.st_ino})):
            for name in names:
                _link(kept, name)
    return True


def _link(existing: Path, name: Path) -> None:
    """Make ``name`` a name of ``existing``, whatever it was a name of before."""
    new = name.with_name(f".new-{os.urandom(6).hex()}")
    os.link(existing, new)
    try:
        os.replace(new, name)
    except BaseException:
        new.unlink()
        raise


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def drop_unused(root: Path) -> None:
    """Remove kept files that no snapshot and no draft has, and leavings.

    The caller has the lock.
    """
    directory = root / DIRECTORY
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        if not _NAME.match(path.name) or path.lstat().st_nlink == 1:
            path.unlink()
    with contextlib.suppress(OSError):  # there are others
        directory.rmdir()


def shared(root: Path, found: dict[int, Inode]) -> set[int]:
    """Of the files in one snapshot's tree, those that others have, too."""
    kept: set[int] = set()
    with contextlib.suppress(FileNotFoundError):
        kept = {entry.inode() for entry in os.scandir(root / DIRECTORY)}
    return {
        number
        for number, inode in found.items()
        if inode.names > inode.names_here + (1 if number in kept else 0)
    }
