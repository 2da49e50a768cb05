"""Files that a frozen process has open for writing: a restore takes them at any size.

CRIU refuses to restore when a file is not as long as it was, which is right for what is only read.
What is open for writing grows by the work of the very runners that come from the snapshot (a log, a
database), so the next restore would be refused.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from rekindle.exception import CriuNotFoundError, SnapshotInvalidError
from rekindle.snapshot.mapped import imagefile
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)


def forget_sizes(images: Path) -> None:
    """Take the sizes of such files out of the images of a finished dump. Raises OSError."""
    path = images / "files.img"
    try:
        files = imagefile.read(path, imagefile.messages("fdinfo_pb2").file_entry)
    except (CriuNotFoundError, SnapshotInvalidError) as error:
        log.info("sizes of written files stay in the images", extra=kv(reason=error))
        return
    changed = False
    for entry in files.entries:
        if entry.HasField("reg") and entry.reg.flags & os.O_ACCMODE != os.O_RDONLY:
            changed |= entry.reg.HasField("size")
            entry.reg.ClearField("size")
    if changed:
        draft = path.with_suffix(".draft")
        files.write(draft)
        os.replace(draft, path)
