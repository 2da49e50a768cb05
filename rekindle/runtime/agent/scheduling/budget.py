"""A node's memory is a budget: what goes first when it is short, and why.

Runners that have an input, and those that a plan keeps in any case, never go. All else goes by the
plans' priorities, lowest first, but spares before all else: the next start is a fork
without them. Among equals what has been idle longest, and of one function its
idle runners before its template before its snapshot's pages in the page cache.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from rekindle.linux import memory as machine_memory
from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.runtime.agent.scheduling.idle_levels import (
    ORDER,
    IdleLevels,
    level_held,
    live,
    may_drop_template,
)
from rekindle.runtime.agent.scheduling.memory import Memory
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.snapshot import residency
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv
from rekindle.wire.messages import as_dict
from rekindle.wire.pools import Level

log = logging.getLogger(__name__)

#: Whatever the budget says: with less of the machine's memory available, things go.
LEAST_AVAILABLE = 0.05
#: What a spare takes of its own, where none was measured yet.
_SPARE_BYTES = 4 << 20
_REMEMBERED = 64
#: Starts side by side are all told what the machine said within this time.
_ASKED_EVERY_S = 0.2


class Candidate(NamedTuple):
    """Something that may go."""

    priority: float
    idle_since: float
    rank: int  # of one function: runners, then the template, then the cache
    frees: int
    level: Level
    pool: Pool | None  # None: of a revision that no pool uses
    revision: Revision
    runner: Runner | None = None


@dataclass
class Budget:
    """Keeps what a node holds within its budget."""

    inventory: Inventory
    idle_levels: IdleLevels
    limit_bytes: int
    memory: Memory = field(default_factory=Memory)
    #: What went last, newest at the end; ``seq`` grows by one with each.
    evictions: deque[pb.Eviction] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    seq: int = 0
    #: Level -> how many times something at it went.
    counts: Counter[str] = field(default_factory=Counter)
    #: What went, and what was started, since the last look: bytes, as far as they are known.
    _since: int = 0
    #: What the machine said last, when that was, and ``_since`` as it was then.
    _machine: tuple[int, int] = (0, 0)
    _asked_at: float = -math.inf
    _since_asked: int = 0
    #: Revisions, by their ids, that starts of this turn of the loop are of.
    _room_for: set[int] = field(default_factory=set)

    async def look(self) -> None:
        """Measure, and give up what is over the budget."""
        self._since, self._asked_at = 0, -math.inf
        await self.memory.measure(self.inventory)
        self.enforce()

    def enforce(self, more: int = 0, but: Container[int] = ()) -> bool:
        """Give up things until ``more`` bytes fit; whether they do.

        ``but``: nothing of these revisions, by their ids."""
        over = self.held() + more - self.limit_bytes
        available, total = self._available()
        short = int(LEAST_AVAILABLE * total) + more - available
        if over <= 0 and short <= 0:
            return True
        reason = f"{_mib(self.held() + more)} MiB of a budget of {_mib(self.limit_bytes)} MiB"
        if short > over:
            over = short
            reason = f"{_mib(available)} MiB are available on this machine"
        for candidate in candidates(self.inventory, self.memory):
            if id(candidate.revision) in but:
                continue
            if self._give_up(candidate, reason):
                over -= candidate.frees
                self._since -= candidate.frees
            if over <= 0:
                return True
        return False

    def _available(self) -> tuple[int, int]:
        """What the machine has, and has in all; asked again for a start only now and then."""
        now = time.monotonic()
        if now - self._asked_at > _ASKED_EVERY_S:
            self._asked_at, self._since_asked = now, self._since
            self._machine = machine_memory.available()
        available, total = self._machine
        return available - max(0, self._since - self._since_asked), total

    def held(self) -> int:
        """What is held, by the last look and what has changed since."""
        return max(0, self.memory.held_bytes() + self._since)

    def room_for(self, pool: Pool, *, ahead: bool) -> bool:
        """Whether a runner may be started; makes room for one that an input waits for.

        That one is started in any case, as an input is never refused for memory: others go for it,
        and for all of this turn of the loop together, once it is on its way. One that is started
        ahead must fit; others go for it only if its plan keeps it however quiet it is.
        """
        more = self.memory.usual_runner(pool).private
        if ahead:
            if pool.runners.size() < pool.sizing.plan.runners:
                self.enforce(more, (id(pool.revision),))
            if self.held() + more > self.limit_bytes:
                return False
        elif self.memory.passes:
            if not self._room_for:
                asyncio.get_running_loop().call_soon(self._make_room)
            self._room_for.add(id(pool.revision))
        self._since += more
        return True

    def fits(self, pool: Pool) -> bool:
        """Whether a runner that no input waits for has room in memory; nothing goes for it."""
        return self.held() + self.memory.usual_runner(pool).private <= self.limit_bytes

    def _make_room(self) -> None:
        starting, self._room_for = self._room_for, set()
        self.enforce(but=starting)

    def spares_that_fit(self, revision: Revision, missing: int) -> int:
        """How many of the spares that are missing may be forked; nothing goes for them."""
        template = revision.template
        share = self.memory.spare_share(template) if template is not None else None
        each = max(1, share.private if share is not None else _SPARE_BYTES)
        available, total = self._available()
        left = min(self.limit_bytes - self.held(), available - int(LEAST_AVAILABLE * total))
        fit = max(0, min(missing, left // each))
        self._since += fit * each
        return fit

    def _give_up(self, candidate: Candidate, reason: str) -> bool:
        revision = candidate.revision
        if candidate.runner is not None:
            assert candidate.pool is not None
            if not candidate.pool.stop_runner(candidate.runner):
                return False
            candidate.pool.sizing.given_up = True
        elif candidate.level is Level.SPARE:
            if revision.template is not None:
                revision.template.spares.give_up()
            for pool in self.inventory.pools.values():
                if pool.revision is revision:
                    pool.sizing.spares_given_up = True
        elif candidate.level is Level.CACHED:
            snapshot = revision.tracker.snapshot
            if snapshot is None:
                return False
            try:
                residency.give_back(snapshot.images)
            except OSError as error:
                log.warning("page cache not given back", extra=kv(reason=error))
                return False
            self.memory.cached.pop(snapshot.key, None)
            self.idle_levels.give_up(revision)
        else:
            self.idle_levels.give_up(revision)
        self.seq += 1
        entry = pb.Eviction(
            seq=self.seq,
            function=revision.label,
            function_id=candidate.pool.function_id if candidate.pool else "",
            what=candidate.level.value,
            priority=candidate.priority,
            bytes=candidate.frees,
            idle_s=round(time.monotonic() - candidate.idle_since, 1),
            reason=reason,
        )
        self.evictions.append(entry)
        self.counts[candidate.level.value] += 1
        log.warning("given up for memory", extra=kv(**as_dict(entry)))
        return True


def candidates(inventory: Inventory, memory: Memory) -> list[Candidate]:
    """All that may go, in the order in which it should."""
    found: list[Candidate] = []
    by_revision: dict[int, list[Pool]] = {id(r): [] for r in inventory.revisions.values()}
    for pool in inventory.pools.values():
        by_revision.setdefault(id(pool.revision), []).append(pool)
        found += _idle_runners(pool, memory)
    for revision in inventory.revisions.values():
        found += _below_runners(revision, by_revision[id(revision)], memory)
        found += _spares(revision, by_revision[id(revision)], memory)
    found.sort(key=lambda candidate: candidate[:3])
    return found


def _idle_runners(pool: Pool, memory: Memory) -> list[Candidate]:
    idle = sorted(pool.runners.idle(), key=lambda runner: runner.idle_since)
    spare = max(0, pool.runners.size() - max(pool.sizing.plan.runners, pool.runners.busy()))
    priority = pool.sizing.plan.priority_of(Level.WARM)
    return [
        Candidate(
            priority,
            runner.idle_since,
            0,
            max(1, memory.runner_share(pool, runner).private),
            Level.WARM,
            pool,
            pool.revision,
            runner,
        )
        for runner in idle[:spare]
    ]


def _spares(revision: Revision, pools: list[Pool], memory: Memory) -> list[Candidate]:
    """All that wait of one template; before everything else."""
    template = revision.template
    if template is None or not (waiting := template.spares.waiting):
        return []
    frees = sum(share.private for one in waiting if (share := memory.share(one.name)))
    pool = pools[0] if pools else None
    since = template.last_used
    return [Candidate(-math.inf, since, 0, max(1, frees), Level.SPARE, pool, revision)]


def _below_runners(revision: Revision, pools: list[Pool], memory: Memory) -> list[Candidate]:
    """A template or cached pages; none while runners are needed that live on them."""
    if any(pool.sizing.active or pool.runners.starting or pool.runners.busy() for pool in pools):
        return []
    if any(pool.runners and pool.sizing.plan.runners for pool in pools):
        return []
    template, snapshot = revision.template, revision.tracker.snapshot
    pool = max(pools, key=lambda p: p.sizing.quiet_since, default=None)
    since = template.last_used if template is not None else 0.0
    if pool is not None:
        newest = max((r.idle_since for p in pools for r in p.runners.idle()), default=0.0)
        since = max(pool.sizing.quiet_since, newest)
    level = level_held(revision, memory.cached)
    if level in (Level.DISK, Level.NONE) and not (snapshot and memory.cached.get(snapshot.key)):
        return []
    priority = _priority(pools, level)
    found = []
    if template is not None and live(revision) and may_drop_template(revision):
        frees = max(1, memory.template_share(template).pss)
        found.append(Candidate(priority, since, 1, frees, level, pool, revision))
    if snapshot is not None and (cached := memory.cached.get(snapshot.key, 0)):
        priority = max(priority, _priority(pools, Level.CACHED)) if found else priority
        found.append(Candidate(priority, since, 2, cached, Level.CACHED, pool, revision))
    return found


def _priority(pools: list[Pool], level: Level) -> float:
    """After its idle runners: what lies below them is of no less value than they are."""
    highest = max((p.sizing.plan.priority_of(level) for p in pools), default=0.0)
    idle = [p.sizing.plan.priority_of(Level.WARM) for p in pools if p.runners.idle()]
    return max([highest, *idle])


def report(budget: Budget) -> pb.NodeMemory:
    """The node's memory, for its heartbeat; bytes."""
    total = budget.memory.total()
    return pb.NodeMemory(
        budget_bytes=budget.limit_bytes,
        held_bytes=budget.held(),
        rss_bytes=total.rss,
        pss_bytes=total.pss,
        mapped_bytes=total.mapped,
        cached_bytes=budget.memory.cached_bytes(),
        snapshot_store_bytes=budget.memory.store_bytes,
        evicted=list(budget.evictions)[-8:],
    )


