"""What a node holds of a function below its runners: a live template, its snapshot cached, nothing.

Each pool's plan asks for a level; pools of one revision share what is held, so the warmest asked
for counts. A level that cannot be had means the best one below it. BOOTED is kept while it is
asked for, but made by a start alone; MAPPED and CACHED are made ready in advance, SPARE where the
plan says so (what waits next to its template is the spare keeper's).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from rekindle.background_tasks import BackgroundTasks
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotState
from rekindle.snapshot import residency, workingset
from rekindle.wire.logs import kv
from rekindle.wire.pools import Level

log = logging.getLogger(__name__)

ORDER = (
    Level.WARM,
    Level.SPARE,
    Level.BOOTED,
    Level.MAPPED,
    Level.CACHED,
    Level.DISK,
    Level.NONE,
)
TEMPLATES = (Level.SPARE, Level.BOOTED, Level.MAPPED)
#: A snapshot that is to be in the page cache is looked at again this often.
LOOK_AGAIN_S = 60.0
#: A template that could not be made in advance is not tried again before this.
NOT_AGAIN_S = 30.0


@dataclass
class _Held:
    """What was asked for of one revision, and when something may be tried."""

    asked: Level | None = None
    cached_at: float = -1e9
    not_before: float = 0.0
    #: Given up for lack of memory, not to be made in advance until it is used again.
    given_up: bool = False


@dataclass
class IdleLevels:
    """Brings all revisions of a node to the levels that their pools ask for."""

    _held: dict[int, _Held] = field(default_factory=dict)
    _tasks: BackgroundTasks = field(default_factory=BackgroundTasks)

    def reconcile(self, pools: Iterable[Pool]) -> None:
        """Called now and then."""
        by_revision: dict[int, list[Pool]] = {}
        for pool in pools:
            if pool.revision.snapshots_enabled and not pool.closed:
                by_revision.setdefault(id(pool.revision), []).append(pool)
        for key in self._held.keys() - by_revision.keys():
            del self._held[key]
        for key, sharing in by_revision.items():
            self._follow(self._held.setdefault(key, _Held()), sharing)

    def give_up(self, revision: Revision) -> None:
        """Memory is short: what is held of a revision goes, and is not made again in advance."""
        self._held.setdefault(id(revision), _Held()).given_up = True
        revision.drop_template()

    def _follow(self, held: _Held, pools: list[Pool]) -> None:
        revision = pools[0].revision
        wanted = level_wanted(pools)
        if any(pool.sizing.active for pool in pools):
            held.given_up = False
        if wanted is not held.asked:
            held.asked, held.cached_at = wanted, -1e9
        if wanted in TEMPLATES:
            ahead = wanted is Level.MAPPED or any(pool.sizing.plan.ahead for pool in pools)
            if ahead and not held.given_up:
                self._restore_ahead(held, pools)
            return
        if may_drop_template(revision):
            log.info("template let go", extra=kv(function=revision.label, level=wanted.value))
            revision.drop_template()
        if wanted is Level.CACHED and not held.given_up:
            self._cache(held, revision)

    def _restore_ahead(self, held: _Held, pools: list[Pool]) -> None:
        """Restore the template, where there is none, so that the next runner is forked."""
        now = time.monotonic()
        pool = next((p for p in pools if p.sizing.ordered), None)
        if pool is None or now < held.not_before or live(pool.revision):
            return
        if not pool.keeper.may_keep_template():
            return
        held.not_before = now + NOT_AGAIN_S
        pool.keeper.keep_template()

    def _cache(self, held: _Held, revision: Revision) -> None:
        """Have the snapshot's working set cached; all of it where that is not known."""
        now = time.monotonic()
        snapshot = revision.tracker.snapshot
        if snapshot is None or now - held.cached_at < LOOK_AGAIN_S:
            return
        held.cached_at = now
        path = snapshot.path
        known = revision.working_set

        def read_ahead() -> None:
            found = known or workingset.load(path)
            if found is not None:
                workingset.prefetch(path, found)
            else:
                residency.read_ahead(snapshot.images)

        self._tasks.spawn(_in_thread(read_ahead))


async def _in_thread(work: Callable[[], None]) -> None:
    try:
        await asyncio.to_thread(work)
    except OSError as error:
        log.warning("not read ahead", extra=kv(reason=error))


def level_wanted(pools: Iterable[Pool]) -> Level:
    """The warmest level that any of them asks for below its runners."""
    levels = [pool.sizing.level(pool.runners.size()) for pool in pools]
    return min(levels, key=ORDER.index, default=Level.NONE)


def live(revision: Revision) -> bool:
    """Whether a template of it is live. (``live_template`` counts as a use of it.)"""
    template = revision.template
    return template is not None and not template.gone.is_set() and not template.retired


def may_drop_template(revision: Revision) -> bool:
    """Whether its template is there, and nothing needs it: it may yet be frozen."""
    return (
        live(revision)
        and not revision.background
        and not revision.restoring
        and not revision.booting.locked()
        and revision.tracker.state in (SnapshotState.READY, SnapshotState.IMPOSSIBLE)
    )


def level_held(revision: Revision, cached: Mapping[str, int]) -> Level:
    """Where it is below its runners. ``cached``: bytes in the page cache by snapshot."""
    template, snapshot = revision.template, revision.tracker.snapshot
    if template is not None and live(revision):
        return Level.MAPPED if template.mapped else Level.BOOTED
    if snapshot is None:
        return Level.NONE
    known = revision.working_set.bytes if revision.working_set else 0
    enough = 0.5 * min(known or snapshot.manifest.images_bytes, snapshot.manifest.images_bytes)
    return Level.CACHED if cached.get(snapshot.key, 0) >= max(1, enough) else Level.DISK
