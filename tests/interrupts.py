"""A signal's exception at each place of our code where Python lets a handler run."""

from __future__ import annotations

import gc
import opcode
import os
import signal
import sys
import weakref
from collections.abc import Callable, Collection, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import rekindle

_OURS = str(Path(rekindle.__file__).parent)
#: Behind these the interpreter looks whether a signal has come; but for calls of functions of
#: Python's, at whose beginning it does.
_LOOKS = frozenset(
    number
    for name, number in opcode.opmap.items()
    if name.startswith(("CALL", "RESUME", "JUMP_BACKWARD", "POP_JUMP_BACKWARD"))
)
#: Places after which what they have left is collected.
_COLLECTED_EVERY = 100
#: Called by way of C, which looks behind it as behind its own functions.
_BY_TYPE = frozenset({"__init__", "__new__", "__call__", "__enter__", "__exit__", "__del__"})


class Interrupt:
    """A signal at the n-th place of ours that this thread comes to, whose handler raises."""

    def __init__(
        self,
        place: int,
        error: type[BaseException] = KeyboardInterrupt,
        within: Collection[str] = (),
    ) -> None:
        """``within``: the names of the files that count; all without."""
        self._left = place
        self._within = within
        self._error = error
        self._behind: dict[FrameType, int] = {}  # the last instruction
        self._called: set[FrameType] = set()  # a function of Python's just now
        #: Where it came; empty where there were fewer places.
        self.at = ""

    def __enter__(self) -> Interrupt:
        self._before = signal.signal(signal.SIGUSR2, self._raise), sys.gettrace()
        # What is garbage already is not collected within: Python drops what is raised in a
        # generator of ours that it closes as it does that.
        gc.freeze()
        sys.settrace(self._entered)
        return self

    def __exit__(self, *_: object) -> None:
        handler, trace = self._before
        sys.settrace(trace)
        gc.unfreeze()
        signal.signal(signal.SIGUSR2, handler)
        self._behind.clear()
        self._called.clear()

    def _raise(self, _number: int, _frame: FrameType | None) -> None:
        raise self._error

    def _entered(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_back is not None and frame.f_code.co_name not in _BY_TYPE:
            self._called.add(frame.f_back)
        file = frame.f_code.co_filename
        if self.at or not file.startswith(_OURS):
            return None
        if self._within and os.path.basename(file) not in self._within:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._ran

    def _ran(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode" and not self.at:
            behind = self._behind.get(frame, _RESUME)  # of which Python tells as of the call
            self._behind[frame] = _codes(frame.f_code)[frame.f_lasti]
            by_python = frame in self._called
            self._called.discard(frame)
            if behind in _LOOKS and not (by_python and behind != _RESUME):
                self._left -= 1
                if self._left <= 0 and not _is_lost(frame):
                    code, begins = frame.f_code, behind == _RESUME
                    where = f"{'at the beginning of' if begins else 'in'} {code.co_name}"
                    self.at = f"{Path(code.co_filename).name}:{frame.f_lineno}, {where}"
                    signal.raise_signal(signal.SIGUSR2)
        elif event == "return":
            self._behind.pop(frame, None)
        return self._ran


_RESUME = opcode.opmap["RESUME"]


def _is_lost(frame: FrameType | None) -> bool:
    """Whether Python drops what is raised here: at the end of an object."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or code.co_filename == weakref.__file__:
            return True
        frame = frame.f_back
    return False


@cache
def _codes(code: CodeType) -> bytes:
    return code.co_code


def _apart(act: Callable[[], object]) -> Iterator[object]:
    """In a generator, which has a state of exceptions of its own: Python takes what is raised here
    for one of the next instruction, where a handler's exception is of the call before it, and so
    may leave the exception there that is just handled."""
    yield act()


def at_all_places(
    act: Callable[[], object],
    look: Callable[[str], object],
    *,
    before: Callable[[], object] = lambda: None,
    error: type[BaseException] = KeyboardInterrupt,
    step: int = 1,
    within: Collection[str] = (),
) -> set[str]:
    """Interrupt ``act`` at each place, or each ``step``-th, and ``look`` what is then; which
    places. Where what is loaded late is to be there, ``act`` has run before."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("it is known of Python 3.11 alone where it lets a handler run")
    places: set[str] = set()
    for place in range(1, 100_000, step):
        if place // step % _COLLECTED_EVERY == 0:
            gc.collect()
        before()
        cut = Interrupt(place, error, within)
        try:
            with cut:
                next(_apart(act))
        except error:
            places.add(cut.at)
        else:
            assert not cut.at, f"what the handler raised at {cut.at} did not come out"
            return places
        assert sys.exc_info() == (None, None, None), cut.at
        look(cut.at)
    raise AssertionError("it does not end")
