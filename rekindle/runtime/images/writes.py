"""What was written to a root before its process was frozen: one file beside its snapshot.

A tar archive of the directory that overlayfs keeps it in, with the marks by which that says what
was removed: device files, and extended attributes. Standard library only.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tarfile  # an agent without images needs none of it

NAME = "writes.tar"
_XATTR = "SCHILY.xattr."
#: The other attributes are those of one mount.
_KEPT = ("trusted.overlay.opaque", "user.overlay.opaque", "trusted.overlay.whiteout")


def pack(upper: Path, into: Path) -> None:
    """Write the archive into the directory ``into``; none where nothing was written. Raises
    OSError."""
    if not any(upper.iterdir()):
        return
    import tarfile

    with tarfile.open(into / NAME, "w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, upper, ".")


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    info = archive.gettarinfo(str(path), name)
    if info is None:
        return  # a socket: nobody listens to it in a copy
    if not info.issym():
        info.pax_headers = {
            _XATTR + key: os.getxattr(path, key).decode("latin-1")
            for key in os.listxattr(path, follow_symlinks=False)
            if key in _KEPT or not key.startswith(("trusted.", "user.overlay."))
        }
    if info.isreg():
        with path.open("rb") as content:
            archive.addfile(info, content)
    else:
        archive.addfile(info)
    if info.isdir():
        for entry in sorted(path.iterdir()):
            _add(archive, entry, f"{name}/{entry.name}")


def unpack(archive: Path, target: Path) -> None:
    """Make the directory ``target`` of an archive that ``pack`` made. Raises OSError."""
    import tarfile

    target.mkdir(parents=True)
    directories: list[tuple[tarfile.TarInfo, Path]] = []
    try:
        with tarfile.open(archive, "r:") as opened:
            # Our own archive, verified by its hash: names are as they were in the root. Python
            # before 3.11.4 (Debian 12 has 3.11.2) knows no filters, and none is its only way.
            opened.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
            for info in opened:
                whole = not info.isdir() and not info.islnk()  # another name has its owner's mode
                opened.extract(info, target, set_attrs=whole)
                there = target / info.name
                for key, value in info.pax_headers.items():
                    if key.startswith(_XATTR) and not info.islnk():
                        os.setxattr(there, key.removeprefix(_XATTR), value.encode("latin-1"))
                if info.isdir():
                    directories.append((info, there))
        for info, there in reversed(directories):  # their times, once all is in them
            os.chmod(there, info.mode)
            if os.geteuid() == 0:
                os.chown(there, info.uid, info.gid)
            os.utime(there, (info.mtime, info.mtime))
    except tarfile.TarError as error:
        raise OSError(f"{archive} is damaged: {error}") from error
