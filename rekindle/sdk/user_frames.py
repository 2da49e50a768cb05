"""What the traceback of an error shows that a program gets from us: the program's own frames.

``rekindle run`` leaves ours out where it shows an error (cli/failure.py). Where Python itself shows
it, in ``python program.py`` or in a log, they must not be in it. ``REKINDLE_TRACEBACK=1`` keeps
them. Standard library only.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, cast

from rekindle.exception import Error
from rekindle.wire import switches

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_STDLIB = os.path.dirname(os.__file__) + os.sep


F = TypeVar("F", bound=Callable[..., Any])


def trimmed(function: F) -> F:
    """A function of ours that a program calls; what it raises shows the program's frames only."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            only(error)
            raise

    return cast(F, call)


def only(error: BaseException) -> None:
    """Leave out our frames, and those of the standard library that we went through.

    For who is about to raise ``error`` once more to the program, by a bare ``raise``, which adds no
    frame. Of an error that is neither a function's nor of our own types nothing is left out: it may
    be a fault of ours.
    """
    if switches.asks_for_tracebacks():
        return
    from rekindle.wire.exceptions import remote_traceback

    if isinstance(error, Error) or remote_traceback(error) is not None:
        error.__traceback__ = _of_the_program(error.__traceback__)


def _of_the_program(trace: TracebackType | None) -> TracebackType | None:
    """What is left of a traceback; what a program has us call (the iterator of a map) stays."""
    kept: list[TracebackType] = []
    behind_ours = False
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        standard = file.startswith(_STDLIB) and "site-packages" not in file
        behind_ours = file.startswith(_PACKAGE) or (behind_ours and standard)
        if not behind_ours:
            kept.append(trace)
        trace = trace.tb_next
    found: TracebackType | None = None
    for one in reversed(kept):
        found = TracebackType(found, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return found
