"""The line of the agent's log by which the spawner, or a copy of it, says why it ends."""

from __future__ import annotations

import os


def say(event: str, error: BaseException) -> None:
    """Write the line."""
    try:
        from rekindle.wire.logs import last_words  # a spawner that works needs no logging
    except ImportError:  # in the root of an image
        os.write(2, f"spawner: {event}: {type(error).__name__}: {error}\n".encode())
    else:
        os.write(2, last_words("spawner", event, error))
