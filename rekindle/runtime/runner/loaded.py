"""Which files a template was made from: its modules and its shared libraries.

A snapshot is refused when one of them changed.
"""

from __future__ import annotations

import os
import sys


def files() -> dict[str, list[int]]:
    """Path -> [size in bytes, modification time in ns]; files that are gone are left out."""
    paths = set()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and os.path.isabs(path):
            paths.add(path)
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.split(maxsplit=5)
            # What is mapped for writing by all (SQLite's index) changes, and is meant to.
            is_written = fields[1][1] == "w" and fields[1][3] == "s"
            if len(fields) == 6 and fields[5].startswith("/") and not is_written:
                paths.add(fields[5].rstrip("\n"))
    found = {}
    for path in paths:
        try:
            stat = os.stat(path)
        except OSError:
            continue  # deleted, or inside an archive
        found[path] = [stat.st_size, stat.st_mtime_ns]
    return found
