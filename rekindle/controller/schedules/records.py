"""What is known of one schedule: when it ran, what it is just running, what it has missed.

Knows nothing of Redis, apps and calls.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from rekindle.exception import InternalFailure
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import schedules

#: So many of the newest runs are remembered.
_RUNS = 10
#: No more due times than this are counted one by one.
_MOST_COUNTED = 10_000
#: A clock that was set back by less catches up; one that was wrong by more was corrected.
_MOST_AHEAD_S = 3 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run. ``submitted`` 0: it is claimed, and not known to be in the queue yet."""

    due: float
    call_id: str
    function_id: str
    submitted: float = 0.0
    by_hand: bool = False
    error: str = ""  # why it could not be submitted


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    """A schedule of a function of a deployed app. Times are seconds since the epoch."""

    app: str
    function: str
    message: str  # Schedule, base64
    since: float  # when it began; a period counts from there
    active: bool = True
    last_due: float = 0.0
    count: int = 0
    missed: int = 0
    #: Due and not known to be submitted: nobody else may run it, and it will be run.
    claimed: Run | None = None
    runs: tuple[Run, ...] = ()  # oldest first

    @property
    def name(self) -> str:
        """What it is kept under."""
        return f"{self.app}/{self.function}"

    @property
    def schedule(self) -> pb.Schedule:
        """When it is due."""
        return pb.Schedule.FromString(base64.b64decode(self.message))

    def next_due(self) -> float:
        """When it is due next; of one that was missed, when it was. inf: never."""
        if not self.active:
            return float("inf")
        after = max(self.last_due, self.since)
        return schedules.next_after(self.schedule, after, self.since)

    def due_now(self, now: float) -> float | None:
        """The due time to run for: the latest that has come. Earlier ones are passed over."""
        if not self.active:
            return None
        after = max(self.last_due, self.since)
        return schedules.latest_until(self.schedule, after, now, self.since)

    def corrected(self, now: float) -> Scheduled | None:
        """As it goes on from now where what has run, or began, lies far ahead of the clock: that
        was wrong then, and nothing would be due until it comes there. None where it does not."""
        if not self.active or max(self.last_due, self.since) <= now + _MOST_AHEAD_S:
            return None
        return dataclasses.replace(self, last_due=now, since=min(self.since, now))

    def claim(self, due: float, call_id: str, function_id: str) -> Scheduled:
        """As it is once this due time is somebody's to run."""
        run = Run(due=due, call_id=call_id, function_id=function_id)
        return dataclasses.replace(
            self,
            last_due=due,
            claimed=run,
            count=self.count + 1,
            missed=self.missed + self._passed_over(due),
        )

    def _passed_over(self, due: float) -> int:
        schedule, at, count = self.schedule, max(self.last_due, self.since), 0
        while count < _MOST_COUNTED:
            at = schedules.next_after(schedule, at, self.since)
            if at >= due:
                break
            count += 1
        return count

    def ran(self, run: Run) -> Scheduled:
        """As it is once a run is in the queue, or cannot be."""
        claimed = self.claimed
        if claimed is not None and claimed.call_id == run.call_id:
            claimed = None
        return dataclasses.replace(self, claimed=claimed, runs=(*self.runs, run)[-_RUNS:])

    def to_json(self) -> str:
        """As it is stored."""
        raw = {**vars(self), "runs": [vars(run) for run in self.runs]}
        raw["claimed"] = vars(self.claimed) if self.claimed is not None else None
        return json.dumps(raw, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Scheduled:
        """The inverse of ``to_json``. Raises InternalFailure for what is none."""
        try:
            raw = json.loads(text)
            claimed = Run(**raw["claimed"]) if raw["claimed"] else None
            runs = tuple(Run(**one) for one in raw["runs"])
            made = cls(**{**raw, "claimed": claimed, "runs": runs})
            _ = made.schedule  # whether it can be had
        except (ValueError, TypeError, KeyError, AttributeError, DecodeError) as error:
            raise InternalFailure(
                f"what is kept of a schedule cannot be read: {error!r}"
            ) from error
        return made
