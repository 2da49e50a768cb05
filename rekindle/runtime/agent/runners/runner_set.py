"""Which runners count against the places of an input: max_containers, and the runners of a node.

A runner whose input waits for calls that it made does not count against the places of what is
deeper than that input: they are what it waits for. Against those beside it, or above, it counts as
ever. So no call waits for a place that its own callers hold, and inputs of one depth are never more
at a time than the limit says. What a runner waits for, its page says (sdk/nesting.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rekindle.runtime.agent.runners.runner import RunnerState

if TYPE_CHECKING:
    from rekindle.runtime.agent.runners.runner import Runner

#: Deeper than any input: no runner that waits counts.
DEEPEST = 1 << 30
_RUNNING = (RunnerState.BUSY, RunnerState.LENT)


def counting(runners: Iterable[Runner], depth: int) -> Iterator[Runner]:
    """Those that count against the places of an input at ``depth``."""
    for runner in runners:
        if not depth or not 0 <= runner.waits_at < depth:
            yield runner


def taken(runners: Iterable[Runner], depth: int) -> int:
    """How many those are."""
    return sum(1 for _ in counting(runners, depth))


def running(runners: Iterable[Runner], depth: int) -> int:
    """How many of them have something to run, or a client of their own."""
    return sum(1 for runner in counting(runners, depth) if runner.state in _RUNNING)


def waiting(runners: Iterable[Runner]) -> int:
    """How many wait for calls that their inputs made."""
    return sum(1 for runner in runners if runner.waits_at >= 0)
