"""What is at a path of stacked directories, as overlayfs would show it, without a mount. Standard
library only."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Sequence
from enum import Enum, auto

from rekindle.linux import overlay

_MOST_LINKS = 40


class Kind(Enum):
    """What may be at a path."""

    NOTHING = auto()
    FILE = auto()  # it, or one above it
    EMPTY = auto()  # a folder with nothing in it
    FOLDER = auto()


def kind_of(layers: Sequence[str], path: str) -> Kind:
    """What is at a path of stacked layers, the topmost first; links are followed in them."""
    names = [one for one in path.split("/") if one]
    folders, passed, links = list(layers), "/", 0
    while names:
        name = names.pop(0)
        try:
            at = _stacked(folders, name)
        except PermissionError:
            return Kind.FOLDER  # it may have something, which is not to be hidden
        if isinstance(at, str):  # a link: from the top again
            links += 1
            if links > _MOST_LINKS:
                return Kind.NOTHING
            onto = posixpath.normpath(posixpath.join(passed, at))
            names = [*(one for one in onto.split("/") if one), *names]
            folders, passed = list(layers), "/"
        elif at is None:
            return Kind.FILE
        elif not at:
            return Kind.NOTHING
        else:
            folders, passed = at, posixpath.join(passed, name)
    try:
        return Kind.FOLDER if any(os.listdir(one) for one in folders) else Kind.EMPTY
    except PermissionError:
        return Kind.FOLDER


def _stacked(folders: Sequence[str], name: str) -> list[str] | str | None:
    """What a name in stacked folders is: the folders, none where there is nothing; what a link
    says; None for a file."""
    found: list[str] = []
    for folder in folders:
        entry = os.path.join(folder, name)
        try:
            mode = os.lstat(entry).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISDIR(mode):
            found.append(entry)
            if _is_opaque(entry):
                break
        elif found or stat.S_ISCHR(mode):  # a mark: what is below it is gone
            break
        else:
            return os.readlink(entry) if stat.S_ISLNK(mode) else None
    return found


def _is_opaque(folder: str) -> bool:
    return any(
        overlay.is_marked(folder, mark) for mark in (overlay.OPAQUE, overlay.OPAQUE_OF_A_USER)
    )
