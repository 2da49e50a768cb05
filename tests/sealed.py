"""Files of snapshots are sealed: a test that damages one, and is not root, opens it first."""

from __future__ import annotations

from pathlib import Path


def unsealed(file: Path) -> Path:
    """The file, which its owner may write now."""
    file.chmod(0o600)
    return file
