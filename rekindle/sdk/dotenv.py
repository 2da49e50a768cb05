"""Values of ``.env`` files, which python-dotenv reads. Imported where a secret is made from one."""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from dotenv.parser import parse_stream
from dotenv.variables import Variable, parse_variables

from rekindle import paths
from rekindle.exception import InvalidError
from rekindle.sdk.program import main_module
from rekindle.wire.usercode import came_by_signal


def load(path: str | Path | None, filename: str) -> dict[str, str]:
    """Values of the file at ``path``; of the nearest ``filename`` at or above it, where it is a
    directory, or the code that asks (``__file__``).

    Raises InvalidError where no file is there, and as ``parse`` does.
    """
    start = Path(paths.working_directory(), path or ".")
    try:
        file = _find(start, filename)
    except OSError as error:
        if came_by_signal(error):
            raise
        raise InvalidError(f"Secret.from_dotenv: {start} cannot be read: {error}") from None
    return read(file)


def read(file: Path) -> dict[str, str]:
    """Values of this file. Raises InvalidError."""
    try:
        with file.open(encoding="utf-8") as stream:
            return parse(stream, str(file))
    except OSError as error:
        if came_by_signal(error):
            raise
        raise InvalidError(f"{file} cannot be read: {error.strerror}") from None


def parse(stream: IO[str], name: str) -> dict[str, str]:
    """Values of a stream; ``name`` is what errors call it.

    ``${NAME}`` is what stands above it, else in the environment, ``${NAME:-x}`` is x without
    either. Raises InvalidError, which shows no value.
    """
    try:
        lines = list(parse_stream(stream))
    except UnicodeDecodeError as error:  # which would quote what was read
        raise InvalidError(f"{name} is no UTF-8, at byte {error.start}") from None
    values: dict[str, str] = {}
    known = ChainMap(values, dict(os.environ))  # of the lines above, then of the environment
    for line in lines:
        place = f"{name}:{line.original.line}"
        if line.error or (line.key is not None and line.value is None):
            raise InvalidError(f"{place} is not of the form NAME=value")
        if line.key is not None and line.value is not None:
            values[line.key] = _filled_in(line.value, known, f"{place}, {line.key}")
    return values


def _filled_in(value: str, known: Mapping[str, str], place: str) -> str:
    atoms = list(parse_variables(value))
    for atom in atoms:
        if isinstance(atom, Variable) and atom.default is None and atom.name not in known:
            raise InvalidError(
                f"{place}: of a ${{...}} in it nothing is known: there is no such variable above "
                f"it nor in the environment; write ${{NAME:-}} where it may be missing"
            )
    return "".join(atom.resolve(known) for atom in atoms)


def _find(start: Path, filename: str) -> Path:
    if start.is_file() and not _is_code(start):
        return start
    for directory in (start, *start.parents):
        candidate = directory / filename
        if candidate.is_file():
            return candidate
    raise InvalidError(f"Secret.from_dotenv: no {filename} in {start} or above it")


def _is_code(file: Path) -> bool:
    """Scripts need no suffix."""
    program = main_module.current()
    return file.suffix in (".py", ".pyc") or (program is not None and file == program.file)
