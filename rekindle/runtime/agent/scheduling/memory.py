"""What a node's templates and runners hold, measured now and then, off the way of every call.

Reading a process's share of memory walks its page tables, so only those that may have changed are
read again, in a thread, and never so often that it costs more than a hundredth of a core.
Decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

from rekindle.exception import SnapshotError
from rekindle.linux.maps import Share, share_of
from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.runtime.agent.scheduling.idle_levels import live
from rekindle.runtime.agent.starts.template import LiveTemplate
from rekindle.snapshot import residency
from rekindle.snapshot.store import SnapshotStore
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Between two looks, at least.
PERIOD_S = 2.0
#: A process that did nothing is measured again after this: what it shares changes with others.
STALE_S = 60.0
_SHARE_OF_TIME = 100


@dataclass(frozen=True)
class _Reading:
    share: Share
    at: float
    inputs: int  # that it had served then


@dataclass
class Memory:
    """What was measured last."""

    #: By the id of a runner or a template.
    readings: dict[str, _Reading] = field(default_factory=dict)
    #: Snapshot key -> bytes of it in the page cache.
    cached: dict[str, int] = field(default_factory=dict)
    #: Of those, snapshots that no process of this node maps.
    unmapped: set[str] = field(default_factory=set)
    store_bytes: int = 0  # of all snapshots, on disk
    took_s: float = 0.0
    passes: int = 0
    _store_at: float = -1e9

    def share(self, process_id: str) -> Share | None:
        """Of a runner or a template; None where it was not measured yet."""
        reading = self.readings.get(process_id)
        return reading.share if reading is not None else None

    def runner_share(self, pool: Pool, runner: Runner) -> Share:
        """Of a runner; what its siblings hold where it was not measured yet."""
        return self.share(runner.id) or self.usual_runner(pool)

    def usual_runner(self, pool: Pool) -> Share:
        """Of a runner of this pool, by the largest that was measured."""
        known = [share for runner_id in pool.runners if (share := self.share(runner_id))]
        return max(known, key=lambda share: share.private, default=Share())

    def idle_runner(self, pool: Pool) -> Share | None:
        """The middle one of its idle runners that have served; None when none was measured."""
        idle = [r.id for r in pool.runners.values() if r.state is RunnerState.IDLE]
        known = sorted(share for runner_id in idle if (share := self.share(runner_id)))
        return known[len(known) // 2] if known else None

    def template_share(self, template: LiveTemplate) -> Share:
        """Of a template; zeros where it was not measured yet."""
        return self.share(template.id) or Share()

    def spare_share(self, template: LiveTemplate) -> Share | None:
        """Of the largest of its spares that was measured while it waited; None where none was."""
        known = [share for one in template.spares.waiting if (share := self.share(one.name))]
        return max(known, key=lambda share: share.private, default=None)

    def total(self) -> Share:
        """Of all processes."""
        return Share(*map(sum, zip(*(one.share for one in self.readings.values()), strict=True)))

    def cached_bytes(self) -> int:
        """Of all snapshots, in the page cache."""
        return sum(self.cached.values())

    def held_bytes(self) -> int:
        """What counts against the budget: the processes' shares, and what is only cached."""
        return self.total().pss + sum(self.cached.get(key, 0) for key in self.unmapped)

    # ---- measuring -------------------------------------------------------------------------

    async def measure(self, inventory: Inventory) -> None:
        """One look at everything that may have changed."""
        now = time.monotonic()
        there: dict[str, tuple[int, int]] = {  # process id, and inputs that it has served
            runner.id: (runner.channel.pid, runner.inputs_done)
            for runner in inventory.runners()
            if runner.state is not RunnerState.GONE
        }
        in_use = {id(pool.revision) for pool in inventory.pools.values() if pool.runners}
        snapshots: dict[str, Path] = {}
        used: set[str] = set()
        for revision in inventory.revisions.values():
            template, snapshot = revision.template, revision.tracker.snapshot
            if template is not None and live(revision):
                there[template.id] = (template.channel.pid, 0)
                there.update((one.name, (one.channel.pid, 0)) for one in template.spares.waiting)
            if snapshot is not None:
                snapshots[snapshot.key] = snapshot.images
                if live(revision) or id(revision) in in_use:
                    used.add(snapshot.key)
        self.readings = {name: one for name, one in self.readings.items() if name in there}
        due = {
            name: (pid, inputs)
            for name, (pid, inputs) in there.items()
            if _due(self.readings.get(name), inputs, now)
        }
        pids = [pid for pid, _ in due.values()]
        shares, cached = await asyncio.to_thread(_read, pids, snapshots)
        for (name, (_, inputs)), share in zip(due.items(), shares, strict=True):
            if share is not None:
                self.readings[name] = _Reading(share, now, inputs)
        self.cached, self.unmapped = cached, set(snapshots) - used
        if now - self._store_at > STALE_S:
            self._store_at = now
            self.store_bytes = await asyncio.to_thread(_store_bytes, inventory.store)
        self.took_s = time.monotonic() - now
        self.passes += 1

    def pause_s(self) -> float:
        """How long to wait before the next look."""
        return max(PERIOD_S, _SHARE_OF_TIME * self.took_s)


def _due(reading: _Reading | None, inputs: int, now: float) -> bool:
    return reading is None or reading.inputs != inputs or now - reading.at > STALE_S


def _read(pids: list[int], snapshots: dict[str, Path]) -> tuple[list[Share | None], dict[str, int]]:
    cached: dict[str, int] = {}
    for key, images in snapshots.items():
        try:
            cached[key] = residency.resident_bytes(images)
        except OSError as error:
            log.debug("page cache not looked at", extra=kv(snapshot=key, reason=error))
    return [share_of(pid) for pid in pids], cached


def _store_bytes(store: SnapshotStore) -> int:
    try:
        return store.usage().size_bytes
    except (OSError, SnapshotError) as error:
        log.debug("store not looked at", extra=kv(reason=error))
        return 0
