"""Runs a command as a user who is not root, for suites that root runs.

    python tests/plain_user.py UID DIRECTORY... -- COMMAND...

Switches to an id without groups and capabilities, in mounts of its own in which the DIRECTORIES can
be reached that lie below a private one (an interpreter in /root, say). The machine stays as it is.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rekindle.linux import mounts, namespaces, processes


def _make_reachable(directories: list[Path]) -> None:
    """Mount an empty directory over each private one on the way, and what is wanted back in it."""
    private: dict[Path, list[tuple[Path, int]]] = {}
    for directory in directories:
        for above in reversed(directory.parents):
            if not above.stat().st_mode & 0o001:
                held = os.open(directory, os.O_PATH | os.O_DIRECTORY)
                private.setdefault(above, []).append((directory, held))
                break
    for above, wanted in private.items():
        mounts.mount("tmpfs", str(above), "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV, "mode=755")
        for directory, held in wanted:
            directory.mkdir(parents=True, exist_ok=True)
            mounts.mount(
                f"/proc/self/fd/{held}", str(directory), flags=mounts.MS_BIND | mounts.MS_REC
            )


def main(argv: list[str]) -> None:
    """Never returns."""
    if argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
        sys.exit()
    if "--" not in argv[2:-1] or not argv[1].isdecimal():
        sys.exit(f"{__doc__}\nGive all three: a numeric UID, -- and a COMMAND.")
    at = argv.index("--")
    uid = int(argv[1])
    namespaces.unshare(namespaces.CLONE_NEWNS)
    mounts.make_private()
    _make_reachable([Path(path).resolve() for path in argv[2:at]])
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    processes.die_with_parent()
    os.execvp(argv[at + 1], argv[at + 1 :])


if __name__ == "__main__":
    main(sys.argv)
