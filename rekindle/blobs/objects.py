"""Named objects in a folder, or behind any URL that fsspec knows.

Objects are small (a chunk, an index), written whole or not at all, and may be written again with
the same content. Knows nothing of blobs. Blocks; all methods may be called from any thread.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from rekindle import filesystems
from rekindle.exception import BlobError, BlobStoreError, InvalidError, SetupError
from rekindle.linux.files import not_listed_unless_gone
from rekindle.shown_url import reason, without_password

DRAFTS = ".drafts"
#: A draft of a writer that was killed is removed after so long.
_DRAFT_AGE_S = 3600.0
#: A store that says nothing for so long is taken to be away, where its client can be told.
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 20.0


@dataclass(frozen=True)
class Listed:
    """An object in a listing. ``modified`` in seconds of CLOCK_REALTIME."""

    name: str
    size: int
    modified: float


class Objects(Protocol):
    """Bytes by name; names are relative paths without ``..``."""

    #: Without a password, for messages; ``address`` opens it.
    url: str
    address: str

    def is_there(self) -> bool:
        """Whether there is a bucket or folder yet. Raises BlobStoreError."""

    def get(self, name: str) -> bytes | None:
        """The bytes; None where there is no such object. Raises BlobStoreError."""

    def put(self, name: str, data: bytes) -> None:
        """Keep ``data``, durably, when this returns. Raises BlobStoreError."""

    def age_s(self, name: str) -> float | None:
        """Seconds since it was written; None where there is none. Raises BlobStoreError."""

    def delete(self, name: str) -> None:
        """Remove it; one that is not there is no error. Raises BlobStoreError."""

    def list(self, folder: str) -> Iterator[Listed]:
        """All objects below a folder. Raises BlobStoreError."""


def open_objects(url: str) -> Objects:
    """What lies at a URL: a path or ``file://`` URL is a folder, the rest is fsspec's.

    Raises SetupError, with what to install, and InvalidError for a URL that is none.
    """
    folder = filesystems.folder_at(url, "the store")
    return FolderObjects(folder) if folder is not None else FsspecObjects(url)


class FolderObjects:
    """A folder that is private to its user; a file for each object."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = self.address = root.as_uri()

    def is_there(self) -> bool:
        """See Objects."""
        try:
            return self.root.is_dir()
        except OSError as error:
            raise self._unwell("be looked at", error) from error

    def get(self, name: str) -> bytes | None:
        """See Objects."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unwell(f"read {name}", error) from error

    def put(self, name: str, data: bytes) -> None:
        """See Objects."""
        path, drafts = self.root / name, self.root / DRAFTS
        draft = drafts / os.urandom(8).hex()
        try:
            for folder in (drafts, path.parent):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "wb", buffering=0) as file:
                left = memoryview(data)
                while left:
                    left = left[file.write(left) :]
                os.fdatasync(fd)
            os.rename(draft, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise self._unwell(f"keep {len(data)} bytes", error) from error

    def age_s(self, name: str) -> float | None:
        """See Objects."""
        try:
            return time.time() - (self.root / name).stat().st_mtime
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unwell(f"look for {name}", error) from error

    def delete(self, name: str) -> None:
        """See Objects."""
        try:
            (self.root / name).unlink(missing_ok=True)
        except OSError as error:
            raise self._unwell(f"remove {name}", error) from error

    def list(self, folder: str) -> Iterator[Listed]:
        """See Objects; drafts of writers that were killed are removed on the way."""
        self._sweep()
        top = self.root / folder
        try:
            # What is listed is what is kept: a part left out would be as good as removed.
            for directory, _, names in os.walk(top, onerror=not_listed_unless_gone):
                for name in names:
                    path = Path(directory, name)
                    with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                        info = path.stat()
                        inside = str(path.relative_to(self.root))
                        yield Listed(inside, info.st_size, info.st_mtime)
        except OSError as error:
            raise self._unwell(f"list {folder}", error) from error

    def _sweep(self) -> None:
        before = time.time() - _DRAFT_AGE_S
        for draft in (self.root / DRAFTS).glob("*"):
            with contextlib.suppress(OSError):
                if draft.stat().st_mtime < before:
                    draft.unlink()

    def _unwell(self, what: str, error: OSError) -> BlobStoreError:
        return BlobStoreError(f"the store {self.url} cannot {what}: {error.strerror or error}")


class FsspecObjects:
    """What fsspec makes of a URL. Stores of objects write whole or not at all; so it is used."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if not parts.netloc and not parts.path.strip("/"):
            raise InvalidError(
                f"the store {without_password(url)!r} names no place: write {parts.scheme}://BUCKET/FOLDER"
            )
        self.address = url.rstrip("/")
        self.url = without_password(self.address)
        self._opened: tuple[Any, str] | None = None
        # Some connect here. Who cannot be reached now may be later: each request says so, and
        # tries again.
        with contextlib.suppress(BlobStoreError):
            self._open()
        # Of file systems that need them; object stores make a request of each look.
        self._made: set[str] = set()
        self._making = threading.Lock()

    def _open(self) -> tuple[Any, str]:
        if self._opened is None:
            try:
                self._opened = filesystems.open_url(
                    self.address, "the store", _options(self.address)
                )
            except (SetupError, InvalidError):
                raise
            except Exception as error:
                raise self._unwell("opened", error) from error
        return self._opened

    @property
    def _fs(self) -> Any:
        return self._open()[0]

    def is_there(self) -> bool:
        """See Objects."""
        fs, root = self._open()
        try:
            fs.invalidate_cache()
            # Where folders are but the beginnings of names, there is none before the first object.
            for place in (root, root.partition("/")[0] or root):
                with contextlib.suppress(FileNotFoundError):
                    fs.info(place)
                    return True
            return False
        except Exception as error:
            raise self._unwell("asked whether it is there", error) from error

    def get(self, name: str) -> bytes | None:
        """See Objects."""
        path = self._path(name)
        try:
            data: bytes = self._fs.cat_file(path)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._unwell(f"asked for {name}", error) from error
        return data

    def put(self, name: str, data: bytes) -> None:
        """See Objects."""
        path = self._path(name)
        try:
            self._make(path.rpartition("/")[0])
            self._fs.pipe_file(path, data)
        except Exception as error:
            raise self._unwell(f"given {len(data)} bytes", error) from error

    def age_s(self, name: str) -> float | None:
        """See Objects."""
        path = self._path(name)
        try:
            self._fs.invalidate_cache(path.rpartition("/")[0])
            info: dict[str, Any] = self._fs.info(path)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._unwell(f"asked about {name}", error) from error
        return time.time() - _modified(info)

    def delete(self, name: str) -> None:
        """See Objects."""
        path = self._path(name)
        try:
            self._fs.rm_file(path)
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._unwell(f"asked to remove {name}", error) from error

    def list(self, folder: str) -> Iterator[Listed]:
        """See Objects."""
        root = self._open()[1]
        try:
            self._fs.invalidate_cache()
            found = filesystems.files_below(self._fs, self._path(folder))
            for path, info in found.items():
                # Of a folder that is empty by now some servers list the folder.
                if info.get("type") == "directory" or not path.startswith(f"{self._path(folder)}/"):
                    continue
                yield Listed(path[len(root) + 1 :], int(info["size"] or 0), _modified(info))
        except FileNotFoundError:
            return
        except BlobError:
            raise
        except Exception as error:
            raise self._unwell(f"asked for a list of {folder}", error) from error

    def _make(self, folder: str) -> None:
        with self._making:
            if folder not in self._made:
                self._fs.makedirs(folder, exist_ok=True)
                self._made.add(folder)

    def _path(self, name: str) -> str:
        return f"{self._open()[1]}/{name}"

    def _unwell(self, what: str, error: Exception) -> BlobStoreError:
        """Backends raise types of their own."""
        return BlobStoreError(f"the store {self.url} could not be {what}: {reason(error)}")


def _modified(info: dict[str, Any]) -> float:
    """When an object was written; now, where the store does not say: then it is not old."""
    for name in ("LastModified", "mtime", "last_modified", "updated", "created"):
        value = info.get(name)
        if isinstance(value, int | float):
            return float(value)
        if value is not None and hasattr(value, "timestamp"):
            return float(value.timestamp())
    return time.time()


def _options(url: str) -> dict[str, Any]:
    """What is told to a store's client: to give up on a store that says nothing."""
    if urlsplit(url).scheme not in ("s3", "s3a"):
        return {}
    timeouts = {"connect_timeout": CONNECT_TIMEOUT_S, "read_timeout": READ_TIMEOUT_S}
    return {"config_kwargs": {**timeouts, "retries": {"max_attempts": 1}}}
