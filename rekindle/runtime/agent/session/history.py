"""What happened on this node, for its heartbeat: the newest starts, and counts of all of them."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import Strategy, durations_ms

if TYPE_CHECKING:
    from rekindle.runtime.agent.pools.pool import Pool
    from rekindle.runtime.agent.runners.runner import Runner

#: Starts that are kept.
_KEPT = 256
#: Starts that one heartbeat tells at most; the rest follow with the next ones.
_TOLD = 64


@dataclass
class History:
    """Since this agent started."""

    starts: deque[pb.RunnerStart] = field(default_factory=lambda: deque(maxlen=_KEPT))
    #: How many starts there were, ever: the number of the newest one.
    count: int = 0
    #: (function id, "died" | "timeout" | ...) -> runners that ended so.
    lost: Counter[tuple[str, str]] = field(default_factory=Counter)
    _told: int = 0

    def note(self, start: pb.RunnerStart) -> None:
        """One more start."""
        self.count += 1
        start.seq = self.count
        self.starts.append(start)

    def news(self) -> list[pb.RunnerStart]:
        """Starts since the last time this was asked, oldest first."""
        first = self.count - len(self.starts)  # number of the oldest that is kept
        begin = max(self._told, first)
        self._told = min(self.count, begin + _TOLD)
        return list(self.starts)[begin - first : self._told - first]

    def tell_again(self) -> None:
        """The last heartbeats may not have arrived: tell what is kept once more."""
        self._told = 0

    def runners_lost(self) -> dict[str, pb.LostRunners]:
        """By function id."""
        lost: dict[str, pb.LostRunners] = {}
        for (function_id, how), count in self.lost.items():
            lost.setdefault(function_id, pb.LostRunners()).by_reason[how] = count
        return lost


def start_of(pool: Pool, runner: Runner | None, began_ns: int, error: str) -> pb.RunnerStart:
    """The record of a start in a pool; of one that failed without a runner."""
    made = pb.RunnerStart(
        at_ns=began_ns,
        function=pool.revision.label,
        function_id=pool.function_id,
        params=hashlib.sha256(pool.revision.params).hexdigest() if pool.revision.params else "",
        error=error,
    )
    if runner is not None:
        made.runner_id = runner.id
        made.strategy = runner.strategy.value
        made.notes.extend(runner.notes)
        made.from_disk = runner.strategy is Strategy.RESTORE and pool.revision.read_from_disk > 0
        for name, ms in durations_ms(began_ns, runner.marks).items():
            made.phases_ms[name] = round(ms, 3)
    return made
