"""Whether a Redis keeps what it is given, as far as it tells of its own settings (INFO).

Its user may not be let ask; then nothing is known. Knows nothing of what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KEEPS_ALL = "noeviction"


def evicts(info: Mapping[str, Any]) -> str:
    """By which settings it gives up keys when its memory is full; empty where it gives up none."""
    policy, most = info.get("maxmemory_policy", _KEEPS_ALL), info.get("maxmemory", 0)
    if policy == _KEEPS_ALL or not most:
        return ""
    return f"maxmemory {most}, maxmemory-policy {policy}"


def may_lose(info: Mapping[str, Any]) -> str:
    """What of all that is in it may be lost, and what to set; empty where it keeps all."""
    if by := evicts(info):
        return (
            f"Redis gives up what is queued when its memory is full ({by}): "
            f"set `maxmemory-policy {_KEEPS_ALL}` there"
        )
    if not info.get("aof_enabled", 1):
        return (
            "Redis writes what it takes to no file (appendonly no): when it ends, what is queued "
            "since it last saved all is lost; set `appendonly yes` there"
        )
    return ""
