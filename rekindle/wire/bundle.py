"""What the source bundle says of its modules. Standard library only; both sides read it."""

from __future__ import annotations

from typing import NamedTuple

#: The bundle's list of modules: JSON, name -> the fields of ``Sent``.
MANIFEST = "rekindle-modules.json"


class Sent(NamedTuple):
    """A module that travelled."""

    file: str  # where it lies in the program's own file system
    place: str  # in the bundle
    is_package: bool
