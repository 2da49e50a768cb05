"""Inputs that no runner will come to, as all that could wait for calls themselves.

What a call waits for is most often deeper than it is, and has places of its own (runner_set.py).
Not so where handles are passed around: an input may wait for a call that stands next to it in the
queue. When nothing else runs, that one gets a runner beyond the limits, until more runners wait on
this node than it may have: then it is an error, which ends the wait of its caller.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rekindle.counted import counted
from rekindle.exception import CallDepthError
from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.runners.runner import Runner, RunnerState

#: So many looks in a row (node.RECONCILE_S) make it a stall: waits begin and end all the time.
_LOOKS = 2


@dataclass(eq=False)
class Stalls:
    """Looks for pools that are stuck; called now and then."""

    _inventory: Inventory
    _max_waiting: int
    _seen: dict[int, int] = field(default_factory=dict)

    def look(self) -> None:
        """Help pools whose inputs no runner will come to."""
        runners = list(self._inventory.runners())
        seen: dict[int, int] = {}
        for pool in list(self._inventory.pools.values()):
            starting = pool.runners.starting
            full = pool.taken() >= pool.runners.limit
            if (
                not ((pool.waiting or pool.asked_depth) and not pool.closed and not starting)
                or pool.gpus.waits  # more runners would not help: gpu_room.py
                or pool.backoff.left_s() > 0
                or not _all_wait(list(pool.runners.values()) if full else runners)
            ):
                pool.runners.beyond = 0
                continue
            looks = seen[id(pool)] = self._seen.get(id(pool), 0) + 1
            if looks > _LOOKS:
                del seen[id(pool)]
                self._help(pool, sum(1 for one in runners if one.waits_at >= 0))
        self._seen = seen

    def _help(self, pool: Pool, waiting: int) -> None:
        most = self._max_waiting
        if waiting < most:
            pool.runners.beyond += 1
            if not pool.runners.idle():
                pool.starts.begin()
            pool.changed()
            return
        pool.starts.fail_next(
            CallDepthError(
                f"{counted(waiting, 'runner waits', 'runners wait')} here for calls that their "
                f"inputs made, the limit is {most}, and none is left for this one: have fewer "
                f"calls wait at a time, or raise REKINDLE_MAX_WAITING_RUNNERS where rekindle is "
                f"started"
            )
        )


def _all_wait(runners: list[Runner]) -> bool:
    """Whether each runner that has something to run waits, and there is one."""
    busy = [one for one in runners if one.state in (RunnerState.BUSY, RunnerState.LENT)]
    return bool(busy) and all(one.waits_at >= 0 for one in busy)
