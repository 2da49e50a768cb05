"""Source bundles: the user's local modules, unpacked once by content address."""

from __future__ import annotations

import io
import shutil
import zipfile
import zlib
from pathlib import Path

from rekindle import paths
from rekindle.exception import InvalidError, ServiceError
from rekindle.linux.kept_directories import use
from rekindle.linux.passing import is_passing
from rekindle.linux.whole_directory import whole_directory


def unpack(digest: str, data: bytes) -> Path:
    """The directory that holds the bundle. Raises InvalidError for one that is not sound, and
    ServiceError where it cannot be written."""
    if not digest.isalnum():
        raise InvalidError(f"a source bundle's digest is not a name: {digest!r}")
    target = paths.sources_dir() / digest
    try:
        if use(target) and _is_whole(target, data):
            return target
        with (
            whole_directory(target, durable=False) as draft,
            zipfile.ZipFile(io.BytesIO(data)) as bundle,
        ):
            for name in bundle.namelist():
                if name.startswith("/") or ".." in Path(name).parts:
                    raise InvalidError(f"a source bundle names a file outside itself: {name!r}")
            bundle.extractall(draft)
            if target.is_dir() and not _is_whole(target, data):  # else another start mended it
                shutil.rmtree(target)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise InvalidError(f"a source bundle is damaged: {error}") from error
    except OSError as error:
        raise ServiceError(
            f"the program's modules cannot be put into {target}: {error.strerror}; make room "
            f"there, or see who may write to it"
        ) from error
    return target


def _is_whole(directory: Path, data: bytes) -> bool:
    """Whether a bundle lies there as it was unpacked. Raises OSError where that cannot be told just
    now: what runs from there is not to lose it."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as bundle:
            return all(
                zlib.crc32((directory / one.filename).read_bytes()) == one.CRC
                for one in bundle.infolist()
                if not one.is_dir()
            )
    except OSError as error:
        if is_passing(error):
            raise
        return False
    except zipfile.BadZipFile:
        return False
