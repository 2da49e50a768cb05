"""Keeps SIGCHLD of a template's children (runners, copies) away from user code.

User code's own handler is set aside while the process is a template, and is there again in every
runner. With SIG_IGN the kernel would reap the template's children; a handler would run at the end
of each, and could reap it. Standard library only.
"""

from __future__ import annotations

# By name: libraries that replace functions of the module (gevent does) mean user code's calls.
from signal import SIG_BLOCK, SIG_DFL, SIGCHLD, getsignal, pthread_sigmask, signal
from typing import Any

_handler: Any = None


def set_aside() -> None:
    """Have the default in place of user code's handler: when it parks, in the main thread."""
    global _handler
    handler = getsignal(SIGCHLD)
    if handler is not None and handler != SIG_DFL:
        _handler = handler
        signal(SIGCHLD, SIG_DFL)


def give_back() -> None:
    """Have user code's handler again, in a process that becomes a runner."""
    global _handler
    if _handler is not None:
        handler, _handler = _handler, None
        signal(SIGCHLD, handler)


def reaches_user_code() -> bool:
    """Whether user code would get the signal all the same: by a handler that is not Python's, or
    later, as it keeps the signal blocked."""
    return getsignal(SIGCHLD) is None or SIGCHLD in pthread_sigmask(SIG_BLOCK, ())
