"""Requests that an agent passes on to the controller, for programs in images, which have no gRPC.

A connection to the agent's direct socket begins with a frame that says ``requests`` and the token
that the controller is to see. Then frames go both ways (wire/frames.py). The program's have the
number of a request and one of: ``method``, with the message as body; ``get`` or ``put``, with the
key of a blob; ``cancel``. The agent's have that number and one of: ``reply``, with a message or a
blob as body, as many as there are; ``end``; ``error``, with type and text; ``lost``: the controller
is away, and whether it has the request is not known. Standard library only.
"""

from __future__ import annotations

from typing import Any

from rekindle.exception import Error
from rekindle.wire import request_frames
from rekindle.wire.frames import Header, pack_frame

#: In place of a request's number: of all that are under way.
ALL = 0
#: No message, and no blob, is larger.
MAX_BODY_BYTES = 1 << 30


def frame(number: int, body: bytes = b"", **said: Any) -> bytes:
    """A whole frame."""
    return pack_frame({"id": number, **said}, len(body)) + body


def failed(number: int, error: Error) -> bytes:
    """The end of a request that failed."""
    return frame(number, error=[type(error).__name__, str(error)])


def error_in(header: Header) -> Error | None:
    """What a request failed with, where it did."""
    return request_frames.error_in(header)
