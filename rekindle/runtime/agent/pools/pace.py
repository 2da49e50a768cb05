"""How fast a function's inputs go, and what follows from it: slices, hand-overs ahead, new runners.

Pure arithmetic on what was measured. Knows nothing of runners or of inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

#: A slice is so many inputs as take about this long...
SLICE_S = 0.005
#: ...or, where they go ahead, up to so long: the wake-ups of many runners cost more than the
#: inputs. Who is done first gets some of what others have before them (EVEN_OUT_S).
DEEP_SLICE_S = 0.25
#: It pays to have a runner give back inputs that would take it so long, two at least: it gives them
#: when its present one has ended, and would begin the first of them just then itself.
EVEN_OUT_S = 0.01
#: ...and never more inputs than this.
MAX_SLICE = 128
#: The payloads of a slice take no more than this, unless it is one input alone.
MAX_SLICE_BYTES = 1 << 20
#: What rekindle itself takes for an input in a runner.
OVERHEAD_S = 15e-6
#: Inputs longer than this are handed over when their runner is free, not ahead: the round trip is
#: nothing to them, and another runner may be free sooner.
AHEAD_BELOW_S = 0.02
#: Taken for the time of a start until one was measured.
START_S = 0.02
#: Weight of the newest measurement.
_NEWEST = 0.3


@dataclass
class Pace:
    """Measured times of one pool."""

    #: What an input takes in a runner; None until one has ended.
    service_s: float | None = None
    #: For how long the longest of the inputs that run now has been running.
    running_s: float = 0.0
    start_s: float = START_S

    def note(self, count: int, seconds: float) -> None:
        """So many inputs took so long, together."""
        if count <= 0:
            return
        mean = max(0.0, seconds / count)
        if self.service_s is None:
            self.service_s = mean
        else:
            self.service_s += _NEWEST * (mean - self.service_s)

    def started(self, seconds: float) -> None:
        """A start took so long."""
        self.start_s = seconds

    def slice_size(self, share: int) -> int:
        """Inputs to hand to one runner whose share of what is to be run is so many."""
        if self.service_s is None:
            return 1
        each_s = max(self.service_s, OVERHEAD_S)
        most = int((DEEP_SLICE_S if self.ahead else SLICE_S) / each_s)
        return max(1, min(most, MAX_SLICE, share))

    def worth_sharing(self, behind: int) -> bool:
        """Whether so many inputs that a runner has before it are worth to be shared with others."""
        if self.service_s is None or behind < 2:
            return False
        return behind * max(self.service_s, OVERHEAD_S) >= EVEN_OUT_S

    def lasts(self, seconds: float, waiting: int, takers: int) -> bool:
        """Whether what waits gives so many runners something to run for so long."""
        return waiting * max(self.service_s or 0.0, OVERHEAD_S) >= seconds * takers

    @property
    def ahead(self) -> bool:
        """Whether a busy runner is handed its next slice before it has ended the one it has."""
        return self.service_s is not None and self.service_s < AHEAD_BELOW_S

    @property
    def slow_s(self) -> float:
        """An input that runs longer than this holds up what is behind it in its slice."""
        return max(0.02, 3 * (self.service_s or 0.0))

    def runners_for(self, waiting: int) -> int:
        """Runners that so many waiting inputs are worth: each would have a start's time of work."""
        if self.service_s is None:
            return waiting
        work_s = waiting * max(self.service_s, self.running_s, OVERHEAD_S)
        return min(waiting, int(work_s / max(self.start_s, SLICE_S)))
