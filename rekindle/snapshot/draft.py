"""A snapshot being made: the directory that a dump goes to, until it is committed or discarded."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rekindle.snapshot.entry import Snapshot
from rekindle.snapshot.manifest import IMAGES, Manifest

if TYPE_CHECKING:
    from rekindle.snapshot.store import SnapshotStore


@dataclass
class Draft:
    """A snapshot being made: dump into ``images``, then ``commit``; else ``discard``.

    As a context manager it discards what was not committed.
    """

    store: SnapshotStore
    key: str
    path: Path
    _lock: int
    started: float = field(default_factory=time.time)

    @property
    def images(self) -> Path:
        """The directory to dump into."""
        return self.path / IMAGES

    def commit(self, manifest: Manifest) -> Snapshot:
        """Map, hash and sync the images, write the manifest, put the snapshot in its place.

        Fills in what the manifest says of files and mapping and, where missing, ``pages_bytes`` and
        ``made_because``. Makes room for it afterwards, by the store's budget. When
        another agent has committed the same key since this draft began, that one is kept and
        returned. Raises SnapshotCreateError; the draft is gone then, too.
        """
        try:
            return self.store._commit(self, manifest)
        except OSError as error:
            raise self.store.create_error(error, "keep the snapshot") from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Leave nothing of the draft. May be called again, and after ``commit``."""
        if self._lock >= 0:
            if self.path.exists():  # not committed
                self.store.delete_tree(self.path)
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()
