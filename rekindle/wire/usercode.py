"""What user code raised where we ran it: pickling, unpickling, ``str`` and ``repr`` of its objects.

It may raise anything, ``SystemExit`` too, and none of it may end the program or runner that works
with the object. What a signal handler raised meanwhile is not of the object: a Ctrl-C, or whatever
the program does on SIGTERM or an alarm, goes on its way. Standard library only: runners import
this.
"""

from __future__ import annotations

import functools
import signal
import threading
from types import CodeType
from typing import Any


def came_by_signal(error: BaseException) -> bool:
    """Whether a signal handler of this process raised it, Python's own for Ctrl-C included.

    Looked at where user code has failed, in place of a handler of ours around every run of it.
    """
    if threading.current_thread() is not threading.main_thread():
        return False  # handlers run on the main thread alone
    # Not valid_signals(): to make its enums takes four times as long as all the rest.
    handlers = [signal.getsignal(number) for number in range(1, signal.NSIG)]
    codes = {code for one in handlers if (code := _code_of(one)) is not None}
    last = None
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code in codes:
            return True
        last, step = step, step.tb_next
    if not isinstance(error, KeyboardInterrupt):
        return False
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return False
    # That handler has no frame: the innermost one was interrupted, and raised nothing itself.
    return last is None or not _raises(last.tb_frame.f_code, last.tb_lasti)


def text_of(error: BaseException) -> str:
    """``str`` of an error of the user's, or what became of it."""
    try:
        return str(error)
    except BaseException as failed:
        if came_by_signal(failed):
            raise
        return f"<str() of it failed: {type(failed).__name__}>"


def why_not_shown(error: BaseException) -> str:
    """Why an error cannot be printed: its ``str`` or ``repr`` fails. Empty where it can."""
    for show in (str, repr):
        try:
            show(error)
        except BaseException as failed:
            if came_by_signal(failed):
                raise
            return f"its {show.__name__}() fails ({type(failed).__name__}: {text_of(failed)})"
    return ""


def _code_of(handler: Any) -> CodeType | None:
    """The code that runs when a handler is called; None where it is none, or written in C."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    handler = getattr(handler, "__func__", handler)
    code = getattr(handler, "__code__", None)
    if code is None and callable(handler):
        code = getattr(type(handler).__call__, "__code__", None)
    return code if isinstance(code, CodeType) else None


def _raises(code: CodeType, at: int) -> bool:
    import opcode

    return at >= 0 and opcode.opname[code.co_code[at]] == "RAISE_VARARGS"
