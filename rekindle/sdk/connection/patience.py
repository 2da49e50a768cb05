"""How long a controller may be away before a call fails, and whether it can come back.

Standard library only.
"""

from __future__ import annotations

import os
from pathlib import Path

from rekindle import paths
from rekindle.exception import InvalidError


def connect_timeout_s() -> float:
    """How long a controller may be away before a call fails (REKINDLE_CONNECT_TIMEOUT_S)."""
    text = os.environ.get("REKINDLE_CONNECT_TIMEOUT_S") or "30"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InvalidError(f"REKINDLE_CONNECT_TIMEOUT_S={text!r} must be seconds, 0 or more")
    return seconds


def why_ended(instance: Path) -> str:
    """Why nobody brings an instance back, in words; empty where somebody may."""
    if paths.taken_down_file(instance).exists():
        return "`rekindle down` took it down"
    return "" if instance.exists() else "its directory was removed"
