"""What a program waits for, for whoever shows it: calls, maps, and steps of coming up.

Standard library only. Knows nothing of terminals. Where nobody watches, nothing is noted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rekindle.sdk.calls.target import CallTarget
    from rekindle.sdk.connection.client import Client


#: How far a map is: results that came, inputs that were given, whether these are all.
Count = tuple[int, int, bool]


class Wait:
    """One thing that is waited for. ``count`` of a map; without ``client``, a step of our own.

    No dataclass: making one takes longer than all the rest of this module.
    """

    def __init__(
        self,
        name: str,
        function_id: str = "",
        client: Client | None = None,
        count: Callable[[], Count] | None = None,
    ) -> None:
        self.name = name
        self.function_id = function_id
        self.client = client
        self.count = count
        self.since_s = time.monotonic()


class Watch:
    """What is waited for now, by all threads of this process; to be looked at from any."""

    def __init__(self) -> None:
        self._waits: dict[Wait, None] = {}

    def now(self) -> list[Wait]:
        """All of it, the oldest first."""
        return list(self._waits)

    def add(self, wait: Wait) -> Wait:
        """Note it."""
        self._waits[wait] = None
        return wait

    def remove(self, wait: Wait) -> None:
        """It is over."""
        self._waits.pop(wait, None)

    @contextmanager
    def during(self, wait: Wait) -> Iterator[None]:
        """Note it for as long as the block takes."""
        try:
            self.add(wait)
            yield
        finally:
            self.remove(wait)


#: Whoever looks; None: nobody.
watched: Watch | None = None
#: Whoever draws on the terminal: told (True) before a runner has it, and (False) after that.
on_lent: Callable[[bool], None] | None = None


def of_call(target: CallTarget) -> Wait:
    """A call of a function."""
    return Wait(target.name, target.function_id, target.client)


def map_begins(target: CallTarget, count: Callable[[], Count]) -> Wait | None:
    """A map begins; what ``ended`` gets at its end."""
    if watched is None:
        return None
    return watched.add(Wait(target.name, target.function_id, target.client, count))


def ended(wait: Wait | None) -> None:
    """What ``map_begins`` returned is over."""
    if wait is not None and watched is not None:
        watched.remove(wait)


@contextmanager
def step(name: str) -> Iterator[None]:
    """A step of rekindle's own that may take a while."""
    if watched is None:
        yield
        return
    with watched.during(Wait(name)):
        yield
