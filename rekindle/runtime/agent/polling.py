"""Looks every now and then at what goes on, for as long as anything does.

Knows nothing of what is looked at: runners that have inputs (pools/runner_monitor.py), and those
that clients have (leases/lease_monitor.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class Polling(Generic[T]):
    """Of one loop; it rests until ``soon`` is called, and again when nothing goes on any more."""

    #: From one look to the next, in seconds.
    _period_s: float
    #: What goes on.
    _subjects: Callable[[], list[T]]
    #: Gets that, and the time (monotonic); once more when there is nothing.
    _look: Callable[[list[T], float], None]
    _timer: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """Look from now on, until nothing goes on."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._period_s, self._now)

    def stop(self) -> None:
        """Look no more, whatever goes on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _now(self) -> None:
        self._timer = None
        subjects = self._subjects()
        if subjects:
            self.soon()  # before: an error in one look is no end of looking
        self._look(subjects, time.monotonic())
