"""What is known of a named secret, and how a function declares one. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True)
class SecretInfo:
    """What is known of a named secret: never its values. Times are in UTC."""

    name: str
    environment: str
    object_id: str
    keys: tuple[str, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class SecretReference:
    """A named secret as a function declares it; ``kept``: variables that it leaves alone."""

    name: str
    environment: str
    id: str
    required_keys: tuple[str, ...]
    kept: tuple[str, ...] = ()
