"""What a pattern of COPY means: files and folders of a build context, by ``*``, ``?`` and ``[]``.

As for Docker none of these stands for a ``/``: ``**`` is what ``*`` is. Links to folders are
followed up to the first part that has one of them, and not from there on. Unlike ``Path.glob`` it
passes over no folder that cannot be listed: a file in it would be missing from the image without a
word. Standard library only.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rekindle.sdk import name_patterns

_Look = Callable[[Path], os.stat_result]

#: Of a name under which no folder is.
_NONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def matching(context: Path, pattern: str, left_out: Callable[[Path], bool]) -> list[Path]:
    """By name. Raises OSError for what cannot be looked at, unless it is ``left_out``, and
    ValueError for what is no pattern."""
    parts = pattern.split("/")
    for part in parts:
        name_patterns.check(part)
    return sorted(_below(context, parts, left_out, os.stat))


def _below(
    folder: Path, parts: Sequence[str], left_out: Callable[[Path], bool], look: _Look
) -> Iterator[Path]:
    first, rest = parts[0], parts[1:]
    if any(sign in first for sign in "*?[\\"):
        look = os.lstat
        listed = _listed(folder, left_out)
        found = [one for one in listed if name_patterns.fits(one.name, first)]
    else:
        found = [folder / first] if _mode(os.lstat, folder / first, left_out) else []
    for one in found:
        if not rest:
            yield one
        elif stat.S_ISDIR(_mode(look, one, left_out)):
            yield from _below(one, rest, left_out, look)


def _listed(folder: Path, left_out: Callable[[Path], bool]) -> list[Path]:
    try:
        return [folder / name for name in os.listdir(folder)]
    except OSError:
        if left_out(folder):
            return []
        raise


def _mode(look: _Look, path: Path, left_out: Callable[[Path], bool]) -> int:
    """0 where there is nothing. Raises OSError where that cannot be told."""
    try:
        return look(path).st_mode
    except OSError as error:
        if error.errno in _NONE or left_out(path):
            return 0
        raise
