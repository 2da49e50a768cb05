"""A start that is under way: its clock, and the client that it is for, if it is for one.

The connection of such a client goes to the runner with its start. The runner reads what the client
sent once it is ready, and says itself what was granted: no answer of the agent is waited for in
between. Until then the connection is the agent's: a start that fails falls to the next step of the
ladder with it, unless its runner was ready, and may have begun the call. Knows nothing of leases.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from rekindle.runtime.agent.inputs.outcome import StartFailure
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.runtime.agent.starts.dying_copies import Deaths
from rekindle.wire.frames import Header
from rekindle.wire.phases import PhaseClock


@dataclass(eq=False)
class FirstClient:
    """Who waits for a runner."""

    sock: socket.socket
    #: What a runner is told of its lease, with the notes of its start up to then: called for each
    #: one that is told to start.
    offer: Callable[[Runner, list[str]], Header]
    #: One of them is ready, and has the connection.
    served: Callable[[Runner], None]
    #: Its app was closed meanwhile.
    withdrawn: Callable[[], None]
    #: None could be started.
    failed: Callable[[StartFailure], None]

    @property
    def waits(self) -> bool:
        """Whether its connection is there for the next one that is started."""
        return self.sock.fileno() >= 0


@dataclass(eq=False)
class PendingStart:
    """One start."""

    clock: PhaseClock
    client: FirstClient | None = None
    #: Why steps of the ladder were passed over, and what else it differs in from what was asked.
    notes: list[str] = field(default_factory=list)
    #: Its strategy was asked for: no other step follows one that fails.
    by_name: bool = False
    #: Copies that ended on the way to be its runner.
    deaths: Deaths = field(default_factory=dict)

    def note(self, why: str) -> None:
        """Once, however often the start begins again."""
        if why not in self.notes:
            self.notes.append(why)