def report_pools(
    inventory: Inventory, memory: Memory, gpu_bytes: Mapping[str, int]
) -> list[pb.HeldPool]:
    """What is held of each pool, for the heartbeat; pools of which nothing is are left out.

    ``gpu_bytes``: function id -> the most that one of its runners was seen to use of GPUs."""
    made = []
    for (function_id, digest), pool in inventory.pools.items():
        revision = pool.revision
        snapshot, template = revision.tracker.snapshot, revision.template
        idle = pool.runners.idle()
        runner = memory.idle_runner(pool)
        level = level_held(revision, memory.cached)
        if level in (Level.DISK, Level.NONE) and not (
            pool.runners.size() or pool.waiting or pool.sizing.active
        ):
            continue
        one = pb.HeldPool(
            function_id=function_id,
            params=digest,
            busy=pool.runners.busy(),
            idle=len(idle),
            starting=pool.runners.starting,
            waiting=len(pool.waiting),
            quiet_s=round(pool.sizing.quiet_s(), 1),
            level=(Level.WARM if pool.runners else level).value,
            below=level.value,
            wanted=ORDER[0].value if pool.runners else pool.sizing.level(0).value,
            why=pool.sizing.plan.why if pool.sizing.ordered else "",
        )
        if runner is not None:
            one.runner_bytes, one.runner_pss_bytes = runner.private, runner.pss
        if template is not None and live(revision):
            one.spares = len(template.spares.waiting)
            if one.spares:
                level = Level.SPARE
                one.below = level.value
                one.level = (Level.WARM if pool.runners else level).value
            if (spare := memory.spare_share(template)) is not None:
                one.spare_bytes = spare.private
            share = memory.template_share(template)
            if share.pss and template.mapped:
                one.template_bytes, one.template_private_bytes = share.pss, share.private
            elif share.pss:
                one.booted_bytes, one.booted_private_bytes = share.pss, share.private
        if pool.gpus.wanted:
            one.runner_gpus = pool.gpus.each()
            one.runner_gpu_bytes = gpu_bytes.get(function_id, 0)
        if snapshot is not None:
            one.snapshot_bytes = snapshot.manifest.images_bytes
            one.cached_bytes = memory.cached.get(snapshot.key, 0)
            one.mapped = snapshot.is_mapped
            one.threads = snapshot.manifest.threads
            if revision.working_set is not None:
                one.working_set_bytes = revision.working_set.bytes
        made.append(one)
    return made


def _mib(size: int) -> int:
    return size >> 20
