"""What happened on this node, for its heartbeat: the newest starts, and counts of all of them."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any

from rekindle.runtime.agent.inputs.assignment import Cancel
from rekindle.runtime.agent.recent import Recent
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.runtime.agent.starts.revision import Revision, digest
from rekindle.wire.phases import Strategy, durations_ms

#: Starts that are kept.
_KEPT = 256
#: Starts that one heartbeat reports at most; the rest follow with the next ones.
_TOLD = 64


@dataclass(frozen=True)
class Start:
    """One start of a runner, or the attempt."""

    at_ns: int  # when it began, CLOCK_REALTIME
    function: str
    function_id: str
    runner_id: str
    strategy: str  # "" where none succeeded
    phases_ms: dict[str, float]
    notes: list[str]  # strategies that were passed over, with the reason
    error: str  # "" where it succeeded
    params: str = ""  # digest of the parameters
    from_disk: bool = False  # of a restore: whether its pages were not in the page cache


@dataclass
class History:
    """Since this agent started."""

    starts: deque[Start] = field(default_factory=lambda: deque(maxlen=_KEPT))
    #: How many starts there were, ever: the number of the newest one.
    count: int = 0
    #: (function id, strategy, or "failed") -> starts.
    by_strategy: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Why restores and forks were passed over -> how often.
    passed_over: Counter[str] = field(default_factory=Counter)
    #: (function id, "died" | "timeout" | ...) -> runners that ended so.
    lost: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Runner id -> its share of memory, bytes, after a call that asked for a strategy by name.
    measured_pss: Recent[str, int] = field(default_factory=lambda: Recent(_KEPT))
    _told: int = 0

    def note(self, start: Start) -> None:
        """One more start."""
        self.starts.append(start)
        self.count += 1
        self.by_strategy[start.function_id, start.strategy or "failed"] += 1
        for note in start.notes:
            self.passed_over[note[:200]] += 1
            while len(self.passed_over) > _KEPT:
                del self.passed_over[min(self.passed_over, key=self.passed_over.__getitem__)]

    def runner_ended(self, function_id: str, runner: Runner) -> None:
        """A runner ended while it was its pool's: counted, unless it was to be."""
        if not runner.kill_reason:
            how = "died"
        elif runner.kill_for is None:
            return
        else:
            how = "timeout" if runner.kill_for.cancel is Cancel.NO else "cancelled"
        self.lost[function_id, how] += 1

    def news(self) -> list[dict[str, Any]]:
        """Starts since the last time this was asked, oldest first, each with its number."""
        first = self.count - len(self.starts)  # number of the oldest that is kept
        begin = max(self._told, first)
        end = min(self.count, begin + _TOLD)
        self._told = end
        kept = list(self.starts)[begin - first : end - first]
        return [
            {"seq": begin + i + 1, **asdict(start), "phases_ms": _rounded(start.phases_ms)}
            for i, start in enumerate(kept)
        ]

    def tell_again(self) -> None:
        """The last heartbeats may not have arrived: report what is kept once more."""
        self._told = 0

    def counters(self) -> dict[str, Any]:
        """Totals."""
        starts: dict[str, dict[str, int]] = {}
        for (function_id, strategy), count in self.by_strategy.items():
            starts.setdefault(function_id, {})[strategy] = count
        lost: dict[str, dict[str, int]] = {}
        for (function_id, how), count in self.lost.items():
            lost.setdefault(function_id, {})[how] = count
        return {"starts": starts, "passed_over": dict(self.passed_over), "runners_lost": lost}


def start_of(
    function_id: str, revision: Revision, runner: Runner | None, began_ns: int, error: str
) -> Start:
    """The record of a start; of one that failed without a runner."""
    made: dict[str, Any] = {
        "at_ns": began_ns,
        "function": revision.label,
        "function_id": function_id,
        "params": digest(revision.params),
    }
    if runner is None:
        return Start(**made, runner_id="", strategy="", phases_ms={}, notes=[], error=error)
    return Start(
        **made,
        runner_id=runner.id,
        strategy=runner.strategy.value,
        phases_ms=durations_ms(began_ns, runner.marks),
        notes=list(runner.notes),
        error=error,
        from_disk=runner.strategy is Strategy.RESTORE and revision.read_from_disk > 0,
    )


def _rounded(phases: dict[str, float]) -> dict[str, float]:
    return {name: round(ms, 3) for name, ms in phases.items()}
