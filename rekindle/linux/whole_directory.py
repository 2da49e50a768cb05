"""A directory that is there whole or not at all. Knows nothing of what it holds."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_directory(target: Path) -> Iterator[Path]:
    """The draft of a directory, beside it: fill it, and it is renamed at the end.

    The name tells the content: of two that make it at the same time, the first one's stays. Raises
    OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=target.parent))
    try:
        yield draft
        try:
            os.rename(draft, target)
        except OSError:
            if not target.is_dir():  # else another process was first
                raise
    finally:
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
