"""A directory as one file, which can be a blob, and that file as a directory again.

An EROFS file, which is mounted where it lies, also while it arrives; a tar archive, which is
unpacked once it is here, where there is no mkfs.erofs. Knows nothing of images.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from rekindle.blobs import archive, erofs, transfer
from rekindle.blobs.lazy.client import LazyFiles
from rekindle.blobs.store import BlobStore
from rekindle.exception import LayerError, SetupError
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)


class Packing(Enum):
    """How a directory is one file."""

    EROFS = "erofs"
    TAR = "tar"


@dataclass(frozen=True)
class LayerBlob:
    """A layer in a store: all that another node needs to have it."""

    blob: str
    packing: Packing
    size: int


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


def push_layer(store: BlobStore, directory: Path, scratch: Path) -> LayerBlob:
    """Put a directory into a store; the packed file lies in ``scratch`` meanwhile.

    Raises LayerError, BlobStoreError.
    """
    target = scratch / f"{directory.name}.layer"
    target.unlink(missing_ok=True)
    packing = pack_layer(directory, target)
    try:
        pushed = transfer.push(store, target)
    finally:
        target.unlink(missing_ok=True)
    return LayerBlob(pushed.blob, packing, pushed.size)


def open_layer(layer: LayerBlob, directory: Path, store: BlobStore, lazy: LazyFiles | None) -> bool:
    """Have a layer at an empty directory; whether it is mounted, and is to be unmounted again.

    By ``lazy`` it is there before it has arrived, where it can be mounted; without, and where it is
    an archive, all of it is fetched first: then beside ``directory``, and kept. Raises BlobError.
    """
    if layer.packing is Packing.EROFS and lazy is not None:
        erofs.mount(lazy.open(layer.blob), directory)
        return True
    file = directory.with_name(f"{directory.name}.{layer.packing.value}")
    try:
        if not file.exists():
            transfer.fetch(store, layer.blob, file, mode=0o400)
        if layer.packing is Packing.EROFS:
            erofs.mount(file, directory)
            return True
        archive.unpack(file, directory)
        file.unlink()
    except OSError as error:
        raise LayerError(f"layer {layer.blob} from {store.url} cannot be kept: {error}") from error
    return False
