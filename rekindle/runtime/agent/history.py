"""What happened on this node, for its heartbeat: the newest starts, and counts of all of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from rekindle.runtime.agent.inputs.assignment import Cancel
from rekindle.runtime.agent.recent import Recent
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.wire import functionid
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import Mark, Strategy, durations_ms

#: Starts that are kept.
_KEPT = 256
#: Starts that one heartbeat reports at most; the rest follow with the next ones.
_REPORTED_AT_ONCE = 64


@dataclass(slots=True)
class Start:
    """One start. What the controller is told of it is made when it is told, of many at a time."""

    at_ns: int
    function: str
    function_id: str
    params: str
    #: Of one that failed without a runner; "" otherwise.
    error: str
    runner_id: str = ""
    strategy: str = ""
    notes: Sequence[str] = ()
    gpus: Sequence[str] = ()
    from_disk: bool = False
    marks: Sequence[Mark] = ()
    #: Its number among all of this agent.
    seq: int = 0

    def message(self) -> pb.RunnerStart:
        """As its heartbeat reports it to the controller."""
        made = pb.RunnerStart(
            seq=self.seq,
            at_ns=self.at_ns,
            function=self.function,
            function_id=self.function_id,
            params=self.params,
            error=self.error,
            runner_id=self.runner_id,
            strategy=self.strategy,
            notes=self.notes,
            gpus=self.gpus,
            from_disk=self.from_disk,
        )
        for name, ms in durations_ms(self.at_ns, self.marks).items():
            made.phases_ms[name] = round(ms, 3)
        return made


@dataclass
class History:
    """Since this agent started."""

    starts: deque[Start] = field(default_factory=lambda: deque(maxlen=_KEPT))
    #: How many starts there were, ever: the number of the newest one.
    count: int = 0
    #: (function id, "died" | "timeout" | ...) -> runners that ended so.
    lost: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Runner id -> its share of memory, bytes, after a call that asked for a strategy by name.
    measured_pss: Recent[str, int] = field(default_factory=lambda: Recent(_KEPT))
    _reported: int = 0

    def note(self, start: Start) -> None:
        """One more start."""
        self.count += 1
        start.seq = self.count
        self.starts.append(start)

    def runner_ended(self, function_id: str, runner: Runner) -> None:
        """A runner ended while it was its pool's: counted, unless it was to be."""
        if not runner.kill_reason:
            how = "died"
        elif runner.kill_for is None:
            return
        else:
            how = "timeout" if runner.kill_for.cancel is Cancel.NO else "cancelled"
        self.lost[function_id, how] += 1

    def forget(self, app_id: str) -> None:
        """An app is closed: runners that its functions lost count on, under no name."""
        for key in [key for key in self.lost if functionid.is_of_app(key[0], app_id)]:
            self.lost["", key[1]] += self.lost.pop(key)

    def news(self) -> list[pb.RunnerStart]:
        """Starts since the last time this was asked, oldest first."""
        first = self.count - len(self.starts)  # number of the oldest that is kept
        begin = max(self._reported, first)
        self._reported = min(self.count, begin + _REPORTED_AT_ONCE)
        return [one.message() for one in list(self.starts)[begin - first : self._reported - first]]

    def report_again(self) -> None:
        """The last heartbeats may not have arrived: report what is kept once more."""
        self._reported = 0

    def runners_lost(self) -> dict[str, pb.LostRunners]:
        """By function id."""
        lost: dict[str, pb.LostRunners] = {}
        for (function_id, how), count in self.lost.items():
            lost.setdefault(function_id, pb.LostRunners()).by_reason[how] = count
        return lost


def start_of(
    function_id: str, revision: Revision, runner: Runner | None, began_ns: int, error: str
) -> Start:
    """The record of a start; of one that failed without a runner."""
    made = Start(began_ns, revision.label, function_id, revision.params_digest, error)
    if runner is not None:
        made.runner_id, made.strategy = runner.id, runner.strategy.value
        made.notes, made.gpus, made.marks = runner.notes, runner.gpus, runner.marks
        made.from_disk = runner.strategy is Strategy.RESTORE and revision.read_from_disk > 0
    return made
