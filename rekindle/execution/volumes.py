"""Which volumes this process has, and at which paths. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mounted:
    """``path`` shows the directory ``below`` of the volume whose files lie in ``root``."""

    path: str
    root: str
    below: str


#: Of a runner; empty in every other process.
mounted: list[Mounted] = []
