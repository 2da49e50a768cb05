"""What fsspec makes of a URL: ``s3://``, ``gs://``, another machine, a folder, memory.

Knows nothing of what is kept there. fsspec is an optional package, loaded when it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from rekindle.exception import InvalidError, SetupError
from rekindle.linux.files import not_listed_unless_gone
from rekindle.shown_url import reason, without_password

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
#: What begins as a URL does, and is none; ``a::b://`` is a chain of fsspec's.
_WITHOUT_SLASHES = re.compile(r"(?!file:|local:)([A-Za-z][A-Za-z0-9+.-]*):(?!//|:)")


def check_shared(url: str, what: str) -> None:
    """Refuse a URL at which nothing is that other processes and other nodes see; empty: nothing is
    asked for. ``what`` names it in messages. Raises InvalidError.
    """
    shown, begins = without_password(url), _SCHEME.match(url)
    scheme, rest = (begins[1].lower(), url[begins.end() :]) if begins is not None else ("", url)
    name = "name a folder (file:///where/it/is) or a bucket (s3://BUCKET/FOLDER)"
    if scheme and rest.startswith(":"):
        raise InvalidError(f"{what} {shown!r} is a chain, which keeps copies of its own: {name}")
    if scheme == "memory":
        raise InvalidError(
            f"{what} {shown!r} is the memory of one process, which shares nothing: {name}"
        )
    if scheme == "local" or (scheme and not rest.startswith("//")):
        instead = "file:///where/it/is" if scheme in ("file", "local") else f"{scheme}://"
        raise InvalidError(f"{what} {shown} cannot be used: write {instead}")
    if scheme not in ("", "file"):
        _check_names(url, what)
    if scheme not in ("", "file") and not _is_known(scheme):
        raise InvalidError(f"{what} {shown} cannot be used: Protocol not known: {scheme}; {name}")
    if url:
        folder_at(url, what)  # one that is not absolute is refused


def _check_names(url: str, what: str) -> None:
    # Stores of objects have ".." as part of a name, or resolve it, each in its own way: what one
    # puts there another would not find, or it would lie in another's bucket.
    if ".." in urlsplit(url).path.split("/"):
        raise InvalidError(
            f"{what} {without_password(url)} cannot be used: name the place itself, without '..'"
        )


def is_folder(url: str) -> bool:
    """Whether a URL that may be used is a folder of this machine."""
    begins = _SCHEME.match(url)
    return begins is None or begins[1].lower() == "file"


def folder_at(url: str, what: str) -> Path | None:
    """The folder that a path or ``file://`` URL names; None for what is fsspec's to open.

    ``what`` names it in messages. Raises InvalidError for a path that is not absolute.
    """
    if not is_folder(url):
        return None
    parts = urlsplit(url)
    path = Path(unquote(parts.path) if parts.scheme else url)
    if parts.netloc not in ("", "localhost") or not path.is_absolute():
        raise InvalidError(
            f"{what} {without_password(url)!r} is not an absolute path: write file:///where/it/is"
        )
    return path


def check_installed(url: str, what: str) -> None:
    """Raises SetupError, with what to install, where a package is missing, and InvalidError where
    fsspec knows none; connects nowhere."""
    with _usable(url, what):
        from fsspec import get_filesystem_class

        get_filesystem_class(url.partition("://")[0])


def _is_known(scheme: str) -> bool:
    try:
        from fsspec.registry import known_implementations, registry
    except ImportError:  # who opens it says so
        return True
    return scheme in known_implementations or scheme in registry


def open_url(
    url: str, what: str, options: Mapping[str, Any] = MappingProxyType({})
) -> tuple[Any, str]:
    """The file system behind a URL, and the path in it; ``what`` names it in messages.

    Raises SetupError, with what to install, and InvalidError for a URL that is none; backends also
    raise types of their own.
    """
    if (scheme := _WITHOUT_SLASHES.match(url)) is not None:  # it would be taken for a folder here
        raise InvalidError(f"{what} {without_password(url)} cannot be used: write {scheme[1]}://")
    if not is_folder(url):
        _check_names(url, what)
    with _usable(url, what):
        from fsspec.core import url_to_fs

        filesystem, path = url_to_fs(url, **options)
    return filesystem, str(path).rstrip("/")


def files_below(filesystem: Any, place: str) -> dict[str, dict[str, Any]]:
    """What is known of each file below a place, by path; nothing where the place is not there.

    Raises what the backend raises, also for a folder that cannot be listed: fsspec's own ``find``
    passes over it otherwise, and its files would be taken for removed.
    """
    options = {"on_error": not_listed_unless_gone} if _finds_by_walking(filesystem) else {}
    found: dict[str, dict[str, Any]] = filesystem.find(place, detail=True, **options)
    return found


def _finds_by_walking(filesystem: Any) -> bool:
    """Whether its ``find`` is fsspec's own. Those of stores of objects ask for all at once, and
    give what else they are told to their servers."""
    from fsspec import AbstractFileSystem
    from fsspec.asyn import AsyncFileSystem

    kind = type(filesystem)
    if isinstance(filesystem, AsyncFileSystem) and kind._find is not AsyncFileSystem._find:
        return False
    return kind.find is AbstractFileSystem.find


@contextmanager
def _usable(url: str, what: str) -> Iterator[None]:
    """What fsspec says of a URL within, as errors of ours."""
    shown = without_password(url)
    try:
        import fsspec.core  # noqa: F401
    except ImportError:
        raise SetupError(f"{what} {shown} needs fsspec: pip install 'rekindle[blobs]'") from None
    try:
        yield
    except ImportError as error:  # fsspec has it, but not what it needs
        raise SetupError(f"{what} {shown} cannot be opened: {reason(error)}") from error
    except (ValueError, TypeError, AttributeError) as error:  # the last two where a part is missing
        raise InvalidError(f"{what} {shown} cannot be used: {reason(error)}") from error
