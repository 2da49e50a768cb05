"""Which files a template was made from: modules, shared libraries, what it read of the project.

A snapshot is refused when one of them changed.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Sequence

from rekindle.linux import maps
from rekindle.runtime.runner import program

#: What is said of a file that cannot be looked at: no file is so, and a snapshot of it not used.
NOT_KNOWN = [-1, -1]
_NOT_JUST_NOW = (errno.EIO, errno.ESTALE, errno.ENOMEM, errno.ETIMEDOUT, errno.EINTR)


def files(volumes: Sequence[Sequence[str]] = ()) -> dict[str, list[int]]:
    """Path -> [size in bytes, modification time in ns]; files that are gone are left out.

    ``volumes``: directories that are seen here, and where the machine has them: so they are named.
    """
    paths = set()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and os.path.isabs(path):
            paths.add(path)
    for area in maps.mappings():
        # What is mapped for writing by all (SQLite's index) changes, and is meant to.
        is_written = area.permissions[1] == "w" and area.permissions[3] == "s"
        if area.path.startswith("/") and not is_written:
            paths.add(area.path)
    paths -= program.sent_files()  # their content is in the bundle, and in the snapshot's name
    paths |= program.read_files()
    found = {}
    for path in paths:
        try:
            info = os.stat(path)
        except OSError as error:
            if error.errno in _NOT_JUST_NOW:
                found[_at_home(path, volumes)] = NOT_KNOWN
            continue  # deleted, or inside an archive
        if stat.S_ISREG(info.st_mode):
            found[_at_home(path, volumes)] = [info.st_size, info.st_mtime_ns]
    return found


def _at_home(path: str, volumes: Sequence[Sequence[str]]) -> str:
    for seen, lies in volumes:
        if path.startswith(f"{seen}/"):
            return lies + path[len(seen) :]
    return path
