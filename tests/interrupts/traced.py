"""Places of Python 3.11, by tracing each instruction."""

from __future__ import annotations

import opcode
import signal
import sys
from functools import cache
from types import CodeType, FrameType
from typing import Any

from tests.interrupts.interrupt import Interrupt

#: Behind these the interpreter looks whether a signal has come; but for calls of functions of
#: Python's, at whose beginning it does.
_LOOKS = frozenset(
    number
    for name, number in opcode.opmap.items()
    if name.startswith(("CALL", "RESUME", "POP_JUMP_BACKWARD")) or name == "JUMP_BACKWARD"
)
_RESUME = opcode.opmap["RESUME"]
#: Called by way of C, which looks behind it as behind its own functions.
_BY_TYPE = frozenset({"__init__", "__new__", "__call__", "__enter__", "__exit__", "__del__"})


class Traced(Interrupt):
    """The handler runs before the instruction that follows the place. Behind a call of a generator
    function there is none, which tracing does not tell."""

    def _begin(self) -> None:
        self._behind: dict[FrameType, int] = {}  # the last instruction
        self._called: set[FrameType] = set()  # a function of Python's just now
        self._trace = sys.gettrace()
        sys.settrace(self._entered)

    def _end(self) -> None:
        sys.settrace(self._trace)
        self._behind.clear()
        self._called.clear()

    def _entered(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_back is not None and frame.f_code.co_name not in _BY_TYPE:
            self._called.add(frame.f_back)
        if self.at or not self._counts(frame.f_code):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._ran

    def _ran(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode" and not self.at:
            codes, at = _codes(frame.f_code), frame.f_lasti
            behind = self._behind.get(frame, _RESUME)  # of which Python tells as of the call
            self._behind[frame] = codes[at]
            by_python = frame in self._called
            self._called.discard(frame)
            begins = behind == _RESUME
            # Not so where a generator was thrown into, or goes on behind "yield from" or "await".
            looks = codes[at - 2] == _RESUME and codes[at - 1] < 2 if begins else not by_python
            if behind in _LOOKS and looks and self._comes(frame, begins=begins):
                signal.raise_signal(signal.SIGUSR2)
        elif event == "return":
            self._behind.pop(frame, None)
        return self._ran


@cache
def _codes(code: CodeType) -> bytes:
    return code.co_code
