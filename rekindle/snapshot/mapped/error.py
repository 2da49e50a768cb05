"""The refusal to map a snapshot: it is whole, and restored by copying."""

from __future__ import annotations

from rekindle.exception import SnapshotError


class NotMappableError(SnapshotError):
    """The snapshot is restored by copying; the message says why."""
