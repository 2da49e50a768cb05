"""Fetch libfuse and mkfs.erofs as Debian packages into private prefixes; verified, not installed.

libfuse is loaded into our own process, so it is of the machine's own release; mkfs.erofs is run by
the C library that comes with it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

from rekindle.blobs import erofs
from rekindle.blobs.lazy import libfuse
from rekindle.debian.prefix import replace, unpacked
from rekindle.exception import SetupError

#: As of ``rekindle.debian.apt``.
Progress = Callable[[str, int, int], None]

#: The package with the library, by the release.
_LIBFUSE = {"bookworm": "libfuse3-3", "trixie": "libfuse3-4", "forky": "libfuse3-4"}
#: Whose mkfs.erofs is fetched.
_EROFS_RELEASE = "trixie"


def fetch_libfuse(prefix: Path, progress: Progress) -> Path:
    """Make ``prefix`` hold a libfuse; its path. Raises SetupError."""
    otherwise = "or install libfuse3 (apt-get install libfuse3-3)"
    try:
        release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        release = ""
    if release not in _LIBFUSE:
        known = ", ".join(sorted(_LIBFUSE))
        raise SetupError(
            f"libfuse3 is fetched for Debian's releases ({known}), not for {release!r}; install "
            "the machine's own"
        )
    packages = ((), (_LIBFUSE[release],))
    with unpacked(
        *(prefix, release, *packages, progress), what="libfuse3", otherwise=otherwise
    ) as tree:
        if libfuse.at(tree) is None:
            raise SetupError(f"{_LIBFUSE[release]} of Debian {release} holds no libfuse3.so.*")
        replace(prefix, tree)
    found = libfuse.at(prefix)
    assert found is not None
    return found


def fetch_erofs(prefix: Path, progress: Progress) -> list[str]:
    """Make ``prefix`` hold a mkfs.erofs; its command. Raises SetupError."""
    packages = (("erofs-utils",), ())
    with unpacked(
        *(prefix, _EROFS_RELEASE, *packages, progress),
        what="mkfs.erofs",
        otherwise="or install erofs-utils",
    ) as tree:
        if erofs.at(tree) is None:
            raise SetupError(f"erofs-utils of Debian {_EROFS_RELEASE} cannot be run from a prefix")
        replace(prefix, tree)
    found = erofs.at(prefix)
    assert found is not None
    return found
