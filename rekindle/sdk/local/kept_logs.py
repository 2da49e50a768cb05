"""The logs of an instance's processes: so much of each, and as much of what was before.

A process writes to the end of its log for as long as it lives, so what is there moves aside as a
copy. A line that is written in that moment may be in neither. Standard library only.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from pathlib import Path

from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: One log has so much, ...
MOST_BYTES = 64 << 20
#: ... and what was in it before lies beside it.
BEFORE = ".1"


def move_aside(folder: Path) -> None:
    """Begin those anew that have become too long."""
    for file in folder.glob("*.log"):
        draft = file.with_name(f".{file.name}{BEFORE}")
        try:
            if file.stat().st_size <= MOST_BYTES:
                continue
            shutil.copyfile(file, draft)
            os.truncate(file, 0)
            os.replace(draft, f"{file}{BEFORE}")
        except OSError as error:
            log.warning("a log grows", extra=kv(path=file, reason=error))
            with contextlib.suppress(OSError):  # a full disk's last room is not for half a copy
                draft.unlink(missing_ok=True)
