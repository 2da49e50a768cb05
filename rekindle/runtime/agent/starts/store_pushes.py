"""What a node puts into the nodes' store: one thing at a time, and again where that fails.

A store may be away for a while. What it did not take is tried again after a wait that grows, in
turn, for as long as the node lives. Knows nothing of what is put there, nor of the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from rekindle.exception import Error
from rekindle.runtime.agent.apart import apart
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Between what failed and the next try, at first and at most. What succeeds ends the wait.
FIRST_WAIT_S, MOST_WAIT_S = 2.0, 300.0
#: At the end of a node: the store's damage is mended for so long.
MEND_S = 5.0
#: What is given up then has so long to end. What waits for a store that says nothing does not.
GIVE_UP_S = 1.0


@dataclass(eq=False)
class StorePushes:
    """Of one kind of thing; for the event loop, where nothing else is said."""

    #: What it is called in the log.
    kind: str
    #: Names of what waits for its turn, the first or another one.
    _waiting: set[str] = field(default_factory=set)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: What failed stands in line here: the first waits until it is tried again.
    _line: asyncio.Lock = field(default_factory=asyncio.Lock)
    _wait_s: float = FIRST_WAIT_S
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    #: And whether it mends.
    _tasks: dict[asyncio.Task[None], Callable[[], bool]] = field(default_factory=dict)
    #: Nothing is put there any more, but what takes the place of damage.
    closed: bool = False
    #: Nor is that.
    cut: bool = False

    def soon(self, name: str, push: Callable[[], None], mends: Callable[[], bool]) -> None:
        """Have something put there, unless it waits for that already: ``push`` is called in a
        thread until it raises neither an Error nor OSError.

        ``mends``: whether it is to take the place of what is damaged in the store.
        """
        if name not in self._waiting:
            self._waiting.add(name)
            task = asyncio.get_running_loop().create_task(self._push(name, push, mends))
            self._tasks[task] = mends
            task.add_done_callback(self._tasks.pop)

    async def _push(self, name: str, push: Callable[[], None], mends: Callable[[], bool]) -> None:
        done = await self._try(name, push)
        while not done and not self.closed and name not in self._waiting:
            self._waiting.add(name)
            async with self._line:
                await self._pause()
                # Who ends may be the only one that met the damage.
                if self.closed and not mends():
                    return
                done = await self._try(name, push)

    async def _try(self, name: str, push: Callable[[], None]) -> bool:
        async with self._turn:
            self._waiting.discard(name)
            if self.cut:
                return False
            try:
                await apart(push)
            except (Error, OSError) as error:
                extra = kv(name=name, reason=error, again_in_s=self._wait_s)
                log.warning("%s not pushed", self.kind, extra=extra)
                return False
        self._wait_s = FIRST_WAIT_S
        self._wake.set()
        return True

    async def _pause(self) -> None:
        """Until the store may take something again."""
        if not self.closed:
            self._wake.clear()
        # Not all nodes at the same moment.
        wait_s = self._wait_s * random.uniform(0.5, 1.0)
        self._wait_s = min(2 * self._wait_s, MOST_WAIT_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), wait_s)

    async def close(self) -> None:
        """Give up what is on its way, unless it mends what is damaged there: for a while."""
        self.closed = True
        self._wake.set()
        if mending := [task for task, mends in self._tasks.items() if mends()]:
            await asyncio.wait(mending, timeout=MEND_S)
        self.cut = True
        if left := list(self._tasks):
            await asyncio.wait(left, timeout=GIVE_UP_S)
        for task in (left := list(self._tasks)):  # their threads are left behind
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
