"""Back-off of one pool: starts that fail and runners that die do not keep a node busy for ever.

One failure delays what no one waits for. Several in a row are a loop: inputs wait, too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

_FIRST_S, _MAX_S = 1.0, 60.0
#: So many failures in a row are a loop.
_LOOP = 3


@dataclass
class Backoff:
    """Failures in a row, and until when nothing is started."""

    failed_starts: int = 0
    #: Runners that died by themselves, with an input or before any.
    deaths: int = 0
    _until: float = 0.0

    @property
    def is_loop(self) -> bool:
        """Whether starts, or inputs, fail one after the other."""
        return max(self.failed_starts, self.deaths) >= _LOOP

    def left_s(self) -> float:
        """For how long nothing is to be started."""
        return max(0.0, self._until - time.monotonic())

    def start_failed(self) -> None:
        """A start failed."""
        self.failed_starts += 1
        self._delay(self.failed_starts - 1)

    def died(self) -> None:
        """A runner died by itself, with nothing to show for it."""
        self.deaths += 1
        if self.deaths >= _LOOP:
            self._delay(self.deaths - _LOOP)

    def started(self) -> None:
        """A start succeeded."""
        self.failed_starts = 0
        if not self.deaths:
            self._until = 0.0

    def served(self) -> None:
        """A runner ended what it had been handed."""
        if self.deaths:
            self.deaths = 0
            self._until = 0.0

    def _delay(self, doublings: int) -> None:
        self._until = time.monotonic() + min(_FIRST_S * 2.0 ** min(doublings, 10), _MAX_S)
