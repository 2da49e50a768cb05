"""What a store gives out: a snapshot, an entry of its list, how much it holds."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rekindle.linux.disk_use import Inode
from rekindle.snapshot.manifest import IMAGES, MAPPED, Manifest


@dataclass(frozen=True)
class Snapshot:
    """A committed snapshot whose manifest can be read; ``validate`` checks whether it fits."""

    key: str
    path: Path
    manifest: Manifest

    # Each is asked for several times by each restore, and a path takes long to be made.
    @functools.cached_property
    def images(self) -> Path:
        """The images as CRIU dumped them; never written to."""
        return self.path / IMAGES

    @functools.cached_property
    def mapped(self) -> Path:
        """The images that map the page files in ``images``; there only if ``is_mapped``."""
        return self.path / MAPPED

    @property
    def is_mapped(self) -> bool:
        """Whether it can be restored by mapping its memory."""
        return bool(self.manifest.mapping) and not self._moved

    @property
    def why_not_mapped(self) -> str:
        """Why it is restored by copying; "" if it is mapped."""
        if self._moved:
            return "the store was moved since, and mapped images name the page files by their path"
        return self.manifest.not_mapped

    @functools.cached_property
    def _moved(self) -> bool:
        at = self.manifest.mapping.get("page_files_at")
        return at is not None and Path(at).parents[1] != self.path


@dataclass(frozen=True)
class Entry:
    """What the store lists: a snapshot, or the reason why one cannot be read.

    Sizes are bytes on disk, each file counted once however many names it has.
    """

    key: str
    path: Path
    size_bytes: int
    shared_bytes: int  # of which other snapshots hold the same files
    created: float
    last_used: float
    in_use: bool
    snapshot: Snapshot | None
    problem: str
    may_pass: bool  # whether it may be readable later, though it is not now
    inodes: dict[int, Inode]  # its files, by inode number

    @property
    def app(self) -> str:
        """ "" where it cannot be read."""
        return self.snapshot.manifest.app if self.snapshot else ""

    @property
    def function(self) -> str:
        """ "" where it cannot be read."""
        return self.snapshot.manifest.function if self.snapshot else ""


@dataclass(frozen=True)
class Usage:
    """How much the store holds and may hold, and how much more its disk can take; bytes."""

    snapshots: int
    size_bytes: int  # what several snapshots hold is counted once
    shared_bytes: int  # how much more it would be if nothing were shared
    budget_bytes: int
    free_bytes: int


class Removal(NamedTuple):
    """A snapshot that went, or would go, to make room."""

    entry: Entry
    freed_bytes: int
