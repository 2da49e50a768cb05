"""What this machine can do of what lazy files need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rekindle.blobs import erofs
from rekindle.blobs.lazy import libfuse
from rekindle.exception import SetupError
from rekindle.linux import mounts


def _why_no_fuse() -> str:
    try:
        libfuse.find()
    except SetupError as error:
        return str(error)
    return ""


_NO_FUSE = _why_no_fuse()
needs_fuse = pytest.mark.skipif(bool(_NO_FUSE), reason=_NO_FUSE or "FUSE is there")


def _why_no_erofs() -> str:
    if os.geteuid() != 0:
        return "only root mounts an EROFS file"
    if not erofs.kernel_has_it():
        return "this kernel has no EROFS"
    try:
        erofs.find()
    except SetupError as error:
        return str(error)
    return ""


_NO_EROFS = _why_no_erofs()
needs_erofs = pytest.mark.skipif(bool(_NO_EROFS), reason=_NO_EROFS or "it is there")


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes, as long as the block lasts; mounted here, so it needs root."""
    place.mkdir()
    mounts.mount("tmpfs", str(place), "tmpfs", data=f"size={size},mode=700")
    try:
        yield place
    finally:
        mounts.unmount(str(place))
