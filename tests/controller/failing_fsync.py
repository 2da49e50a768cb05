"""A controller to which no flush to disk succeeds while ``no-flush`` lies in its directory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from rekindle.controller import __main__ as controller

FLAG = "no-flush"


def main(argv: list[str]) -> int:
    """Be that controller."""
    flag = Path(argv[argv.index("--dir") + 1]) / FLAG
    flush = os.fdatasync

    def fdatasync(fd: int) -> None:
        if flag.exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        flush(fd)

    os.fdatasync = fdatasync
    return controller.main(argv)
