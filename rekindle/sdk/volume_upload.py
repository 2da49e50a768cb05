"""``with volume.batch_upload() as batch``: files of a program, sent together."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any

from rekindle.exception import InvalidError, VolumeFileExistsError
from rekindle.linux.files import not_listed
from rekindle.sdk.user_frames import trims
from rekindle.volumes.remote import Folder
from rekindle.volumes.staging import Staging
from rekindle.volumes.tree import clean

_CHUNK_BYTES = 1 << 20


@trims
class VolumeUpload:
    """Takes files until its block ends; then all are put in place, and the store has them."""

    def __init__(self, find: Callable[[], Folder], force: bool) -> None:
        self._find = find
        self._force = force
        #: Where it goes -> where it is, and the permissions that it gets.
        self._files: dict[str, tuple[str | os.PathLike[str] | IO[bytes], int | None]] = {}

    def put_file(
        self,
        local_file: str | os.PathLike[str] | IO[bytes],
        remote_path: str,
        mode: int | None = None,
    ) -> None:
        """A file, by its path or open for reading. Into ``remote_path`` where that ends in ``/``.

        ``mode``: its permissions; those of the local file unless given.
        """
        target = str(remote_path)
        if target.endswith("/"):
            if not isinstance(local_file, (str, os.PathLike)):
                raise InvalidError(f"put_file: {remote_path!r} names a directory, for an open file")
            target += Path(local_file).name
        if isinstance(local_file, (str, os.PathLike)) and not Path(local_file).is_file():
            raise FileNotFoundError(f"there is no file {os.fspath(local_file)!r} to be sent")
        self._files[clean(target)] = (local_file, mode)

    def put_directory(
        self,
        local_path: str | os.PathLike[str],
        remote_path: str,
        recursive: bool = True,
    ) -> None:
        """The files of a directory, and of those below it unless ``recursive=False``.

        Links to files are sent as these, those to directories are not. Raises OSError for one that
        cannot be read: nothing of it is sent then.
        """
        top = Path(local_path)
        if not top.is_dir():
            raise FileNotFoundError(f"there is no directory {os.fspath(local_path)!r} to be sent")
        for _left_out in put_all_below(self, top, remote_path, recursive=recursive):
            pass

    # ---- the block -----------------------------------------------------------------------------

    def __enter__(self) -> VolumeUpload:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if kind is None:
            self._send()

    async def __aenter__(self) -> VolumeUpload:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if kind is None:
            await asyncio.to_thread(self._send)

    def _send(self) -> None:
        folder = self._find()
        folder.pull_if_old()
        tree = folder.tree
        if not self._force:
            for path in self._files:
                if tree.exists(path):
                    raise VolumeFileExistsError(
                        f"{path!r} is in {folder.label} already; batch_upload(force=True) "
                        f"replaces it. Nothing was sent"
                    )
        with Staging(tree) as staging:
            for path, (local, mode) in self._files.items():
                with _opened(local) as source, staging.file(path, _mode(source, local, mode)) as to:
                    shutil.copyfileobj(source, to, _CHUNK_BYTES)
            staging.place(force=self._force)
        folder.push()


def _opened(local: str | os.PathLike[str] | IO[bytes]) -> AbstractContextManager[Any]:
    return open(local, "rb") if isinstance(local, (str, os.PathLike)) else nullcontext(local)


def _mode(source: Any, local: object, given: int | None) -> int:
    if given is not None or source is local:
        return 0o644 if given is None else given
    mode: int = os.fstat(source.fileno()).st_mode
    return mode


def put_all_below(
    batch: VolumeUpload, top: Path, remote_path: str, *, recursive: bool = True
) -> Iterator[Path]:
    """Have the files of a directory sent; what is left out, as it is no file. Raises OSError."""
    for path in _all_below(top, recursive=recursive):
        if path.is_file():
            batch.put_file(path, f"{remote_path}/{path.relative_to(top)}")
        else:
            yield path


def _all_below(top: Path, *, recursive: bool = True) -> Iterator[Path]:
    """All that lies in a directory, but for directories that are gone through. Raises OSError."""
    for folder, folders, names in os.walk(top, onerror=not_listed):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        folders[:] = sorted(folders) if recursive else []
        yield from (Path(folder, name) for name in sorted([*names, *links]))
