"""An instance for each way to start, side by side, on the same snapshots.

So each of them can be measured in turn with the others, and its processor time is its own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.steps import Steps
from rekindle.exception import StrategyUnavailableError
from rekindle.sdk.connection.background import background
from rekindle.sdk.running import RunningApp
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import Strategy
from restoring.calls import prepare
from restoring.instance import Instance, instance
from starting import cpu_time, strategies
from starting.functions import WINDOW_S, Functions, declare
from starting.strategies import FORK, SPARE

#: Room for a hundred starts at once, and some.
MAX_RUNNERS = 128
#: An agent says what it has once a second.
_HEARTBEAT_S = 1.0
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Place:
    """A running instance whose pools start in one way."""

    strategy: str
    at: Instance
    app: RunningApp
    functions: Functions
    group: cpu_time.Group

    def cpu_s(self) -> float:
        """Processor time of all that has run in the instance."""
        return self.group.used_s() if self.group.used_s is not None else self.at.cpu_s()

    def status(self) -> pb.NodeStats:
        """What its agent said last."""
        asked = self.app.client.request("Status", pb.StatusRequest(), pb.StatusReply)
        return background().run(asked).agents[0].stats


Places = dict[str, Place]


@contextlib.contextmanager
def places(home: Path, kinds: tuple[str, ...], steps: Steps) -> Iterator[Places]:
    """All of them, ready. Raises StrategyUnavailableError where one cannot be had."""
    _make_snapshots(home, kinds, steps)
    with contextlib.ExitStack() as stack:
        found: Places = {}
        for strategy in strategies.ALL:
            steps.say(f"an instance for {strategy}")
            found[strategy] = _open(stack, home, kinds, strategy)
        yield found


def _make_snapshots(home: Path, kinds: tuple[str, ...], steps: Steps) -> None:
    functions = declare(kinds)
    with instance(home) as at, at.chosen(), functions.app.run():
        everything = {**functions.starts, "torch": functions.fresh}
        for kind, function in everything.items():
            steps.say(f"the snapshot of {kind}")
            prepare(function, Strategy.RESTORE)


def _open(stack: contextlib.ExitStack, home: Path, kinds: tuple[str, ...], strategy: str) -> Place:
    group, within = stack.enter_context(cpu_time.group(f"rk-bench-{strategy}"))
    with within():
        at = stack.enter_context(instance(home, max_runners=MAX_RUNNERS))
    functions = declare(kinds)
    with at.chosen():
        stack.enter_context(functions.app.run())
        app = functions.app.running
        assert app is not None
    found = Place(strategy, at, app, functions, group)
    strategies.settle_pools(app, list(app.function_ids), strategy, WINDOW_S)
    for function in (*functions.starts.values(), functions.fresh):
        make_ready(function, strategy)
    return found


def make_ready(function: object, strategy: str) -> None:
    """Have what the strategy starts from. Raises StrategyUnavailableError."""
    prepare(function, Strategy.RESTORE)
    if strategy in (FORK, SPARE):
        prepare(function, Strategy.FORK)
    if strategy == SPARE:
        prepare(function, Strategy(SPARE))


def until_no_runner_is_left(all_of_them: Places) -> None:
    """Wait until the runners of the last calls have gone, as they do after ``WINDOW_S``."""
    time.sleep(WINDOW_S + _HEARTBEAT_S)  # what was said before that may be of before the calls
    deadline = time.monotonic() + _PATIENCE_S
    for place in all_of_them.values():
        while place.status().runners:
            if time.monotonic() > deadline:
                raise StrategyUnavailableError(f"runners stay in the instance of {place.strategy}")
            time.sleep(0.1)


def until_spares_are(place: Place, count: int) -> None:
    """Wait until so many spares wait in it, of all its functions."""
    time.sleep(_HEARTBEAT_S)  # what was said before that may be of before
    deadline = time.monotonic() + _PATIENCE_S
    while (spares := sum(pool.spares for pool in place.status().held)) != count:
        if time.monotonic() > deadline:
            raise StrategyUnavailableError(f"{spares} spares are there, not {count}")
        time.sleep(0.1)


def settle(all_of_them: Places) -> None:
    """Wait until all of them are quiet."""
    for place in all_of_them.values():
        place.at.settle()
