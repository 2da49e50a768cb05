"""How long a controller may be away before a call fails. Standard library only."""

from __future__ import annotations

import os

from rekindle.exception import InvalidError


def connect_timeout_s() -> float:
    """How long a controller may be away before a call fails (REKINDLE_CONNECT_TIMEOUT_S)."""
    text = os.environ.get("REKINDLE_CONNECT_TIMEOUT_S", "30")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InvalidError(f"REKINDLE_CONNECT_TIMEOUT_S={text!r} must be seconds, 0 or more")
    return seconds
