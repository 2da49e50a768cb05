"""Failures that pass: of the moment, or until somebody makes room. Not to be remembered."""

from __future__ import annotations

import errno
import os
import subprocess

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
#: No descriptor, process, memory or disk left; a device or server that does not answer.
_NUMBERS = _FULL | {
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS, errno.EINTR),
    *(errno.EBUSY, errno.EIO, errno.ETIMEDOUT, errno.ESTALE),
}
_WORDS = tuple(os.strerror(one).lower() for one in sorted(_NUMBERS))


def is_passing(error: BaseException) -> bool:
    """Whether the same may succeed later, judged by an error and what it was raised from."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _NUMBERS:
            return True
        if isinstance(cause, TimeoutError | subprocess.TimeoutExpired):
            return True
        cause = cause.__cause__
    return False


def is_full(error: OSError) -> bool:
    """Whether an error means that there is no space, by disk or by quota."""
    return error.errno in _FULL


def says_passing(text: str) -> bool:
    """The same of what another program printed."""
    return any(words in text.lower() for words in _WORDS)
