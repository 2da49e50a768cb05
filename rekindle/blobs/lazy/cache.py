"""The lazy files of one process, in one folder of this machine, within a budget of disk.

Least recently used goes first, and never what is open: a mapping or a mount holds a file open. A
folder may be shared: what another process has is left alone.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rekindle.blobs import sparse as sparse_room
from rekindle.blobs import waiting
from rekindle.blobs.index import Index, check_id
from rekindle.blobs.lazy.fetcher import Fetcher
from rekindle.blobs.lazy.file import LazyFile
from rekindle.blobs.sparse import SparseFile
from rekindle.blobs.store import BlobStore
from rekindle.exception import BlobError, BlobRoomError, BlobStoreError
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)


class LazyCache:
    """See the module."""

    def __init__(
        self,
        root: Path,
        store: BlobStore,
        *,
        budget_bytes: int,
        wait_s: float,
        lost: Callable[[LazyFile, Exception], None],
    ) -> None:
        self.root = root
        self.store = store
        self.budget_bytes = budget_bytes
        self.fetcher = Fetcher(store)
        self.files: dict[str, LazyFile] = {}
        self._kept: set[str] = set()  # asked for by the owner, and not given up yet
        self._wait_s = wait_s
        self._lost = lost
        self._lock = threading.RLock()
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def open(self, blob: str) -> LazyFile:
        """The file of a blob. Raises BlobRoomError, BlobError, OSError."""
        with self._lock:
            if (there := self.files.get(check_id(blob))) is not None:
                self._kept.add(blob)
                return there
        index = waiting.ask(
            lambda: self.store.index(blob), url=self.store.url, seconds=self._wait_s
        )
        with self._lock:
            if (there := self.files.get(blob)) is not None:
                self._kept.add(blob)
                return there
            self.make_room(index.size, why=blob)
            self._kept.add(blob)
            sparse = self._sparse(blob, index)
            file = LazyFile(
                sparse, self.fetcher, self.store.url, wait_s=self._wait_s, lost=self._lost
            )
            self.files[blob] = file
        return file

    def hint(self, blob: str) -> list[int]:
        """The chunks of a blob to fetch first, as far as the store says so in time."""
        try:
            return waiting.ask(
                lambda: self.store.hint(blob), url=self.store.url, seconds=self._wait_s
            )
        except BlobStoreError as error:
            log.warning("no hint", extra=kv(blob=blob, reason=error))
            return []

    def _sparse(self, blob: str, index: Index) -> SparseFile:
        """Where it was left, unless another process goes on with that."""
        for number in itertools.count():
            with contextlib.suppress(BlobError):
                return SparseFile.open(self.root / f"{blob}-{number}", blob, index)
        raise AssertionError("counting ends nowhere")

    def give_up(self, blob: str) -> None:
        """The owner needs a file no longer: it may go, once nobody has it open."""
        with self._lock:
            self._kept.discard(blob)
        self.make_room()

    def held(self, blob: str, by: int) -> LazyFile | None:
        """Count who opens (1) and closes (-1) a file; None where there is no such file."""
        with self._lock:
            file = self.files.get(blob)
            if file is not None:
                file.opened += by
                file.used_at = time.monotonic()
        if by < 0:
            self.make_room()
        return file

    def disk_bytes(self) -> int:
        """What all files here take of the disk."""
        return sum(map(_disk_bytes, self.root.iterdir()))

    def make_room(self, needed_bytes: int = 0, why: str = "") -> None:
        """Remove what nobody uses, the least recently used first, until the budget holds.

        A file that is in use counts as whole. Raises BlobRoomError where too much is in
        use for what is needed.
        """
        with self._lock:
            self._leave_files()
            mine = {file.sparse.folder for file in self.files.values()}
            over = needed_bytes - self.budget_bytes
            over += sum(file.index.size for file in self.files.values())
            others = sorted(set(self.root.iterdir()) - mine, key=_used_at)
            over += sum(map(_disk_bytes, others))
            for folder in others:
                if over <= 0:
                    return
                if sparse_room.is_free(folder):
                    over -= _disk_bytes(folder)
                    log.info("lazy file removed to make room", extra=kv(path=folder))
                    sparse_room.remove(folder)
            if over > 0 and needed_bytes:
                raise BlobRoomError(
                    f"blob {why} has {needed_bytes >> 20} MiB, {over >> 20} MiB more than fit into "
                    f"{self.root} beside what is in use there; raise REKINDLE_LAZY_BYTES"
                )

    def _leave_files(self) -> None:
        """Close what is neither open nor asked for; what has arrived stays on the disk."""
        for blob, file in list(self.files.items()):
            if not file.opened and blob not in self._kept:
                del self.files[blob]
                file.close()

    def close(self) -> None:
        """Fetch nothing more."""
        self.fetcher.close()


def arrived_bytes(root: Path, blob: str) -> int:
    """What has arrived of a blob takes of the disk, whichever processes it came for."""
    return sum(map(_disk_bytes, root.glob(f"{blob}-*")))


def _disk_bytes(folder: Path) -> int:
    try:
        return (folder / sparse_room.DATA).stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def _used_at(folder: Path) -> float:
    try:
        return (folder / sparse_room.HAVE).stat().st_mtime
    except FileNotFoundError:
        return 0.0
