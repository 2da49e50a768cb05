"""One lease: a runner in one client's hands. What is done with leases is leases.py's."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass, field
from enum import Enum

from rekindle.exception import InternalFailure
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.runners.runner import Runner, RunnerState


class LeaseState(Enum):
    """Where a lease is in its life."""

    STARTING = "starting"  # its client's connection goes to a runner with its start
    OFFERED = "offered"  # the runner is reserved, its client has not connected
    HELD = "held"
    RECALLED = "recalled"  # what was sent is served, nothing new comes
    ENDED = "ended"


_MOVES = {
    LeaseState.STARTING: {LeaseState.HELD, LeaseState.ENDED},
    LeaseState.OFFERED: {LeaseState.HELD, LeaseState.ENDED},
    LeaseState.HELD: {LeaseState.RECALLED, LeaseState.ENDED},
    LeaseState.RECALLED: {LeaseState.ENDED},
    LeaseState.ENDED: set(),
}


@dataclass
class Counts:
    """Direct calls of one function since this agent started."""

    calls: int = 0
    failures: int = 0
    busy_ns: int = 0


@dataclass(eq=False)
class Lease:
    """Only ``move`` changes its state."""

    id: str
    token: str
    pool: Pool
    runner: Runner
    #: What its results may have at most.
    max_result_bytes: int = 0
    #: Its runner's memory is measured when it ends.
    measure: bool = False
    state: LeaseState = LeaseState.OFFERED
    #: The runner's end of the connection; the agent never reads from it.
    sock: socket.socket | None = None
    since: float = field(default_factory=time.monotonic)  # of its state
    used: float = field(default_factory=time.monotonic)
    client_gone: bool = False
    #: Since it was asked for, its runner is to be taken back: no call follows the first one.
    recall_when_held: bool = False
    #: It came back before it was seen that its runner is ready.
    returned: bool = False
    #: Why the runner was ended, where the agent did it: a kind of fate, and words.
    fate: tuple[str, str] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    #: Of a runner that has several inputs at a time: where it is there.
    slot: int = -1
    #: The call that was asked to end, as it ran for too long: when it began.
    timed_out_ns: int = 0
    #: When its call was seen to have the user's terminal last: its time begins again after that.
    terminal_ns: int = 0
    _seen: tuple[int, int, int] = (0, 0, 0)
    _seen_in_slot: int = 0

    def __post_init__(self) -> None:
        page = self.runner.page
        self._seen = (page.done, page.busy_ns, page.failed)
        if self.runner.slots is not None:
            self.slot = self.runner.slots.take(self)
            self._seen_in_slot = page.slot(self.slot)[1]
            self.runner.settle()

    def move(self, to: LeaseState) -> None:
        """Change the state. Raises InternalFailure for a step that must not happen."""
        if to not in _MOVES[self.state]:
            raise InternalFailure(f"lease {self.id} cannot go from {self.state} to {to}")
        self.state, self.since = to, time.monotonic()

    @property
    def gone_key(self) -> str:
        """By what its runner knows who is to hear of its end."""
        return "lease" if self.slot < 0 else f"lease {self.id}"

    @property
    def runs(self) -> bool:
        """Whether a call runs now."""
        return self.is_live and self.began_ns != 0

    @property
    def is_live(self) -> bool:
        """Whether its runner is there, and lent."""
        state = self.runner.state
        return state is RunnerState.LENT or (state is RunnerState.BUSY and self.slot >= 0)

    @property
    def began_ns(self) -> int:
        """When the call that runs now began; 0 when none does. Of a live one."""
        page = self.runner.page
        return page.began_ns if self.slot < 0 else page.slot(self.slot)[0]

    def ran_s(self, at_ns: int) -> float:
        """For how long its call has run; the user's time at a terminal left out, and all before."""
        began_ns = self.began_ns
        if began_ns and self.runner.page.at_terminal:
            self.terminal_ns = at_ns
        return (at_ns - max(began_ns, self.terminal_ns)) / 1e9 if began_ns else 0.0

    def count(self, counts: Counts) -> bool:
        """Add what was called since it was counted last; whether anything was."""
        if self.runner.state is RunnerState.GONE:
            return False  # its page is closed
        page = self.runner.page
        done, busy_ns, failed = page.done, page.busy_ns, page.failed
        if self.slot < 0:
            before, self._seen = self._seen, (done, busy_ns, failed)
        else:  # its runner's, whichever lease is asked first
            before, self.runner.counted = self.runner.counted, (done, busy_ns, failed)
        calls = done - before[0]
        counts.calls += calls
        counts.busy_ns += busy_ns - before[1]
        counts.failures += failed - before[2]
        self.runner.inputs_done += calls
        if self.slot < 0:
            return calls > 0
        in_slot, self._seen_in_slot = self._seen_in_slot, page.slot(self.slot)[1]
        return self._seen_in_slot != in_slot
