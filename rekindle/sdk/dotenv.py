"""Values of ``.env`` files, which python-dotenv reads. Imported where a secret is made from one."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from dotenv.parser import parse_stream

from rekindle import paths
from rekindle.exception import InvalidError


def load(path: str | Path | None, filename: str) -> dict[str, str]:
    """Values of the file at ``path``, or of the nearest ``filename`` at or above it.

    Nothing is put in for ``${NAME}``. Raises InvalidError where no file is there or a line is not
    of the form NAME=value.
    """
    file = _find(path, filename)
    with file.open(encoding="utf-8") as stream:
        return parse(stream, str(file))


def parse(stream: IO[str], name: str) -> dict[str, str]:
    """Values of a stream; ``name`` is what errors call it. Raises InvalidError."""
    values: dict[str, str] = {}
    for line in parse_stream(stream):
        if line.error or (line.key is not None and line.value is None):
            raise InvalidError(f"{name}:{line.original.line} is not of the form NAME=value")
        if line.key is not None and line.value is not None:
            values[line.key] = line.value
    return values


def _find(path: str | Path | None, filename: str) -> Path:
    start = Path(paths.working_directory(), path or ".")
    if start.is_file():
        return start
    for directory in (start, *start.parents):
        candidate = directory / filename
        if candidate.is_file():
            return candidate
    raise InvalidError(f"Secret.from_dotenv: no {filename} in {start} or above it")
