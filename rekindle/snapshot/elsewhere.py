"""CRIU started where the machine's files are not seen: in the root of an image.

Its loader, libraries and executable come along as open files. What it reads by a path there is of
that root: its feature cache in /run. Only puts arguments together.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field

from rekindle.snapshot.criu import Criu

#: Numbers of the descriptors from here on.
_FIRST_FD = 30
_LIBRARY_PATH = "--library-path"
_LOADERS = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}


@dataclass
class Carried:
    """A command line, and the paths that have to be open at its descriptors."""

    argv: list[str]
    paths: dict[int, str] = field(default_factory=dict)

    def at(self, path: str) -> str:
        """Where the process finds a path of the machine."""
        number = _FIRST_FD + len(self.paths)
        self.paths[number] = path
        return f"/proc/self/fd/{number}"

    def open(self) -> dict[int, int]:
        """The descriptors, opened here; the caller closes them. Raises OSError."""
        opened: dict[int, int] = {}
        try:
            for number, path in self.paths.items():
                opened[number] = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            for fd in opened.values():
                os.close(fd)
            raise
        return opened


def carried(criu: Criu) -> Carried:
    """CRIU's own command line, as ``criu.argv`` is."""
    made = Carried([])
    if len(criu.argv) > 2 and criu.argv[1] == _LIBRARY_PATH:
        loader, libraries, rest = criu.argv[0], criu.argv[2].split(":"), criu.argv[3:]
    else:  # the machine's own, with the libraries of the machine
        machine = platform.machine()
        loader, rest = _LOADERS[machine], criu.argv
        triplet = f"{machine}-linux-gnu"
        libraries = [f"/lib/{triplet}", f"/usr/lib/{triplet}", "/lib64", "/usr/lib64"]
    found = [made.at(one) for one in libraries if os.path.isdir(one)]
    made.argv = [made.at(loader), _LIBRARY_PATH, ":".join(found), *map(made.at, rest[:1])]
    return made
