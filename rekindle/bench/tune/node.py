"""The node that is simulated: its limits, and how it behaves whatever the policy."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node."""

    memory_bytes: float = math.inf
    #: Runners at most, of all functions together.
    max_runners: float = math.inf
    #: Plans are made anew this often at most, as the controller does, but for times that a
    #: policy itself asks for.
    tick_s: float = 2.0
    #: As the agent does: beside runners that are there, one more is started only for as much work
    #: as a start takes (a slice at least), or for an input that has waited that long. Else one is
    #: started for every input that waits longer than the plan's patience.
    paced: bool = False
    slice_s: float = 0.005
