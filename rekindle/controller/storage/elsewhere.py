"""A note in an instance's directory on what it keeps elsewhere: a Redis and blobs of its user.

Who copies the directory, also while nothing runs there, learns from it what is not in it. Knows
nothing of who that is.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_NAME = "elsewhere"


@dataclass(frozen=True)
class Elsewhere:
    """URLs without passwords; empty: it is in the directory."""

    redis: str = ""
    blobs: str = ""


def note(directory: Path, places: Elsewhere) -> None:
    """Say where things are from now on. Nothing is written where that is said already, as the disk
    may be full."""
    draft = directory / f"{_NAME}.{os.getpid()}"
    try:
        if read(directory) == places:
            return
        draft.write_text(json.dumps(asdict(places)) + "\n", encoding="utf-8")
        draft.replace(directory / _NAME)
    except OSError as error:
        draft.unlink(missing_ok=True)
        log.warning("not noted", extra=kv(path=directory / _NAME, reason=error))


def read(directory: Path) -> Elsewhere:
    """What was said last. Raises OSError."""
    try:
        found = json.loads((directory / _NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return Elsewhere()  # never said; cut off by a power cut
    return Elsewhere(found["redis"], found["blobs"])
