"""``rekindle run --write-result FILE``: what was returned, as a file."""

from __future__ import annotations

import os
from typing import Any

from rekindle.counted import counted
from rekindle.exception import InvalidError
from rekindle.sdk import notes


def check(path: str) -> None:
    """Refuse a file that cannot be written, before anything has run. Raises InvalidError."""
    directory = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise InvalidError(f"--write-result {path}: that is a directory; name a file")
    if not os.path.isdir(directory):
        raise InvalidError(f"--write-result {path}: there is no directory {directory}")
    if not os.access(path if os.path.exists(path) else directory, os.W_OK):
        raise InvalidError(f"--write-result {path}: it may not be written")


def write(path: str, result: Any, of: str) -> None:
    """Write what ``of`` returned. Raises InvalidError for what is neither str nor bytes."""
    if isinstance(result, str):
        data = result.encode()
    elif isinstance(result, bytes | bytearray | memoryview):
        data = bytes(result)
    else:
        kind = "None" if result is None else f"a value of type {type(result).__name__}"
        raise InvalidError(
            f"--write-result {path}: {of} returned {kind}; only str and bytes are written as they "
            f"are: return json.dumps(...), say"
        )
    try:
        with open(path, "wb") as file:
            file.write(data)
    except OSError as error:
        raise InvalidError(f"--write-result {path}: {error.strerror}") from error
    if notes.shown:
        notes.write_note(f"Wrote {counted(len(data), 'byte')} to {path}.")
