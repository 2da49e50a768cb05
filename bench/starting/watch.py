"""A limit on how long a part of a benchmark may take: nothing is waited for without end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from rekindle.exception import ServiceError


class HangsError(ServiceError):
    """A part took longer than it may; the text says which."""


@contextlib.contextmanager
def limit(what: str, seconds: float) -> Iterator[None]:
    """Raise HangsError within, on the main thread, once ``seconds`` have passed."""

    def over(_number: int, _frame: FrameType | None) -> None:
        raise HangsError(f"hangs: {what} was not done after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
