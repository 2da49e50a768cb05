"""Places for the local files that an image shows: over the image's own, in the order in which they
were given, where copies of them would be.

A folder that is alone at its place is shown whole. One that the image has, or that something else
goes into, is shown file by file, so that what else is there can still be seen. Standard library
only. Knows nothing of mounts.
"""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from rekindle.linux.stacked import Kind, kind_of


@dataclass
class ShownFiles:
    """What a root shows, and where; all places are absolute paths in the root."""

    #: Files and whole folders, by place.
    shown: dict[str, str] = field(default_factory=dict)
    #: Folders that have something of several.
    directories: list[str] = field(default_factory=list)
    #: What a link says, by place.
    links: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Given:
    rank: int  # the later covers
    source: str
    target: str


def arrange(
    files: Iterable[tuple[str, str]], others: Collection[str], layers: Sequence[str]
) -> ShownFiles:
    """Places for ``files`` (source, target) over an image's layers, the topmost first.

    ``others``: what else is to have a place in the root. Raises OSError where a file and a folder
    meet at one place.
    """
    found = ShownFiles()
    given = [_Given(rank, *one) for rank, one in enumerate(files)]
    for target in sorted({one.target for one in given}):
        if not any(_below(target, one.target) for one in given):
            _arrange_at(target, given, others, layers, found)
    return found


def _below(target: str, folder: str) -> bool:
    return target != folder and target.startswith(f"{folder.rstrip('/')}/")


def _arrange_at(
    place: str,
    given: Sequence[_Given],
    others: Collection[str],
    layers: Sequence[str],
    found: ShownFiles,
) -> None:
    here = sorted((o for o in given if o.target == place), key=lambda one: one.rank)
    below = [one for one in given if _below(one.target, place)]
    folders = [o for o in here if os.path.isdir(o.source) and not os.path.islink(o.source)]
    there = kind_of(layers, place)
    if not folders and not below:
        if there in (Kind.EMPTY, Kind.FOLDER):
            raise IsADirectoryError(
                errno.EISDIR,
                f"a local file is to be shown at {place}, which is a folder of the image: name "
                f"the file, too, or end the path with a slash",
            )
        if os.path.islink(here[-1].source):
            found.links[place] = os.readlink(here[-1].source)
        else:
            found.shown[place] = here[-1].source
        return
    if len(folders) < len(here) or there is Kind.FILE:
        raise NotADirectoryError(
            errno.ENOTDIR,
            f"a local folder and a file are both to be shown at {place}, or a folder where the "
            f"image has a file: give one of them another path",
        )
    is_alone = len(folders) == 1 and not below and there in (Kind.NOTHING, Kind.EMPTY)
    if is_alone and not any(_below(one, place) for one in others):
        found.shown[place] = folders[0].source
        return
    found.directories.append(place)
    for one in folders:
        for name in os.listdir(one.source):
            inner = _Given(one.rank, os.path.join(one.source, name), posixpath.join(place, name))
            below.append(inner)
    start = len(place.rstrip("/")) + 1
    for name in sorted({one.target[start:].partition("/")[0] for one in below}):
        child = posixpath.join(place, name)
        inside = [one for one in below if one.target == child or _below(one.target, child)]
        _arrange_at(child, inside, others, layers, found)
