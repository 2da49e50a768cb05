"""A file system that does not answer, as that of a server that is gone; real, made with FUSE."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from rekindle.linux import mounts

_LET_GO_S = 60.0


@contextlib.contextmanager
def hung(place: Path) -> Iterator[Callable[[], None]]:
    """Nothing below ``place`` is answered until the block ends, or until what is given is called:
    then all is answered by an error. Root mounts it, in this mount namespace.

    A test that waits below it for ever itself is let go after a while, and has to fail then."""
    place.mkdir()
    # Nobody reads what the kernel asks here, not even which protocol it should speak.
    server = [os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)]
    try:
        options = f"fd={server[0]},rootmode=40000,user_id=0,group_id=0"
        mounts.mount("hung", str(place), "fuse", mounts.MS_NOSUID | mounts.MS_NODEV, options)

        def end() -> None:
            while server:
                os.close(server.pop())

        rescue = threading.Timer(_LET_GO_S, end)
        rescue.start()
        try:
            yield end
        finally:
            rescue.cancel()
            rescue.join()
            end()
            mounts.unmount(str(place))
    finally:
        while server:
            os.close(server.pop())
