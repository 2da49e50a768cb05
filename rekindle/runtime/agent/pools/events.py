"""What happens to a pool, as its parts report it. Its next pass takes it in (pool.py)."""

from __future__ import annotations

from dataclasses import dataclass

from rekindle.runtime.agent.runners.runner import Runner


@dataclass(frozen=True, slots=True)
class StartEnded:
    """The start of a runner has ended, or was given up before it began."""

    made: bool  # whether it made a runner for what waits, or for the plan


@dataclass(frozen=True, slots=True)
class SliceEnded:
    """A runner has ended a slice."""

    runner: Runner
    first: bool  # whether it was its first one
    spent: bool  # whether it may run no more: a runner for a single input


@dataclass(frozen=True, slots=True)
class RunnerEnded:
    """A runner is gone."""

    runner: Runner
    with_input: bool  # whether it died of itself while it ran an input


@dataclass(frozen=True, slots=True)
class SnapshotEnded:
    """The making of the snapshot has ended, with one or without."""


@dataclass(frozen=True, slots=True)
class InputsWait:
    """Inputs wait still, or again, for a runner."""


Event = StartEnded | SliceEnded | RunnerEnded | SnapshotEnded | InputsWait
