"""Sockets of the controller in the instance's directory: for the instance's user alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from rekindle.exception import SetupError
from rekindle.paths import fitting_socket


@contextlib.contextmanager
def private_socket(path: Path) -> Iterator[None]:
    """Bind a socket at this path in the block; what is made meanwhile has mode 0600 at most.

    Raises SetupError where the path is too long, or cannot be listened on.
    """
    fitting_socket(path)
    path.unlink(missing_ok=True)  # of a controller that was killed; the lock is ours
    former = os.umask(0o177)
    try:
        yield
    except (OSError, RuntimeError) as error:  # gRPC's is a RuntimeError
        raise SetupError(f"cannot listen on {path}: {error}") from error
    finally:
        os.umask(former)
