"""Runs a command to which a directory is a small disk of its own, for tests of full disks.

    python tests/small_disk.py DIRECTORY SIZE COMMAND...

The disk is a tmpfs in mounts of the command's own, for a plain user in a user namespace of its own:
it ends with it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rekindle.linux import mounts, namespaces


def main(directory: str, size: str, *command: str) -> None:
    """Never returns."""
    if os.geteuid() == 0:
        namespaces.unshare(namespaces.CLONE_NEWNS)
    else:
        namespaces.enter_user_namespace(namespaces.CLONE_NEWNS)
    mounts.make_private()
    mounts.mount("tmpfs", directory, "tmpfs", data=f"size={size},mode=700")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
