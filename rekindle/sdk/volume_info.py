"""What is known of a volume, and how a program names one. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True)
class VolumeInfo:
    """What is known of a volume. ``created_at`` in UTC; ``url``: its store."""

    name: str
    environment: str
    object_id: str
    created_at: datetime
    url: str


@dataclass(frozen=True)
class VolumeReference:
    """A volume as a program names it; ``make``: where it is missing, with this ``url``.

    ``environment`` "": that of whoever looks it up (sdk/environments.py).
    """

    name: str
    environment: str
    id: str = ""
    make: bool = False
    url: str = ""
