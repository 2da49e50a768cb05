"""Requests of the contract as JSON: for programs that end before gRPC would have been loaded.

A frame is a length and a JSON object; messages in it are those of the .proto by the names of its
fields (protobuf's own JSON form), so nothing is described twice. The first frame of a connection
says the token. Then each request has a number, by which its answers name it: any number of replies,
and an end. Standard library only.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Any

from rekindle import exception
from rekindle.wire.error_names import public_name

Frame = dict[str, Any]

_SIZE = Struct("!I")
#: What is larger goes by gRPC.
MAX_FRAME_BYTES = 4 << 20


def pack(frame: Mapping[str, Any]) -> bytes:
    """The bytes of a frame."""
    data = json.dumps(frame, default=_plain, separators=(",", ":")).encode()
    return _SIZE.pack(len(data)) + data


def _plain(value: object) -> str:
    """Bytes, as protobuf has them in JSON."""
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} is in no message")
    return binascii.b2a_base64(value, newline=False).decode()


def taken(buffer: bytearray) -> Iterator[Frame]:
    """The whole frames at the beginning of a buffer, which are taken out of it.

    Raises ValueError for what is no frame.
    """
    while len(buffer) >= _SIZE.size:
        (size,) = _SIZE.unpack_from(buffer)
        if size > MAX_FRAME_BYTES:
            raise ValueError("a frame is too long")
        end = _SIZE.size + size
        if len(buffer) < end:
            return
        frame = json.loads(buffer[_SIZE.size : end])
        del buffer[:end]
        if not isinstance(frame, dict):
            raise ValueError("a frame is no object")
        yield frame


def error_frame(number: int, error: exception.Error) -> bytes:
    """The end of a request that failed."""
    return pack({"id": number, "error": [public_name(error), str(error)]})


def error_in(frame: Frame) -> exception.Error | None:
    """What a request failed with, where it did."""
    if "error" not in frame:
        return None
    name, text = frame["error"]
    kind = getattr(exception, name, None)
    if isinstance(kind, type) and issubclass(kind, exception.Error):
        return kind(text)
    return exception.ServiceError(text)
