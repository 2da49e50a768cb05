"""Print a lock file without what no Linux installs: `dev/lock_clean.py FILE`.

The resolver answers for every platform. Entries whose marker rules Linux out (and PyTorch, which
dev/lock.sh rules out by such a marker) would be read on each set-up and never be installed.
"""

from __future__ import annotations

import re
import sys

#: Markers that hold on no Linux.
_ELSEWHERE = re.compile(r"sys_platform == '(?!linux')\w+'")


def installed_on_linux(entry: str) -> bool:
    """Whether the marker of an entry, ``name==version ; marker``, may hold on Linux."""
    marker = entry.splitlines()[0].partition(" ; ")[2]
    return any(not _ELSEWHERE.search(part) for part in marker.split(" or "))


def main() -> None:
    """Copy the file of the first argument to stdout, entry by entry."""
    with open(sys.argv[1], encoding="utf-8") as file:
        entries = re.split(r"^(?=[a-z0-9])", file.read(), flags=re.MULTILINE)
    sys.stdout.write("# Written by dev/lock.sh (make lock).\n")
    sys.stdout.writelines(entry for entry in entries if entry.strip() and installed_on_linux(entry))


if __name__ == "__main__":
    main()
