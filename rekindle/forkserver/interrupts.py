"""Ctrl-C in a terminal reaches every process in the foreground; only the client acts on it.

By a handler that does nothing, not by ignoring the signal: what is ignored stays so in every
program that user code starts, which could then not be interrupted at all.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: Whether what is forked now is a copy of ours, no child of user code.
forking_ours = False
_registered = False


def disregard() -> None:
    """Let SIGINT do nothing in this process and in its copies, but the usual in other children."""
    global _registered
    signal.signal(signal.SIGINT, _nothing)
    signal.siginterrupt(signal.SIGINT, False)  # system calls of libraries go on
    if not _registered:
        _registered = True
        os.register_at_fork(after_in_child=_in_child)


@contextmanager
def for_copies() -> Iterator[None]:
    """What is forked within is a copy of ours, no child of user code."""
    global forking_ours
    forking_ours = True
    try:
        yield
    finally:
        forking_ours = False


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """The client ends what is to end."""


def _in_child() -> None:
    # A handler that user code set is its own.
    if not forking_ours and signal.getsignal(signal.SIGINT) is _nothing:
        signal.signal(signal.SIGINT, signal.default_int_handler)
