"""A directory as one file, which can be a blob.

An EROFS file, which is mounted where it lies, also while it arrives; a tar archive, which is
unpacked once it is here, where there is no mkfs.erofs. Knows nothing of images.
"""

from __future__ import annotations

import logging
from enum import Enum
from pathlib import Path

from rekindle.blobs import archive, erofs
from rekindle.exception import LayerError, SetupError
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)


class Packing(Enum):
    """How a directory is one file."""

    EROFS = "erofs"
    TAR = "tar"


def pack_layer(directory: Path, target: Path, packing: Packing | None = None) -> Packing:
    """Write a directory to a new file: as EROFS where this machine can, unless ``packing`` says.

    Raises LayerError, SetupError where ``packing`` is asked for and cannot be.
    """
    if packing is None:
        try:
            erofs.find()
            packing = Packing.EROFS
        except SetupError as error:
            log.warning("layers are packed as archives", extra=kv(reason=error))
            packing = Packing.TAR
    try:
        if packing is Packing.EROFS:
            erofs.make(directory, target)
        else:
            archive.make(directory, target)
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise LayerError(f"{directory} cannot be packed: {error}") from error
        raise
    return packing
