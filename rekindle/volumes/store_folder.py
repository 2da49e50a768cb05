"""The folder of a store, by the store's client: what files are in it, and which it can have.

Objects whose names no file beside the others can have are passed over: ``folder/``, as consoles of
stores make, ``a`` where there is ``a/b``, ``a/../b``, or one too long. Of a store that is a
directory it is known whether somebody has said that it may be empty. Knows nothing of this
machine's copies.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from rekindle import filesystems
from rekindle.volumes.tree import DRAFT
from rekindle.wire.usercode import came_by_signal

CHUNK_BYTES = 1 << 20
#: What stores call that which changes with a file's content, the best first.
_MARKS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
#: Of a file's name, at most.
_NAME_BYTES = 255
#: What a directory says where a folder is in a file's place, or a file in a folder's.
_OTHER_KIND = (IsADirectoryError, NotADirectoryError, FileExistsError)
#: Beside the files of a store that is a directory: some were removed, so there may be none. It
#: begins as drafts do, which are no files of a volume.
EMPTIED = f"{DRAFT}may-be-empty"


class UnfitError(Exception):
    """In the store nothing can be called so, or something of another kind is."""


@dataclass(frozen=True)
class StoreFolder:
    """See the module. All raises the client's errors."""

    _client: Any
    _base: str

    def listed(self) -> dict[str, str] | None:
        """Path -> mark of all its files; None where not even its bucket is there."""
        try:
            found = filesystems.files_below(self._client, self._base)
        except FileNotFoundError:
            return None
        prefix = self._place("")
        inside = {
            path[len(prefix) :]: info for path, info in found.items() if path.startswith(prefix)
        }
        fit = {path: info for path, info in inside.items() if _fits_a_file(path)}
        folders = {above for path in fit for above in folders_of(path)}
        return {
            path: _mark(info)
            for path, info in fit.items()
            if path not in folders and DRAFT not in path
        }

    def open(self, path: str) -> IO[bytes]:
        """A file, to be read."""
        file: IO[bytes] = self._client.open(self._place(path), "rb")
        return file

    def put(self, path: str, source: IO[bytes]) -> str:
        """Have a file with what is read; its mark. Raises UnfitError."""
        place = self._place(path)
        try:
            self._client.makedirs(place.rpartition("/")[0], exist_ok=True)
            with self._client.open(place, "wb") as target:
                while piece := source.read(CHUNK_BYTES):
                    target.write(piece)
        except (UnicodeEncodeError, *_OTHER_KIND) as error:
            raise UnfitError from error
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise UnfitError from error
        self._client.invalidate_cache()
        return _mark(self._client.info(place))

    def remove(self, path: str) -> None:
        """Have no such file."""
        # It may be gone: another machine may have made a folder of it, or a file of its folder.
        with contextlib.suppress(FileNotFoundError, *_OTHER_KIND):
            self._client.rm_file(self._place(path))

    def remove_bare_folders(self, path: str) -> None:
        """Of those that a file lay in. In stores of objects there are none."""
        if not self._is_directory:
            return
        for folder in folders_of(path):
            try:
                self._client.rmdir(self._place(folder))
            except OSError as error:  # something else is in it, or it has gone
                if came_by_signal(error):
                    raise

    def is_bare(self) -> bool:
        """Whether a directory is not there, or has nothing in it: so is one that is not mounted."""
        if not self._is_directory:
            return False
        try:
            return not self._client.ls(self._base, detail=False)
        except FileNotFoundError:
            return True

    def may_be_bare(self) -> None:
        """Have a directory, as files are removed, never be taken for one that is not mounted."""
        if self._is_directory and not self._client.exists(self._place(EMPTIED)):
            self._client.makedirs(self._base, exist_ok=True)
            self._client.pipe_file(self._place(EMPTIED), b"")

    @property
    def _is_directory(self) -> bool:
        """In stores of objects there are no directories."""
        return self._base.startswith("/")

    def _place(self, path: str) -> str:
        return f"{self._base}/{path}"


def opened(url: str, what: str, options: Mapping[str, str]) -> StoreFolder:
    """As the store is now. Raises InvalidError, SetupError, both of ``what``."""
    client, base = filesystems.open_url(url, what, options)
    client.invalidate_cache()
    return StoreFolder(client, base)


def folders_of(path: str) -> Iterator[str]:
    """Those that it lies in, the deepest first."""
    while path := path.rpartition("/")[0]:
        yield path


def is_in_the_way(path: str, files: Container[str], folders: Container[str]) -> bool:
    """Whether a file cannot be beside others: there is a folder of that name, or a file in place of
    one that it lies in."""
    return path in folders or any(above in files for above in folders_of(path))


def _fits_a_file(path: str) -> bool:
    """Whether one can be called so. By ``..`` two names would be one file's."""
    return all(
        part not in ("", ".", "..") and "\0" not in part and len(os.fsencode(part)) <= _NAME_BYTES
        for part in path.split("/")
    )


def _mark(info: Mapping[str, Any]) -> str:
    """What changes when a file of the store does."""
    mark = next((info[name] for name in _MARKS if info.get(name)), "")
    return f"{info.get('size')}:{mark}"
