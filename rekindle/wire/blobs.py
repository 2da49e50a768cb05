"""The blob store: where large payloads and results go instead of through controller and Redis.

A local folder by default, with the standard library alone; any URL that fsspec knows otherwise.
Clients and agents put and get, the controller deletes. A key says what its blob must be, so that a
truncated or damaged one is noticed. Instances that are given the same URL have a folder each below
it, as each removes what it does not know. Knows nothing of calls but their ids; blocks, so it is
not for event loops.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from rekindle import filesystems
from rekindle.exception import InternalFailure, InvalidError, ServiceError, SetupError
from rekindle.linux.files import sync
from rekindle.shown_url import reason, without_password
from rekindle.wire import whole_numbers

#: Payloads and results up to this travel inline, unless REKINDLE_BLOB_THRESHOLD_BYTES says else.
DEFAULT_THRESHOLD_BYTES = 1024 * 1024
#: As the controller's setting of that name.
#: Of a result, until the controller has said its limit.
DEFAULT_MAX_PAYLOAD_BYTES = 128 * 1024 * 1024

#: The folder of an instance in a store that several have: its id.
_OF_INSTANCE = re.compile(r"(.+)/in-[0-9a-f]{16}")
_KEY = re.compile(
    r"(fc-[0-9A-Za-z]{1,64})/([0-9]{1,10})-[0-9a-f]{16}-([0-9a-f]{1,12})-([0-9a-f]{8})"
)


class BlobStore(Protocol):
    """Bytes by key. All methods may be called from any thread."""

    #: Without a password, for messages.
    url: str

    def put(self, key: str, data: bytes) -> None:
        """Keep ``data``, durably, when this returns; again is no error. Raises ServiceError."""

    def get(self, key: str) -> bytes:
        """The bytes.

        Raises InternalFailure where they are missing or not what was put, ServiceError where the
        store does not answer.
        """

    def delete(self, key: str) -> None:
        """Remove it; one that is not there is no error. Raises ServiceError."""

    def older_than(self, age_s: float) -> Iterator[str]:
        """Keys of what was put more than ``age_s`` seconds ago. Raises ServiceError."""

    def of_call(self, call_id: str) -> Iterator[str]:
        """Keys of what was put for a call. Raises ServiceError."""


def store_url(instance: Path, instance_id: str, environ: Mapping[str, str] | None = None) -> str:
    """Where its blobs are: in its directory, or below its id at ``$REKINDLE_BLOB_URL``."""
    named = named_url(environ)
    if not named:
        return (instance.absolute() / "blobs").as_uri()
    return f"{named.rstrip('/')}/{instance_id}"


def named_url(environ: Mapping[str, str] | None = None) -> str:
    """``$REKINDLE_BLOB_URL``, which other instances may have, too; empty: none is named."""
    return (os.environ if environ is None else environ).get("REKINDLE_BLOB_URL", "")


def threshold_bytes(environ: Mapping[str, str] | None = None) -> int:
    """``$REKINDLE_BLOB_THRESHOLD_BYTES``; 0: everything travels inline. Raises InvalidError."""
    what = f"bytes, from 0 to {whole_numbers.MOST}"
    found = whole_numbers.said("REKINDLE_BLOB_THRESHOLD_BYTES", what, environ=environ)
    return DEFAULT_THRESHOLD_BYTES if found is None else found


@functools.lru_cache(maxsize=8)
def open_store(url: str) -> BlobStore:
    """The store at a URL: a path or ``file://`` URL is a folder, the rest is fsspec's.

    Raises SetupError, with what to install, and InvalidError for a URL that is none.
    """
    store = _store_at(url)
    shared = _OF_INSTANCE.fullmatch(url)
    return _WithFormer(store, _store_at(shared[1])) if shared is not None else store


def _store_at(url: str) -> BlobStore:
    folder = filesystems.folder_at(url, "the blob store")
    return FolderStore(folder) if folder is not None else FsspecStore(url)


# ---- keys --------------------------------------------------------------------------------------


def new_key(call_id: str, index: int, data: bytes) -> str:
    """A key of its own for the payload, or for one result, of an input."""
    return f"{call_id}/{index}-{os.urandom(8).hex()}-{len(data):x}-{zlib.crc32(data):08x}"


def size_of(key: str) -> int:
    """How many bytes a key's blob has. Raises InvalidError."""
    return int(_parse(key)[3], 16)


def index_of(key: str) -> int:
    """Of which input of its call a key's blob is. Raises InvalidError."""
    return int(_parse(key)[2])


def _parse(key: str) -> re.Match[str]:
    match = _KEY.fullmatch(key)
    if match is None:  # keys come from clients, and become paths
        raise InvalidError(f"{key[:200]!r} is not the key of a blob")
    return match


def _checked(key: str, data: bytes, url: str) -> bytes:
    match = _parse(key)
    size = int(match[3], 16)
    if len(data) != size:
        raise InternalFailure(
            f"blob {key} in {url} has {len(data)} bytes of {size}: it was truncated or overwritten"
        )
    if zlib.crc32(data) != int(match[4], 16):
        raise InternalFailure(
            f"blob {key} in {url} is damaged: its bytes are not those that were put there"
        )
    return data


def _missing(key: str, url: str) -> InternalFailure:
    return InternalFailure(
        f"blob {key} is not in {url}: it was removed, or it was put into another store "
        f"(is REKINDLE_BLOB_URL the same everywhere?)"
    )


# ---- a folder ----------------------------------------------------------------------------------


