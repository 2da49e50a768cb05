"""Phases: the named, timed steps of a start and of a call.

A record is a chain of marks on CLOCK_REALTIME: each mark gives the time since the mark before it
to one phase, so a record explains its total by construction, across processes. Standard library
only: templates and runners import this.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from enum import StrEnum


class Strategy(StrEnum):
    """How a runner came to be."""

    WARM = "warm"
    SPARE = "spare"
    FORK = "fork"
    RESTORE = "restore"
    COLD = "cold"


class Phase(StrEnum):
    """The steps, in the order in which they happen."""

    QUEUE = "queue"  # submitted to placed on a runner, or on the start of one
    IMAGE = "image"  # environment made ready
    ISOLATE = "isolate"  # namespaces, mounts
    INTERPRETER = "interpreter"  # exec to the first line of our code
    IMPORT = "import"  # user code and what it imports
    ENTER = "enter"  # @enter(snap=True) hooks
    RESTORE = "restore"  # CRIU, to the first instruction of the restored process
    FORK = "fork"  # fork of a template, to the child's first instruction
    GPU_RESTORE = "gpu_restore"  # context and device memory of a GPU snapshot, by the driver
    RESEED = "reseed"  # unique again
    GPU_CONTEXT = "gpu_context"
    GPU_WEIGHTS = "gpu_weights"
    ENTER_RUNNER = "enter_runner"  # @enter(snap=False) hooks
    LOAD_INPUT = "load_input"  # hand-over to the runner and unpickling
    EXECUTE = "execute"  # the user's function
    STORE_RESULT = "store_result"  # pickling, storing, delivery to the caller


#: CLOCK_REALTIME in nanoseconds: the one clock that all processes of a node share.
now_ns = time.time_ns


Mark = tuple[str, int]


class PhaseClock:
    """A chain of marks that starts at ``start_ns`` (CLOCK_REALTIME, nanoseconds)."""

    def __init__(self, start_ns: int | None = None) -> None:
        """``start_ns``: now, where none is given."""
        self.start_ns = now_ns() if start_ns is None else start_ns
        self.marks: list[Mark] = []

    def mark(self, phase: Phase) -> None:
        """End ``phase`` now."""
        self.marks.append((phase.value, now_ns()))

    def extend(self, marks: Iterable[Mark]) -> None:
        """Append marks that another process made."""
        self.marks.extend((name, int(at_ns)) for name, at_ns in marks)


def durations_ms(start_ns: int, marks: Iterable[Mark]) -> dict[str, float]:
    """Milliseconds by phase of a chain of marks; a phase that is marked twice is summed.

    A mark that lies before the one it follows (clocks stepped) counts as zero, and the chain goes
    on from the later of the two.
    """
    out: dict[str, float] = {}
    last = start_ns
    for name, at_ns in marks:
        out[name] = out.get(name, 0.0) + max(0, at_ns - last) / 1e6
        last = max(last, at_ns)
    return dict(sorted(out.items(), key=_place))


_ORDER = {phase.value: i for i, phase in enumerate(Phase)}


def _place(item: tuple[str, float]) -> int:
    return _ORDER.get(item[0], len(_ORDER))
