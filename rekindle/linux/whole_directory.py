"""A directory that is there whole or not at all. Knows nothing of what it holds."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rekindle.linux import files


@contextmanager
def whole_directory(
    target: Path,
    *,
    durable: bool = True,
    named_by_content: bool = True,
    prefix: str = ".draft-",
) -> Iterator[Path]:
    """The draft of a directory, beside it: fill it, and it is renamed at the end.

    The name tells the content: of two that make it at the same time, the first one's stays, and
    where it does not (``named_by_content``), the second one fails. Not ``durable``: after a power
    cut the name may be there, and files without what was in them; for who looks at them each time.
    ``prefix``: of the draft's name, which stays where the process is killed. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    try:
        yield draft
        if durable:
            sync(draft)
        try:
            os.rename(draft, target)
        except OSError:
            if not (named_by_content and target.is_dir()):  # else another process was first
                raise
    finally:
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)


def sync(directory: Path) -> None:
    """Have all that is in a directory on the disk before what follows. Raises OSError."""
    for folder, _, names in os.walk(directory, topdown=False, onerror=files.not_listed):
        for name in names:
            path = os.path.join(folder, name)
            if not os.path.islink(path):  # that is in its folder
                files.sync(path)
        files.sync(folder)
