"""A signal at one place of our code, whose handler raises; how its places are found is not known
here."""

from __future__ import annotations

import gc
import os
import signal
import weakref
from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path
from types import CodeType, FrameType

import rekindle

_OURS = str(Path(rekindle.__file__).parent)


class Interrupt(ABC):
    """A signal at the n-th place of ours that this thread comes to, whose handler raises."""

    def __init__(self, place: int, error: type[BaseException], within: Collection[str]) -> None:
        """``within``: the names of the files that count; all without."""
        self._left = place
        self._within = within
        self._error = error
        #: Where it came; empty where there were fewer places.
        self.at = ""

    def __enter__(self) -> Interrupt:
        self._before = signal.signal(signal.SIGUSR2, self._raise)
        # What is garbage already is not collected within: Python drops what is raised in a
        # generator of ours that it closes as it does that.
        gc.freeze()
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        gc.unfreeze()
        signal.signal(signal.SIGUSR2, self._before)

    @abstractmethod
    def _begin(self) -> None:
        """Look for places."""

    @abstractmethod
    def _end(self) -> None:
        """Look no more; keep no frame."""

    def _raise(self, _number: int, _frame: FrameType | None) -> None:
        raise self._error

    def _counts(self, code: CodeType) -> bool:
        file = code.co_filename
        if not file.startswith(_OURS):
            return False
        return not self._within or os.path.basename(file) in self._within

    def _comes(self, frame: FrameType, *, begins: bool) -> bool:
        """One place more; whether the signal is to come at it."""
        self._left -= 1
        if self._left > 0 or is_lost(frame):
            return False
        code = frame.f_code
        where = f"{'at the beginning of' if begins else 'in'} {code.co_name}"
        self.at = f"{Path(code.co_filename).name}:{frame.f_lineno}, {where}"
        return True


def is_lost(frame: FrameType | None) -> bool:
    """Whether Python drops what is raised here: at the end of an object."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or code.co_filename == weakref.__file__:
            return True
        frame = frame.f_back
    return False
