"""Messages as they were stored: one that is damaged hides no others. Knows nothing of where."""

from __future__ import annotations

import logging
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)


def read(kind: type[M], raw: bytes, of: str) -> M | None:
    """A message ``of`` something that was stored; None where it cannot be read, which is logged."""
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        name = kind.DESCRIPTOR.name
        log.error("what is stored cannot be read", extra=kv(kind=name, of=of, reason=error))
        return None
