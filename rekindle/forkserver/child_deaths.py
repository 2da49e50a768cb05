"""SIGCHLD in a template, whose children are runners and copies: user code is not to hear of them.

What user code has set for it is put aside while the process is a template, and is there again in
every runner. With SIG_IGN the kernel would wait for the children in the template's place; a handler
would run at the end of each, and could wait for it, too. Standard library only.
"""

from __future__ import annotations

# By name: libraries that replace functions of the module (gevent does) mean user code's calls.
from signal import SIG_BLOCK, SIG_DFL, SIGCHLD, getsignal, pthread_sigmask, signal
from typing import Any

_aside: Any = None


def put_aside() -> None:
    """When it parks; in the main thread."""
    global _aside
    handler = getsignal(SIGCHLD)
    if handler is not None and handler != SIG_DFL:
        _aside = handler
        signal(SIGCHLD, SIG_DFL)


def give_back() -> None:
    """In a process that becomes a runner: as user code had it."""
    global _aside
    if _aside is not None:
        handler, _aside = _aside, None
        signal(SIGCHLD, handler)


def are_heard() -> bool:
    """Whether user code would still hear of one: by a handler that is not Python's, or later, as it
    keeps the signal blocked."""
    return getsignal(SIGCHLD) is None or SIGCHLD in pthread_sigmask(SIG_BLOCK, ())
