"""Which volumes this process has, and at which paths. Standard library only."""

from __future__ import annotations

#: Of a runner: a path, and the folder of the volume that is seen there. Empty in other processes.
mounted: list[tuple[str, str]] = []
