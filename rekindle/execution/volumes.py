"""Which volumes this process has, and at which paths. Standard library only."""

from __future__ import annotations

from typing import NamedTuple


class Mounted(NamedTuple):
    """A volume at a path, with the name that it had when it came there; a bucket has none."""

    path: str
    environment: str
    name: str
    id: str


#: Of a runner; of a template, too, whose code and hooks have them. Empty in other processes.
mounted: list[Mounted] = []


def id_of(environment: str, name: str) -> str:
    """Of the volume that this process has by that name; "" where it has none."""
    for one in mounted:
        if name and (one.environment, one.name) == (environment, name):
            return one.id
    return ""
