"""Work inside one folder that nothing can leave: not by ``..``, an absolute path or a link.

Each path is resolved by the kernel, beneath the folder (openat2). A file is written beside its
place and renamed, so readers see the old one or the new one, and never a part.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from rekindle.exception import (
    InvalidError,
    VolumeError,
    VolumeFileExistsError,
    VolumeFileNotFoundError,
    VolumePathError,
)
from rekindle.linux.beneath import open_beneath
from rekindle.wire.usercode import came_by_signal

#: Files that are being written; no listing shows them.
DRAFT = ".rekindle-draft-"
_CHUNK_BYTES = 1 << 20


class FileEntryType(Enum):
    """What something in a volume is: FILE, DIRECTORY, SYMLINK or OTHER."""

    FILE = "file"
    DIRECTORY = "dir"
    SYMLINK = "link"
    OTHER = "other"


@dataclass(frozen=True)
class FileEntry:
    """Something in a volume: ``path`` there, ``type`` (a FileEntryType), ``mtime`` in whole seconds
    since the epoch, ``size`` in bytes."""

    path: str
    type: FileEntryType
    mtime: int
    size: int


@dataclass(frozen=True)
class Tree:
    """The folder ``root``. Paths are relative to it; a leading ``/`` is the folder itself."""

    root: Path
    #: How messages name it.
    label: str

    def listdir(self, path: str, *, recursive: bool = False) -> Iterator[FileEntry]:
        """What lies in a directory, by name; of a file, the file itself.

        Raises VolumeFileNotFoundError, VolumePathError; VolumeError where a directory cannot be
        listed, as none is passed over.
        """
        with self._opened(path, os.O_PATH) as fd:
            inside = clean(path)
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                yield _entry(inside, os.fstat(fd))
                return
            with self._opened(path, os.O_RDONLY | os.O_DIRECTORY) as directory:
                yield from _entries(directory, inside, recursive)

    def read(self, path: str) -> Iterator[bytes]:
        """The content of a file, in pieces. Raises VolumeFileNotFoundError, VolumePathError."""
        with self.open(path) as file:
            while piece := file.read(_CHUNK_BYTES):
                yield piece

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """A file, to be read."""
        # A pipe without a writer would keep us waiting.
        with self._opened(path, os.O_RDONLY | os.O_NONBLOCK) as fd:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise VolumePathError(f"{path!r} in {self.label} is no file that can be read")
            with os.fdopen(os.dup(fd), "rb") as file:
                yield file

    @contextmanager
    def write(self, path: str, *, force: bool = True, mode: int = 0o644) -> Iterator[BinaryIO]:
        """A file to be written, in its place when the block ends well; directories are made.

        Raises VolumeFileExistsError without ``force``; VolumePathError.
        """
        with self._parent(path, make=True) as (directory, name):
            if not force and _exists(directory, name):
                raise VolumeFileExistsError(
                    f"{path!r} is in {self.label} already; force=True replaces it"
                )
            draft = f"{DRAFT}{secrets.token_hex(8)}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(draft, flags, mode & 0o777, dir_fd=directory)
            try:
                with os.fdopen(fd, "wb") as file:
                    yield file
                with self._explained(path):
                    _put(directory, draft, directory, name, force)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(draft, dir_fd=directory)

    def move_in(self, draft: str, path: str, *, force: bool) -> None:
        """Give a file of this folder its place. Raises VolumeFileExistsError without ``force``."""
        with (
            self._parent(path, make=True) as (directory, name),
            self._parent(draft) as (own, old),
            self._explained(path),
        ):
            _put(own, old, directory, name, force)

    def mkdir(self, path: str) -> None:
        """Make a directory and those above it. Raises VolumePathError."""
        os.close(self._make(clean(path)))

    def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file, a link, or with ``recursive`` a directory with all in it."""
        with self._parent(path) as (directory, name), self._explained(path):
            is_directory = stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode)
            if is_directory and not recursive:
                raise VolumePathError(
                    f"{path!r} in {self.label} is a directory; recursive=True removes it"
                )
            if is_directory:
                shutil.rmtree(name, dir_fd=directory)
            else:
                os.unlink(name, dir_fd=directory)

    def remove_bare(self, path: str) -> None:
        """Remove a directory in which there are no files; one in which there are some stays."""
        if not self.is_directory(path):
            return
        entries = list(self.listdir(path, recursive=True))
        for inside in [*(one.path for one in reversed(entries)), path]:
            with self._parent(inside) as (directory, name):
                try:
                    os.rmdir(name, dir_fd=directory)
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.ENOTDIR, errno.ENOENT):
                        raise
                    return

    def copy(self, sources: Sequence[str], target: str, *, recursive: bool = False) -> None:
        """Copy files within the folder: into ``target`` where it is a directory, or ends in ``/``.

        Links are copied as links within directories. Raises VolumePathError for several sources and
        a target that is no directory, and for what is no file, link or directory.
        """
        into = target.endswith("/") or self.is_directory(target)
        if len(sources) > 1 and not into:
            raise VolumePathError(f"{target!r} in {self.label} is no directory, for several files")
        for source in sources:
            name = clean(source).rpartition("/")[2]
            self._copy(source, f"{target.rstrip('/')}/{name}" if into else target, recursive)

    def exists(self, path: str) -> bool:
        """Whether something is there. Raises VolumePathError for what leaves the folder."""
        try:
            with self._opened(path, os.O_PATH):
                return True
        except VolumeFileNotFoundError:
            return False

    def is_directory(self, path: str) -> bool:
        """Whether it is one that is there. Raises VolumePathError for what leaves the folder."""
        try:
            with self._opened(path, os.O_PATH) as fd:
                return stat.S_ISDIR(os.fstat(fd).st_mode)
        except VolumeFileNotFoundError:
            return False

    def _copy(self, source: str, target: str, recursive: bool) -> None:
        if not self.is_directory(source):
            with self.open(source) as read:
                mode = os.fstat(read.fileno()).st_mode
                with self.write(target, mode=mode) as written:
                    shutil.copyfileobj(read, written, _CHUNK_BYTES)
            return
        if not recursive:
            raise VolumePathError(f"{source!r} is a directory; recursive=True copies it")
        inside, into = clean(source), clean(target)
        if f"{into}/".startswith(f"{inside}/"):
            raise VolumePathError(f"{source!r} cannot be copied into itself")
        self.mkdir(target)
        for entry in list(self.listdir(source, recursive=True)):
            below = f"{into}{entry.path[len(inside) :]}"
            if entry.type is FileEntryType.DIRECTORY:
                self.mkdir(below)
            elif entry.type is FileEntryType.SYMLINK:
                self._copy_link(entry.path, below)
            else:
                self._copy(entry.path, below, recursive)

    def _copy_link(self, source: str, target: str) -> None:
        """It leads to where the other one does, as seen from its own place."""
        with self._parent(source) as (directory, name), self._explained(source):
            leads_to = os.readlink(name, dir_fd=directory)
        with self._parent(target, make=True) as (directory, name), self._explained(target):
            draft = f"{DRAFT}{secrets.token_hex(8)}"
            os.symlink(leads_to, draft, dir_fd=directory)
            try:
                _put(directory, draft, directory, name, force=True)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(draft, dir_fd=directory)

    # ---- resolved by the kernel ----------------------------------------------------------------

    @contextmanager
    def _root(self) -> Iterator[int]:
        try:
            fd = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise VolumeFileNotFoundError(f"{self.label} was deleted") from None
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _opened(self, path: str, flags: int) -> Iterator[int]:
        with self._root() as root, self._explained(path):
            fd = open_beneath(root, clean(path), flags)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """The directory that something lies in, and its name there."""
        above, _, name = clean(path).rpartition("/")
        if name in ("", ".", ".."):
            raise VolumePathError(f"{path!r} names no file in {self.label}")
        if make:
            directory = self._make(above)
        else:
            with self._root() as root, self._explained(path):
                directory = open_beneath(root, above, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield directory, name
        finally:
            os.close(directory)

    def _make(self, path: str) -> int:
        """A directory, made where it is not there; open."""
        with self._root() as root, self._explained(path):
            present = ""
            for part in path.split("/"):
                above, present = present, f"{present}/{part}".strip("/")
                try:
                    os.close(open_beneath(root, present, os.O_PATH | os.O_DIRECTORY))
                except FileNotFoundError:
                    fd = open_beneath(root, above, os.O_RDONLY | os.O_DIRECTORY)
                    try:
                        os.mkdir(part, 0o755, dir_fd=fd)
                    except FileExistsError:
                        pass  # by somebody else, just now
                    finally:
                        os.close(fd)
            return open_beneath(root, path, os.O_RDONLY | os.O_DIRECTORY)

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """Errors of the system as ours."""
        try:
            yield
        except FileNotFoundError:
            raise VolumeFileNotFoundError(f"there is no {path!r} in {self.label}") from None
        except FileExistsError:
            raise VolumeFileExistsError(f"{path!r} is in {self.label} already") from None
        except OSError as error:
            if came_by_signal(error):
                raise
            if error.errno in (errno.EXDEV, errno.ELOOP):
                raise VolumePathError(
                    f"{path!r} leaves {self.label}: `..` and links may not lead out of it"
                ) from None
            if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
                raise VolumePathError(f"{path!r} in {self.label}: {error.strerror}") from None
            if error.errno == errno.ENOSYS:
                raise VolumeError("volumes need openat2: Linux 5.6 or newer") from error
            raise VolumeError(f"{path!r} in {self.label}: {error.strerror}") from error


def clean(path: str) -> str:
    """A path without what says nothing: a leading ``/``, ``.``, doubled slashes."""
    if "\0" in path:
        raise InvalidError("a path in a volume cannot have a NUL in it")
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def _put(source: int, draft: str, directory: int, name: str, force: bool) -> None:
    if force:
        os.rename(draft, name, src_dir_fd=source, dst_dir_fd=directory)
    else:  # what came meanwhile is not replaced either
        os.link(draft, name, src_dir_fd=source, dst_dir_fd=directory)


def _exists(directory: int, name: str) -> bool:
    try:
        os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True


def _entries(directory: int, inside: str, recursive: bool) -> Iterator[FileEntry]:
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        where = inside or "the volume"
        raise VolumeError(f"{where!r} cannot be listed: {error.strerror}") from error
    for name in names:
        if name.startswith(DRAFT):
            continue
        try:
            info = os.lstat(name, dir_fd=directory)
        except FileNotFoundError:
            continue  # removed meanwhile
        path = f"{inside}/{name}" if inside else name
        yield _entry(path, info)
        if recursive and stat.S_ISDIR(info.st_mode):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                below = os.open(name, flags, dir_fd=directory)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    continue  # removed meanwhile, or something else by now
                raise VolumeError(f"{path!r} cannot be listed: {error.strerror}") from error
            try:
                yield from _entries(below, path, recursive)
            finally:
                os.close(below)


def _entry(path: str, info: os.stat_result) -> FileEntry:
    kinds = {
        stat.S_IFREG: FileEntryType.FILE,
        stat.S_IFDIR: FileEntryType.DIRECTORY,
        stat.S_IFLNK: FileEntryType.SYMLINK,
    }
    kind = kinds.get(stat.S_IFMT(info.st_mode), FileEntryType.OTHER)
    return FileEntry(path, kind, int(info.st_mtime), info.st_size)
