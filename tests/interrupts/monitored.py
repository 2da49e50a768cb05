"""Places of Python 3.12 and 3.13, by sys.monitoring.

It looks at the beginning of a function, where a generator goes on behind its ``yield``, behind a
call of what is not a function of Python's, and where a loop begins anew.
"""

from __future__ import annotations

import ctypes
import opcode
import signal
import sys
import threading
from functools import cache
from sys import monitoring
from types import CodeType, FrameType
from typing import Any

from tests.interrupts.interrupt import Interrupt, is_lost

_TOOL = 3  # one that no kind of tool has for its own
_JUMP_BACKWARD = opcode.opmap["JUMP_BACKWARD"]
#: Events tell of super(), too, where no instruction calls it.
_CALLS = {opcode.opmap.get(name) for name in ("CALL", "CALL_KW", "CALL_FUNCTION_EX")}
_EVENTS = monitoring.events
#: What the instruction RESUME follows, in the lowest bits of its argument; it looks behind the
#: first two alone: a call, a yield, a "yield from", an await.
_FOLLOWED, _YIELD = 0b11, 1


class _Arrives:
    """``_ARRIVES[number]``: that signal has come. No call: the interpreter would look behind it."""

    __getitem__ = ctypes.pythonapi.PyErr_SetInterruptEx


_ARRIVES: Any = _Arrives()


class Monitored(Interrupt):
    """Behind a call and in a loop, the interpreter itself runs the handler."""

    def _begin(self) -> None:
        self._thread = threading.get_ident()
        self._codes: set[CodeType] = set()
        self._came: CodeType | None = None
        self._callbacks = {
            _EVENTS.PY_START: self._started,
            _EVENTS.PY_RESUME: self._resumed,
            _EVENTS.C_RETURN: self._returned,
            _EVENTS.INSTRUCTION: self._instructed,
        }
        monitoring.use_tool_id(_TOOL, __name__)
        for event, callback in self._callbacks.items():
            monitoring.register_callback(_TOOL, event, callback)
        monitoring.set_events(_TOOL, _EVENTS.PY_START)
        monitoring.restart_events()

    def _end(self) -> None:
        monitoring.set_events(_TOOL, 0)
        for code in self._codes:
            monitoring.set_local_events(_TOOL, code, 0)
        for event in self._callbacks:
            monitoring.register_callback(_TOOL, event, None)
        monitoring.free_tool_id(_TOOL)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self._came is not None:
            assert frame is not None
            # Before the place, what was given to the call ends; a generator tells that it does.
            if is_lost(frame) or frame.f_code.co_filename == __file__:
                return _ARRIVES[number]
            assert frame.f_code is self._came, self.at
        return super()._raise(number, frame)

    def _started(self, code: CodeType, _offset: int) -> object:
        if not self._counts(code):
            return monitoring.DISABLE
        if code not in self._codes:
            self._codes.add(code)
            # C_RETURN comes with CALL.
            events = _EVENTS.CALL | _EVENTS.PY_RESUME
            if _JUMP_BACKWARD in _instructions(code)[::2]:
                events |= _EVENTS.INSTRUCTION
            monitoring.set_local_events(_TOOL, code, events)
        return self._begins()

    def _resumed(self, code: CodeType, offset: int) -> object:
        follows = _instructions(code)[offset + 1] & _FOLLOWED
        return self._begins() if follows == _YIELD else None

    def _begins(self) -> None:
        """The interpreter looks, or has looked, by the very instruction that told: in 3.12 just
        after it has told, in 3.13 just before."""
        frame = sys._getframe(2)
        if self._is_place() and self._comes(frame, begins=True):
            signal.raise_signal(signal.SIGUSR2)

    def _returned(self, code: CodeType, offset: int, _called: object, _first: object) -> object:
        return self._looks() if _instructions(code)[offset] in _CALLS else None

    def _instructed(self, code: CodeType, offset: int) -> object:
        return self._looks() if _instructions(code)[offset] == _JUMP_BACKWARD else None

    def _looks(self) -> object:
        """The interpreter is about to look, in the function that called the one that called."""
        frame = sys._getframe(2)
        if self._is_place() and self._comes(frame, begins=False):
            self._came = frame.f_code
            return _ARRIVES[signal.SIGUSR2]  # the last that is done: here, too, it would look
        return None

    def _is_place(self) -> bool:
        return not self.at and threading.get_ident() == self._thread


@cache
def _instructions(code: CodeType) -> bytes:
    return code.co_code
