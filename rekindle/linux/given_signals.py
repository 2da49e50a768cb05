"""Signals that whoever started a process ignored (``nohup``, ``trap '' CHLD``) or blocked (a server
that starts programs from a thread): an exec keeps both. Standard library only.
"""

from __future__ import annotations

import signal

#: What Python itself ignores as it starts.
_OF_PYTHON = frozenset({signal.SIGPIPE, signal.SIGXFSZ})


def forget() -> None:
    """Ignore and block nothing of that: for a daemon, which, with all that it starts, is to hear of
    the ends of its children and of orders to end."""
    for number in signal.valid_signals() - _OF_PYTHON:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def hear_of_children() -> None:
    """Not to ignore or block SIGCHLD: without it, nobody learns how a child has ended."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))
