"""Places for starts that no input waits for and that are made all the same: those of a new version.

They keep to the node's limit, one after the other. A runner that is idle makes room as for any
start ahead (scheduler.py): not one that a plan keeps, nor one that was used a moment ago. Where no
place is free for a moment, one more is started, and one alone: a version is to be tried also on a
node whose inputs are long or never cease, and somebody waits for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rekindle.exception import ExecutionError
from rekindle.runtime.agent.pools.pool import Pool

_LOOK_S = 0.05
#: After which time there may be one more than the limit: a small runner that is idle would have
#: gone by then. While others are tried, that is longer, as their places may be free soon.
_PATIENCE_S, _AMONG_OTHERS_S = 0.5, 5.0


@dataclass(eq=False)
class Trials:
    """Gives places."""

    #: Whether there is one for a runner of this pool.
    _has_place: Callable[[Pool], bool]
    #: The trial whose runner was started where there was none, until it has been tried.
    _beyond: object | None = None
    #: Those that have places, until they have been tried.
    _placed: list[object] = field(default_factory=list)

    @asynccontextmanager
    async def place(self, pool: Pool, trial: object) -> AsyncIterator[bool]:
        """A place, for as long as the start takes; False where a runner is idle by then.

        ``trial`` is compared by identity: there may be several of one pool.

        Raises ExecutionError where its app is closed meanwhile.
        """
        loop = asyncio.get_running_loop()
        since = loop.time()
        while True:
            if pool.closed:
                raise ExecutionError(f"{pool.revision.label}: its app is closed")
            if pool.runners.last_used() is not None:
                yield False
                return
            if pool.runners.size() < pool.runners.limit:
                if self._has_place(pool):
                    break
                # However many there are: calls inside of calls may keep a node over its limit.
                patience_s = _AMONG_OTHERS_S if self._placed else _PATIENCE_S
                if loop.time() - since >= patience_s and self._beyond is None:
                    self._beyond = trial
                    break
            await asyncio.sleep(_LOOK_S)
        self._placed.append(trial)
        pool.runners.starting += 1
        try:
            yield True
        finally:
            pool.runners.starting -= 1
            pool.changed()

    def tried(self, trial: object) -> None:
        """What was started in its place has been tried, and ended if it is not kept."""
        self._placed = [one for one in self._placed if one is not trial]
        if self._beyond is trial:
            self._beyond = None
