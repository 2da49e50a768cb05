"""The process that serves lazy files by FUSE: ``python -m rekindle.blobs.lazy.server``.

It does what its owner says on a socket, one JSON object a line, and ends when that closes, however
the owner ends, and by SIGTERM, which it tells its owner. Its mount is taken away by a small process
that outlives it, so that none is left even if it is killed; who reads then gets an error from the
kernel.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys

from rekindle.linux import mounts
from rekindle.linux.plain_descriptors import first_line


def main(argv: list[str]) -> int:
    """``argv``: the socket's descriptor. Its first line: ``client.Settings``, as JSON."""
    fd = int(argv[1])
    settings = json.loads(first_line(fd))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal's group; the owner decides
    _leave_unmounter(settings["mountpoint"], fd)
    # For a thread that waits for it (serving.py): left to libfuse it would wait for all readers,
    # and they for what they read. Before any other thread, as they have this of the first one.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    # Not before the fork: what the other process does not need it should not hold.
    from rekindle.blobs.lazy.serving import serve

    return serve(socket.socket(fileno=fd), settings)


def _leave_unmounter(mountpoint: str, control_fd: int) -> None:
    """A process that waits for the end of this one, and takes away what it has mounted."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    if os.fork():
        os.close(read_end)
        return  # the write end is this process's, and closes with it
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.close(write_end)
        os.close(control_fd)
        os.read(read_end, 1)
        try:
            mounts.unmount(mountpoint)
        except OSError:
            pass  # by its owner already
        os.rmdir(mountpoint)
    except OSError:
        pass  # in use by somebody else, or gone
    finally:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