class FolderStore:
    """A folder that is private to its user; a file for each blob, written whole or not at all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = root.as_uri()

    def put(self, key: str, data: bytes) -> None:
        """See BlobStore."""
        path = self._path(key)
        try:
            self._write(path, data)
        except OSError as error:
            raise ServiceError(
                f"blob store {self.url} cannot take {len(data)} bytes ({error.strerror}); make "
                f"room there, or set REKINDLE_BLOB_URL"
            ) from error

    def _write(self, path: Path, data: bytes) -> None:
        drafts = self.root / "drafts"
        for folder in (self.root, drafts):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = drafts / os.urandom(8).hex()
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "wb", buffering=0) as file:
                left = memoryview(data)
                while True:
                    if not left:
                        break
                    left = left[file.write(left) :]
                os.fsync(fd)
            for _ in range(100):  # the folder goes with the last blob in it, maybe just now
                # Not Path.mkdir(exist_ok=True): that raises where the folder goes under its look.
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path.parent, 0o700)
                with contextlib.suppress(FileNotFoundError):
                    os.rename(draft, path)
                    break
            else:
                os.rename(draft, path)
            with contextlib.suppress(FileNotFoundError):  # its blob was deleted already
                sync(path.parent)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def get(self, key: str) -> bytes:
        """See BlobStore."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise _missing(key, self.url) from None
        except OSError as error:
            raise ServiceError(
                f"blob {key} cannot be read from {self.url}: {error.strerror}"
            ) from error
        return _checked(key, data, self.url)

    def delete(self, key: str) -> None:
        """See BlobStore."""
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others are in it
                path.parent.rmdir()
        except OSError as error:
            raise ServiceError(
                f"blob {key} cannot be removed from {self.url}: {error.strerror}"
            ) from error

    def older_than(self, age_s: float) -> Iterator[str]:
        """See BlobStore; drafts of writers that were killed are removed on the way."""
        before = time.time() - age_s
        for folder in _entries(self.root):
            for entry in _entries(Path(folder.path)):
                with contextlib.suppress(FileNotFoundError):  # it has just gone
                    if entry.stat().st_mtime >= before:
                        continue
                    if folder.name == "drafts":
                        os.unlink(entry.path)
                    elif _KEY.fullmatch(key := f"{folder.name}/{entry.name}"):
                        yield key

    def of_call(self, call_id: str) -> Iterator[str]:
        """See BlobStore."""
        for entry in _entries(self.root / call_id):
            if _KEY.fullmatch(key := f"{call_id}/{entry.name}"):
                yield key

    def _path(self, key: str) -> Path:
        _parse(key)
        return self.root / key


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ServiceError(f"{folder} cannot be read: {error.strerror}") from error


# ---- the rest ----------------------------------------------------------------------------------


class FsspecStore:
    """What fsspec makes of a URL: an object store, another machine, this process's memory."""

    def __init__(self, url: str) -> None:
        self.url = without_password(url.rstrip("/"))
        try:
            self._fs, self._root = filesystems.open_url(url.rstrip("/"), "the blob store")
        except (SetupError, InvalidError):
            raise
        except Exception as error:
            raise self._unwell("opened", error) from error

    def put(self, key: str, data: bytes) -> None:
        """See BlobStore."""
        path = self._path(key)
        try:
            self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            self._fs.pipe_file(path, data)
        except Exception as error:
            raise self._unwell(f"given {len(data)} bytes", error) from error

    def get(self, key: str) -> bytes:
        """See BlobStore."""
        path = self._path(key)
        try:
            data: bytes = self._fs.cat_file(path)
        except FileNotFoundError:
            raise _missing(key, self.url) from None
        except Exception as error:
            raise self._unwell(f"asked for {key}", error) from error
        return _checked(key, data, self.url)

    def delete(self, key: str) -> None:
        """See BlobStore."""
        path = self._path(key)
        try:
            self._fs.rm_file(path)
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._unwell(f"asked to remove {key}", error) from error

    def older_than(self, age_s: float) -> Iterator[str]:
        """See BlobStore."""
        before = time.time() - age_s
        try:
            found = filesystems.files_below(self._fs, self._root)
            for path in found:
                key = "/".join(path.rsplit("/", 2)[-2:])
                if _KEY.fullmatch(key) and self._fs.modified(path).timestamp() < before:
                    yield key
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._unwell("listed", error) from error

    def of_call(self, call_id: str) -> Iterator[str]:
        """See BlobStore."""
        try:
            found = filesystems.files_below(self._fs, f"{self._root}/{call_id}")
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._unwell("listed", error) from error
        for path in found:
            if _KEY.fullmatch(key := "/".join(path.rsplit("/", 2)[-2:])):
                yield key

    def _path(self, key: str) -> str:
        _parse(key)
        return f"{self._root}/{key}"

    def _unwell(self, what: str, error: Exception) -> ServiceError:
        """Backends raise types of their own."""
        return ServiceError(f"blob store {self.url} could not be {what}: {reason(error)}")


# ---- a folder of a store that several instances have -------------------------------------------


class _WithFormer:
    """An instance's own folder. Read, and only read, is also what was put beside all such folders
    when there were none: whose that is, no key says."""

    def __init__(self, own: BlobStore, former: BlobStore) -> None:
        self.url = own.url
        self.put, self.delete = own.put, own.delete
        self.older_than, self.of_call = own.older_than, own.of_call
        self._own, self._former = own, former

    def get(self, key: str) -> bytes:
        """See BlobStore."""
        try:
            return self._own.get(key)
        except InternalFailure as missing:
            try:
                return self._former.get(key)
            except InternalFailure:
                raise missing from None
