"""Local files that an image is given: hashed by their content, and a copy kept that stays as it is.

The copy lies beside the images of this machine, under that hash, so a build or a start has what the
program saw when the app was run, whatever is edited meanwhile. Who may not write there, as the
images are root's, has it in rekindle's own directory. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rekindle import paths
from rekindle.exception import InvalidError
from rekindle.linux import holes
from rekindle.sdk.ignore_patterns import Ignored, may_take_back, nothing
from rekindle.wire.images import LocalFiles
from rekindle.wire.usercode import came_by_signal

#: In the folder of a digest.
CONTENT = "content"
_DIGITS = 32
_DRAFT = ".draft-"
_AT_ONCE_BYTES = 1 << 20
#: Of a folder that is another user's, or shown read-only.
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)
_FILE, _PROGRAM, _FOLDER, _LINK = b"file", b"program", b"folder", b"link"


def keep(source: Path, target: str, ignored: Ignored = nothing) -> LocalFiles:
    """A file or folder as it is now. Raises InvalidError for one that cannot be read."""
    try:
        digest = digest_of(source, ignored)
        known = (folder / digest / CONTENT for folder in paths.local_files_dirs())
        kept = next((one for one in known if one.exists()), None) or _copy(source, ignored)
        digest = kept.parent.name
        with contextlib.suppress(OSError):
            os.utime(kept.parent)  # what was used lately is kept longest
    except OSError as error:
        if came_by_signal(error):
            raise
        raise InvalidError(
            f"{source} cannot be added to an image: {error.strerror or error}"
        ) from error
    return LocalFiles(target=target, digest=digest, source=str(source), kept=str(kept))


def keep_bytes(data: bytes, target: str, source: str) -> LocalFiles:
    """Bytes as a file, as if they lay at ``source``."""
    with tempfile.TemporaryDirectory(prefix="rekindle-") as scratch:
        file = Path(scratch) / "file"
        file.write_bytes(data)
        kept = keep(file, target)
    return LocalFiles(target=target, digest=kept.digest, source=source, kept=kept.kept)


def _copy(source: Path, ignored: Ignored) -> Path:
    """Keep a copy, under the digest of what was copied: the source may have changed meanwhile."""
    draft = _draft()
    draft.chmod(0o755)
    try:
        content = draft / CONTENT
        for path, relative, kind in _walk(source, ignored):
            place = content / relative
            if kind == _LINK:
                place.symlink_to(os.readlink(path))
            elif kind == _FOLDER:
                place.mkdir()
            else:
                holes.copy_content(path, place)
                found = os.stat(path)
                place.chmod(0o755 if found.st_mode & 0o100 else 0o644)
                os.utime(place, ns=(found.st_atime_ns, found.st_mtime_ns))
        digest = digest_of(content)
        kept = draft.with_name(digest)
        try:
            os.rename(draft, kept)
        except OSError:
            if not kept.is_dir():  # else another program kept the same
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return kept / CONTENT


def _draft() -> Path:
    """A new folder where copies are kept, of those places the first that can be written."""
    places = paths.local_files_dirs()
    for folder in places:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=_DRAFT, dir=folder))
        except OSError as error:
            if folder is places[-1] or error.errno not in _NOT_OURS:
                raise
    raise AssertionError("there is a last place")


def digest_of(source: Path, ignored: Ignored = nothing) -> str:
    """32 hex digits that name what a file or folder holds: names, bytes, links, and what may be
    executed. Neither the order in which a folder lists its files nor their times count.

    Raises OSError.
    """
    whole = hashlib.sha256()
    for path, relative, kind in _walk(source, ignored):
        name = os.fsencode(relative)
        if kind == _LINK:
            _put(whole, kind, name, os.fsencode(os.readlink(path)))
        elif kind == _FOLDER:
            _put(whole, kind, name, b"")
        else:
            _put(whole, *_content(path, name))
    return whole.hexdigest()[:_DIGITS]


def _content(path: str, name: bytes) -> tuple[bytes, bytes, bytes]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        kind = _PROGRAM if os.fstat(fd).st_mode & 0o100 else _FILE
        content = hashlib.sha256()
        for chunk in iter(lambda: os.read(fd, _AT_ONCE_BYTES), b""):
            content.update(chunk)
    finally:
        os.close(fd)
    return kind, name, content.digest()


def _put(digest: hashlib._Hash, kind: bytes, name: bytes, content: bytes) -> None:
    digest.update(b"%s %d %d " % (kind, len(name), len(content)) + name + content)


def _walk(source: Path, ignored: Ignored) -> Iterator[tuple[str, str, bytes]]:
    """What is in it, folders before what is in them, by name: paths, relative paths and kinds.

    A link at the top is followed; others are links in the image, too.
    """
    top = os.path.realpath(source)
    mode = os.stat(top).st_mode
    if not stat.S_ISDIR(mode):
        if not stat.S_ISREG(mode):
            raise OSError(f"{source} is neither a file nor a folder")
        yield top, "", _FILE
        return
    yield top, "", _FOLDER
    pending = [""]
    while pending:
        folder = pending.pop()
        with os.scandir(f"{top}/{folder}") as found:
            entries = sorted(found, key=lambda one: one.name)
        for entry in entries:
            relative = f"{folder}{entry.name}"
            if ignored is not nothing and _is_out(entry.path, Path(relative), ignored):
                continue
            if entry.is_symlink():
                kind = _LINK
            elif entry.is_dir():
                kind = _FOLDER
                pending.append(f"{relative}/")
            elif entry.is_file():
                kind = _FILE
            else:
                raise OSError(
                    f"{entry.path} in it is a pipe, a socket or a device, which has no content: "
                    f"leave it out by ignore=[{relative!r}]"
                )
            yield entry.path, relative, kind


def is_there(source: Path, ignored: Ignored, relative: Path) -> bool:
    """Whether a file or folder, or anything in it, is not left out. Raises OSError."""
    return not _is_out(os.fspath(source), relative, ignored)


def _is_out(path: str, relative: Path, ignored: Ignored) -> bool:
    if not ignored(relative):
        return False
    if not may_take_back(ignored, relative) or os.path.islink(path) or not os.path.isdir(path):
        return True
    with os.scandir(path) as found:
        return all(_is_out(one.path, relative / one.name, ignored) for one in found)
