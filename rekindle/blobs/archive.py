"""A directory as a tar archive, with what overlayfs keeps in extended attributes and devices.

For machines without EROFS. The same files make the same bytes. Not compressed: the store does that
chunk by chunk.
"""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path

from rekindle.exception import LayerError

_XATTR = "SCHILY.xattr."


def make(directory: Path, target: Path) -> None:
    """Write a directory to an archive. Raises OSError."""
    with tarfile.open(target, "x", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, directory, "")


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    info = archive.gettarinfo(path, name or ".")
    if info is None:
        return  # a socket: it has nothing to be kept
    info.uname = info.gname = ""
    # To the nanosecond, as snapshots know a file again by it; tarfile has a float.
    seconds, rest = divmod(path.lstat().st_mtime_ns, 10**9)
    info.pax_headers = {"mtime": f"{seconds}.{rest:09d}"}
    for key in sorted(os.listxattr(path, follow_symlinks=False)):
        value = os.getxattr(path, key, follow_symlinks=False)
        info.pax_headers[f"{_XATTR}{key}"] = value.decode("utf-8", "surrogateescape")
    if info.isreg():
        with open(path, "rb") as file:
            archive.addfile(info, file)
    else:
        archive.addfile(info)
    if info.isdir():
        for entry in sorted(os.listdir(path)):
            _add(archive, path / entry, f"{name}/{entry}".lstrip("/"))


def unpack(archive: Path, directory: Path) -> None:
    """Unpack into an empty directory; nothing is written outside of it.

    Raises LayerError for what is no such archive, OSError.
    """
    times: list[tuple[Path, tarfile.TarInfo]] = []
    try:
        with tarfile.open(archive, "r:") as opened:
            for info in opened:
                place = _place(directory, info.name)
                if info.islnk():
                    os.link(_place(directory, info.linkname), place, follow_symlinks=False)
                    continue
                _make(opened, info, place)
                times.append((place, info))
    except tarfile.TarError as error:
        raise LayerError(f"{archive} is no layer: {error}") from error
    for place, info in reversed(times):  # a directory's after what was made in it
        seconds, _, rest = info.pax_headers.get("mtime", str(info.mtime)).partition(".")
        mtime_ns = int(seconds) * 10**9 + int(f"{rest:0<9}"[:9])
        os.utime(place, ns=(mtime_ns, mtime_ns), follow_symlinks=False)


def _place(directory: Path, name: str) -> Path:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    place = directory.joinpath(*parts)
    # Nothing is written through a link that the archive made before.
    inside = directory
    for part in parts[:-1]:
        inside = inside / part
        if part == ".." or inside.is_symlink():
            raise LayerError(f"a layer holds {name!r}, which leads out of it")
    if parts and parts[-1] == "..":
        raise LayerError(f"a layer holds {name!r}, which leads out of it")
    return place


def _make(opened: tarfile.TarFile, info: tarfile.TarInfo, place: Path) -> None:
    if info.isdir():
        place.mkdir(exist_ok=True)
    elif info.issym():
        os.symlink(info.linkname, place)
    elif info.isreg():
        opened.makefile(info, place)
    elif info.ischr() or info.isblk() or info.isfifo():
        kind = stat.S_IFCHR if info.ischr() else stat.S_IFBLK if info.isblk() else stat.S_IFIFO
        os.mknod(place, kind | 0o600, os.makedev(info.devmajor, info.devminor))
    else:
        raise LayerError(f"a layer holds {info.name!r}, which is of no kind that is known")
    if os.geteuid() == 0:
        os.chown(place, info.uid, info.gid, follow_symlinks=False)
    if not info.issym():
        place.chmod(info.mode)
    for name, value in info.pax_headers.items():
        if name.startswith(_XATTR):
            data = value.encode("utf-8", "surrogateescape")
            os.setxattr(place, name.removeprefix(_XATTR), data, follow_symlinks=False)
