"""A holder as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rekindle.linux import inotify
from rekindle.linux.plain_descriptors import readable


@contextmanager
def listening(path: Path, *options: str) -> Iterator[str]:
    """A holder at ``path``, for a fixture; when it is told to end it must do so in good order."""
    came = inotify.watch(path.parent)
    process = subprocess.Popen(
        [sys.executable, "-m", "rekindle.gpu_restore.holding", "--socket", str(path), *options]
    )
    pidfd = os.pidfd_open(process.pid)
    try:
        while not path.exists():
            assert process.poll() is None, "the holder ended"
            readable([came, pidfd])
            inotify.forget_events(came)
    finally:
        os.close(came)
        os.close(pidfd)
    yield str(path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert not path.exists()
