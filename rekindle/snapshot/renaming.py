"""A mapped image that changes together with the manifest that describes it: both, or neither.

The new image waits beside the old one until the manifest is written, which makes the change; who
reads that manifest then puts the image in its place, where a killed process has not. Knows nothing
of what is in it.
"""

from __future__ import annotations

import os
from pathlib import Path

from rekindle.snapshot import files
from rekindle.snapshot.manifest import MAPPED, Manifest

FILES_IMAGE = "files.img"
_WAITING = "files.draft"


def waiting(directory: Path) -> Path:
    """Where the next list of files of the snapshot in ``directory`` waits."""
    return directory / MAPPED / _WAITING


def complete(directory: Path, manifest: Manifest) -> None:
    """Put what waits in its place, if it is what the manifest describes. Raises OSError."""
    draft, wanted = waiting(directory), manifest.mapped_files.get(FILES_IMAGE)
    try:
        if wanted is None or draft.stat().st_size != wanted.size:
            return
        if files.hash_file(draft) != wanted.xxh3:
            return  # of a change that was not made
        os.replace(draft, directory / MAPPED / FILES_IMAGE)
    except FileNotFoundError:  # as nearly always; or somebody else was quicker
        return
    files.sync_directory(directory / MAPPED)
