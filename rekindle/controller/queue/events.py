"""What others may want to hear of: inputs accepted, assigned, completed.

Who listens is called in the loop, for whole batches, and must return at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rekindle.controller.state import Agent, Call, Function


@dataclass(slots=True)
class Events:
    """Listeners; append to the lists."""

    #: (function, number of new inputs, params of the call)
    accepted: list[Callable[[Function, int, bytes], None]] = field(default_factory=list)
    #: (call, agent, number of inputs)
    assigned: list[Callable[[Call, Agent, int], None]] = field(default_factory=list)
    #: (call, how many inputs ended with which status, execute_ns of them all; 0: not known)
    completed: list[Callable[[Call, Mapping[int, int], int], None]] = field(default_factory=list)
    #: (call, number of inputs that are placed again because a runner or an agent was lost)
    placed_again: list[Callable[[Call, int], None]] = field(default_factory=list)
    #: (call) one input is tried again after a failure or a timeout
    retried: list[Callable[[Call], None]] = field(default_factory=list)
