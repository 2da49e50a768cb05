"""Names that the client makes: app and call ids (so that a request can be sent twice)."""

from __future__ import annotations

import os
import string

from rekindle.wire.callid import new_call_id

__all__ = ["function_id", "new_app_id", "new_call_id"]

_ALPHABET = string.digits + string.ascii_letters


def _random(length: int) -> str:
    number = int.from_bytes(os.urandom(length), "big")
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)


def new_app_id() -> str:
    """``ap-`` and 22 characters."""
    return f"ap-{_random(22)}"


def function_id(revision: str, app_id: str) -> str:
    """The id that a controller gives to a function of this revision in this app."""
    return f"fu-{revision}-{app_id[-8:]}"
