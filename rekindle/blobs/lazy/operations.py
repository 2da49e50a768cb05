"""What FUSE is told: one directory, in which each blob that was opened is a read-only file.

Loads mfusepy, and with it libfuse: for the process that serves, and for no other.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable
from typing import Any

import mfusepy

from rekindle.blobs.lazy.cache import LazyCache
from rekindle.blobs.lazy.file import LazyFile, in_words
from rekindle.exception import BlobError
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: A blob never changes: what was said of it once is kept by the kernel.
_KEPT_S = 86400.0
FILE_MODE = 0o400


class BlobFiles(mfusepy.Operations):  # type: ignore[misc]
    """See the module. ``failed`` is called with a file and why it could not be read, before the
    reader learns of it."""

    use_ns = True

    def __init__(
        self,
        cache: LazyCache,
        ready: Callable[[], None],
        failed: Callable[[LazyFile, Exception], None],
    ) -> None:
        self._cache = cache
        self._ready = ready
        self._failed = failed

    def init_with_config(self, connection: Any, config: Any) -> None:
        """The kernel has answered: from now on files are seen."""
        if config is not None:
            config.use_ino = 1
            config.kernel_cache = 1
            config.entry_timeout = config.attr_timeout = _KEPT_S
            config.negative_timeout = 0.0
        self._ready()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        """stat(2)."""
        own = {"st_uid": os.geteuid(), "st_gid": os.getegid(), "st_mtime": 0, "st_ctime": 0}
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o500, "st_nlink": 2, **own}
        file = self._cache.files.get(path[1:])
        if file is None:
            raise mfusepy.FuseOSError(errno.ENOENT)
        return {
            "st_mode": stat.S_IFREG | FILE_MODE,
            "st_nlink": 1,
            "st_size": file.index.size,
            # Of all filesystems of this machine: what has seen the file knows it again.
            "st_ino": int(file.blob[:15], 16) | 1,
            **own,
        }

    def readdir(self, path: str, fh: int) -> list[str]:
        """The blobs that were opened."""
        return [".", "..", *self._cache.files]

    def open(self, path: str, flags: int) -> int:
        """Read-only, by as many as like."""
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise mfusepy.FuseOSError(errno.EROFS)
        if self._cache.held(path[1:], 1) is None:
            raise mfusepy.FuseOSError(errno.ENOENT)
        return 0

    def release(self, path: str, fh: int) -> int:
        """Closed, unmapped and unmounted by the last of those who had it by one open."""
        self._cache.held(path[1:], -1)
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """A range, once it is there; EIO where it does not come, and the cause is told."""
        file = self._cache.files[path[1:]]
        try:
            return file.read(offset, size)
        except (BlobError, OSError) as error:
            reason = in_words(error, file)
            log.warning("read failed", extra=kv(blob=file.blob, offset=offset, reason=reason))
            self._failed(file, error)
            raise mfusepy.FuseOSError(errno.EIO) from error
