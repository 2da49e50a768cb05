"""What it means that a file of a snapshot cannot be read: it is of no use, or not just now."""

from __future__ import annotations

import errno

from rekindle.exception import SnapshotError, SnapshotInvalidError
from rekindle.linux.passing import is_passing


def passes(error: BaseException) -> bool:
    """Whether the same file may be read later. What a disk has lost (EIO) does not come back."""
    return is_passing(error) and getattr(error, "errno", None) != errno.EIO


def unreadable(key: str, what: str, error: OSError) -> SnapshotError:
    """A SnapshotInvalidError, so that another snapshot is made in its place; a SnapshotError of no
    other kind where nothing is known to be wrong with this one. To be raised from ``error``."""
    kind = SnapshotError if passes(error) else SnapshotInvalidError
    return kind(f"snapshot {key}: {what}: {error.strerror or error}")
