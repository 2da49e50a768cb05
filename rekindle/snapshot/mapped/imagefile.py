"""CRIU's image files, message by message.

An image is two magic numbers and a sequence of protobuf messages, each after its length. The
message classes are pycriu's generated ones; its dictionary layer is not used, as it is slow and
loses what it does not know.
"""

from __future__ import annotations

import importlib
import struct
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf.message import DecodeError

from rekindle.exception import SnapshotInvalidError
from rekindle.snapshot import pycriu

_U32 = struct.Struct("<I")
_MAGIC_BYTES = 8
#: First number of every image of this layout.
_COMMON_MAGIC = 0x54564319


def messages(name: str) -> ModuleType:
    """A module of pycriu's generated message classes, ``mm_pb2`` say. Raises CriuNotFoundError."""
    pycriu.images()
    return importlib.import_module(f"pycriu.images.{name}")


@dataclass
class ImageFile:
    """One image in memory: its magic numbers and its messages."""

    magic: bytes
    entries: list[Any]

    def write(self, path: Path) -> None:
        """Write it to a new file."""
        with path.open("xb") as file:
            file.write(self.magic)
            for entry in self.entries:
                raw = entry.SerializeToString()
                file.write(_U32.pack(len(raw)))
                file.write(raw)


def read(path: Path, entry: type[Any], first: type[Any] | None = None) -> ImageFile:
    """Read an image whose messages are ``entry``, the first one ``first`` if that is given.

    Raises SnapshotInvalidError for anything that is not such an image, and when it is missing.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise SnapshotInvalidError(f"{path.name} is missing") from None
    if len(data) < _MAGIC_BYTES or _U32.unpack_from(data)[0] != _COMMON_MAGIC:
        raise SnapshotInvalidError(f"{path.name} is not a CRIU image")
    entries: list[Any] = []
    position = _MAGIC_BYTES
    while position < len(data):
        if position + _U32.size > len(data):
            raise SnapshotInvalidError(f"{path.name} ends inside a message")
        (size,) = _U32.unpack_from(data, position)
        position += _U32.size
        if position + size > len(data):
            raise SnapshotInvalidError(f"{path.name} ends inside a message")
        message = (first if first is not None and not entries else entry)()
        try:
            message.ParseFromString(data[position : position + size])
        except DecodeError as error:
            raise SnapshotInvalidError(f"{path.name} holds a broken message: {error}") from error
        entries.append(message)
        position += size
    return ImageFile(data[:_MAGIC_BYTES], entries)
