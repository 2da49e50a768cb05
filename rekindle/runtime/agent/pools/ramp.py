"""How many starts for inputs that wait a pool has under way, where each input needs one.

All at once they would share the processors, and each of them would cost more: what 128 children
of one template touch does not fit into the caches. So a few are young at a time; one that takes
longer, as its hooks wait for something, goes on beside the next ones. Knows nothing of starts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rekindle.wire.phases import Mark, Phase, durations_ms

#: A start is young for so long.
YOUNG_S = 0.2


def places_here() -> int:
    """Twice as many as there are processors: while one start waits for an answer others work."""
    return 2 * len(os.sched_getaffinity(0))


@dataclass(eq=False)
class Ramp:
    """The starts of one pool."""

    places: int = field(default_factory=places_here)
    #: The last start that became a runner: when it began, and its marks.
    _last: tuple[int, Sequence[Mark]] = (0, ())
    _young: list[float] = field(default_factory=list)

    def begun(self) -> float:
        """Note that a start begins; what it returns is for ``ended``."""
        began = time.monotonic()
        self._young.append(began)
        return began

    def ended(self, began: float) -> None:
        """Note that a start is over, well or not."""
        if began in self._young:
            self._young.remove(began)

    def started(self, began_ns: int, marks: Sequence[Mark]) -> None:
        """Note the marks of a start that has become a runner."""
        self._last = began_ns, marks

    def room(self) -> int:
        """How many more may begin now."""
        took = durations_ms(*self._last)
        if 2 * took.get(Phase.ENTER_RUNNER, 0.0) > sum(took.values()):
            return 1 << 30  # most of it was its hooks: they may wait, then all go on at once
        young_from = time.monotonic() - YOUNG_S
        self._young = [began for began in self._young if began > young_from]
        return max(0, self.places - len(self._young))

    def room_in_s(self) -> float:
        """In how many seconds there is room in any case, where there is none now."""
        return max(0.0, self._young[0] + YOUNG_S - time.monotonic()) if self._young else 0.0
