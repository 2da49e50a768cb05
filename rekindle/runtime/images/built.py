"""An image that is there: what a start needs to know of it. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BuiltImage:
    """Layers to stack, and the settings that what runs in them has.

    The host image, the node's own files, is no BuiltImage: None stands for it.
    """

    #: A hash of the layers as they were built here and of all that is added at start: another
    #: build of the same steps has another name, as its files may differ.
    name: str
    #: Directories of the layers, the topmost first; for overlayfs, read-only.
    lowers: tuple[Path, ...]
    #: Which directories those were, as ``identity`` has it: another build takes the same place.
    layers: tuple[tuple[int, int], ...]
    #: Those of them at which one file is to be mounted, by who makes a root of them.
    packed: tuple[Path, ...]
    #: Variables, later ones over those of the node; in the order of their names.
    env: tuple[tuple[str, str], ...]
    #: Made in the root where it is missing.
    workdir: str | None
    entrypoint: tuple[str, ...]
    #: The interpreter's path inside the root, and its version, as in "3.13".
    python: str
    python_version: str
    #: Files and folders shown read-only: where they are on the node, and where in the root.
    mounts: tuple[tuple[Path, str], ...]

    def is_there(self) -> bool:
        """Whether its layers are where they were, and the same: one may have been removed since, or
        built again."""
        try:
            return tuple(map(identity, self.lowers)) == self.layers
        except OSError:
            return False


def identity(directory: Path) -> tuple[int, int]:
    """Tells a directory from another at its place. Raises OSError where there is none."""
    found = directory.stat()
    return found.st_dev, found.st_ino
