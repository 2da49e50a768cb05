"""The states of an input that travels alone, and the steps from one to another.

Knows nothing of inputs, calls and agents (state.py).
"""

from __future__ import annotations

from enum import Enum, auto


class DetachedState(Enum):
    """Where an input that travels alone is.

    QUEUED -> ASSIGNED -> DONE is the plain way. ASSIGNED -> ORPHANED when its runner or agent is
    lost, then back to ASSIGNED (the agent came back with it), QUEUED (placed again) or DELAYED
    (placed again later). ASSIGNED -> DELAYED -> QUEUED is a retry. Every state may go to DONE: the
    first result wins.
    """

    QUEUED = auto()
    ASSIGNED = auto()
    ORPHANED = auto()
    DELAYED = auto()
    DONE = auto()

    def may_become(self, state: DetachedState) -> bool:
        """Whether that is a step of one."""
        return state in _ALLOWED[self]


_ALLOWED = {
    DetachedState.QUEUED: {DetachedState.ASSIGNED, DetachedState.DONE},
    DetachedState.ASSIGNED: {
        DetachedState.ORPHANED,
        DetachedState.QUEUED,
        DetachedState.DELAYED,
        DetachedState.DONE,
    },
    DetachedState.ORPHANED: {
        DetachedState.ASSIGNED,
        DetachedState.QUEUED,
        DetachedState.DELAYED,
        DetachedState.DONE,
    },
    DetachedState.DELAYED: {DetachedState.QUEUED, DetachedState.DONE},
    DetachedState.DONE: set(),
}
