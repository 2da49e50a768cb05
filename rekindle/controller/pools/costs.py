"""What starts of a function took, by strategy, and what is held of it at each level: as measured.

Reported by the heartbeats of agents, kept in Redis by app and function. Where nothing was measured
yet, defaults stand in, and are marked as such. What follows from the figures is the policies'
business.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from rekindle.controller.storage import keys
from rekindle.controller.storage.damage import UNREADABLE_PLAIN
from rekindle.controller.storage.redis_link import FOREVER, RedisLink
from rekindle.exception import ServiceError
from rekindle.guarded_loops import Retries
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv
from rekindle.wire.pools import Figures, Level, template_of

log = logging.getLogger(__name__)

_MB = 1_000_000
#: Until the function's own were measured: what bench/restore.py found for small models.
FORK_S, RESTORE_S, COLD_S = 0.008, 0.016, 1.0
RUNNER_BYTES, TEMPLATE_BYTES = 30 * _MB, 60 * _MB
#: The same of a spare: a function without a model, and one with torch and 84 MB.
SPARE_S, SPARE_BYTES = 0.0015, 2 * _MB
#: Reading a working set from disk while it is restored.
DISK_S_PER_BYTE = 1e-9
#: Newest starts of each kind.
_KEPT = 200
#: Figures that changed by less are left as they were: plans would be made again for nothing.
_CHANGED = 0.2
_FLUSH_S = 10.0
_TTL_S = 30 * 24 * 3600

#: How a start came to be: a strategy, or a restore whose pages were read from disk.
KINDS = ("spare", "fork", "restore", "restore_disk", "cold")
#: What is reported in the list of held pools, and kept.
SIZES = (
    "runner_bytes",
    "runner_pss_bytes",
    "spare_bytes",
    "booted_bytes",
    "template_bytes",
    "template_private_bytes",
    "snapshot_bytes",
    "working_set_bytes",
)


_TYPES = {
    **dict.fromkeys(("snapshot", "mapped", "forkable", "template"), (bool,)),
    "gpus": (float, int),
}
_STORED = ("sizes", "snapshot", "mapped", "forkable", "template", "gpus")


@dataclass(slots=True, eq=False)
class Costs:
    """Of one function."""

    starts: dict[str, deque[float]] = field(default_factory=dict)  # seconds
    sizes: dict[str, int] = field(default_factory=dict)
    #: Whether there is a snapshot, it is mapped, and a template of it can be forked.
    snapshot: bool = False
    mapped: bool = False
    forkable: bool = True
    template: bool = False  # whether one was ever seen alive
    gpus: float = 0.0  # that one runner holds
    dirty: bool = False
    _levels: dict[Level, Figures] | None = None
    _made_for: bool | None = None  # what _levels were made for; None: something has changed

    def started(self, kind: str, seconds: float) -> None:
        """One more start."""
        if kind in KINDS and seconds > 0:
            self.starts.setdefault(kind, deque(maxlen=_KEPT)).append(seconds)
            self.dirty, self._made_for = True, None

    def quantile_s(self, kind: str, share: float) -> float | None:
        """Of the newest starts; None where there is none."""
        known = sorted(self.starts.get(kind, ()))
        return known[min(len(known) - 1, int(share * len(known)))] if known else None

    def held(self, entry: pb.HeldPool) -> None:
        """What an agent reports of a pool."""
        before = (self.template, self.snapshot, self.mapped, self.forkable)
        changed = False
        for name in SIZES:
            size = getattr(entry, name)
            if size > 0 and size != self.sizes.get(name):
                self.sizes[name] = size
                changed = True
        if entry.runner_gpu_bytes > self.sizes.get("runner_gpu_bytes", 0):
            self.sizes["runner_gpu_bytes"] = entry.runner_gpu_bytes  # for people: no plan asks
            changed = True
        if entry.runner_gpus != self.gpus:
            self.gpus = entry.runner_gpus
            changed = True
        if entry.template_bytes or entry.booted_bytes:
            self.template = True
        if entry.HasField("snapshot_bytes"):
            self.snapshot = True
            self.mapped = entry.mapped
            self.forkable = entry.threads <= 1
        if changed or before != (self.template, self.snapshot, self.mapped, self.forkable):
            self.dirty, self._made_for = True, None

    def levels(self, *, snapshots: bool) -> dict[Level, Figures]:
        """The levels that it can be held at. The same object until something has changed much."""
        known = self._levels
        if known is not None and self._made_for is snapshots:
            return known
        made = self._made(snapshots)
        self._made_for = snapshots
        if known is None or not _alike(known, made):
            self._levels = known = made
        return known

    def _made(self, snapshots: bool) -> dict[Level, Figures]:
        made = self._without_spares(snapshots)
        if template_of(made) is not None:
            spare_s = self.quantile_s("spare", 0.5) or SPARE_S
            spare = self.sizes.get("spare_bytes", SPARE_BYTES)
            made[Level.SPARE] = Figures(start_s=spare_s, memory_bytes=spare, cpu_s=spare_s)
        return made

    def _without_spares(self, snapshots: bool) -> dict[Level, Figures]:
        sizes = self.sizes
        runner = sizes.get("runner_bytes", RUNNER_BYTES)
        template = sizes.get("booted_bytes", TEMPLATE_BYTES)
        cold_s = self.quantile_s("cold", 0.5) or COLD_S
        fork_s = self.quantile_s("fork", 0.5) or FORK_S
        made = {
            Level.WARM: Figures(start_s=0.0, memory_bytes=runner, gpus=self.gpus),
            Level.NONE: Figures(start_s=cold_s, cpu_s=cold_s),
        }
        if not snapshots:
            return made
        if not self.snapshot:
            if self.template and self.forkable:
                made[Level.BOOTED] = Figures(start_s=fork_s, memory_bytes=template, cpu_s=fork_s)
            return made
        disk = sizes.get("snapshot_bytes", template)
        cached = min(disk, sizes.get("working_set_bytes", disk))
        restore_s = self.quantile_s("restore", 0.5) or RESTORE_S
        from_disk_s = self.quantile_s("restore_disk", 0.5) or restore_s + cached * DISK_S_PER_BYTE
        made[Level.CACHED] = Figures(
            start_s=restore_s, memory_bytes=cached, disk_bytes=disk, cpu_s=restore_s
        )
        made[Level.DISK] = Figures(
            start_s=max(from_disk_s, restore_s), disk_bytes=disk, cpu_s=restore_s
        )
        if self.forkable and self.mapped:
            own = sizes.get("template_private_bytes", 10 * _MB)
            made[Level.MAPPED] = Figures(
                start_s=fork_s, memory_bytes=own + cached, disk_bytes=disk, cpu_s=fork_s
            )
        elif self.forkable:
            made[Level.BOOTED] = Figures(
                start_s=fork_s, memory_bytes=template + cached, disk_bytes=disk, cpu_s=fork_s
            )
        return made

    def measured(self) -> dict[str, bool]:
        """For each kind of start and each size, whether it was measured or is a default."""
        starts = {kind: bool(self.starts.get(kind)) for kind in KINDS}
        return {**starts, **{name: name in self.sizes for name in SIZES}}

    def report(self) -> pb.FunctionCosts:
        """For people and for tuning: milliseconds, bytes."""
        starts = {
            kind: pb.StartCost(
                count=len(self.starts[kind]),
                p50_ms=round(1000 * (self.quantile_s(kind, 0.5) or 0.0), 2),
                p95_ms=round(1000 * (self.quantile_s(kind, 0.95) or 0.0), 2),
            )
            for kind in KINDS
            if self.starts.get(kind)
        }
        return pb.FunctionCosts(starts=starts, sizes=self.sizes)

    def to_json(self) -> str:
        """For Redis."""
        starts = {k: [round(s, 6) for s in kept] for k, kept in self.starts.items()}
        return json.dumps({"starts": starts, **{name: getattr(self, name) for name in _STORED}})

    @classmethod
    def from_json(cls, text: bytes) -> Costs:
        """The inverse of ``to_json``."""
        raw = json.loads(text)
        starts = {kind: deque(map(float, kept), _KEPT) for kind, kept in raw["starts"].items()}
        raw.setdefault("gpus", 0.0)  # of before there were any
        made = cls(starts, **{name: raw[name] for name in _STORED})
        if not all(type(size) is int for size in made.sizes.values()):
            raise ValueError(f"sizes {made.sizes!r:.80}")
        for name in _STORED[1:]:
            if type(getattr(made, name)) not in _TYPES[name]:
                raise ValueError(f"{name} is {getattr(made, name)!r:.40}")
        return made


def _alike(one: Mapping[Level, Figures], other: Mapping[Level, Figures]) -> bool:
    def near(a: float, b: float) -> bool:
        return abs(a - b) <= _CHANGED * max(abs(a), abs(b))

    return one.keys() == other.keys() and all(
        near(one[level].start_s, other[level].start_s)
        and near(one[level].memory_bytes, other[level].memory_bytes)
        and near(one[level].disk_bytes, other[level].disk_bytes)
        and near(one[level].gpus, other[level].gpus)
        for level in one
    )


class CostBook:
    """The costs of all functions, by label."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._of: dict[str, Costs] = {}
        self._retries = Retries(log, "costs not stored", "costs are stored again")

    def of(self, label: str) -> Costs:
        """Of a function."""
        return self._of.setdefault(label, Costs())

    def keep_only(self, labels: Set[str]) -> None:
        """Let go of those of other functions, once they are stored."""
        for label in [one for one, costs in self._of.items() if not costs.dirty]:
            if label not in labels:
                del self._of[label]

    async def forget(self, label: str) -> None:
        """Drop what was measured of a function."""
        self._of.pop(label, None)
        await self._link.command("UNLINK", keys.costs(label), patience_s=FOREVER)

    async def load(self, labels: Sequence[str]) -> None:
        """Read what former controllers kept of these functions."""
        for label in labels:
            raw = await self._link.command("GET", keys.costs(label))
            if raw is None:
                continue
            try:
                stored = Costs.from_json(raw)
            except UNREADABLE_PLAIN as error:
                aside = keys.set_aside(keys.costs(label))
                why = kv(of=label, reason=repr(error), set_aside=aside)
                log.error("costs cannot be read, and begin anew", extra=why)
                await self._link.command("SET", aside, raw, "EX", _TTL_S)
                continue
            known = self._of.get(label)
            if known is None or not known.dirty:
                self._of[label] = stored

    async def keep_forever(self) -> None:
        """Write what has changed, now and then; until cancelled."""
        while True:
            await asyncio.sleep(_FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        """Write what has changed."""
        changed = {label: costs for label, costs in self._of.items() if costs.dirty}
        for costs in changed.values():
            costs.dirty = False
        try:
            await self._link.commands(
                [
                    ("SET", keys.costs(label), costs.to_json(), "EX", _TTL_S)
                    for label, costs in changed.items()
                ]
            )
        except ServiceError as error:
            for costs in changed.values():
                costs.dirty = True
            self._retries.failed(error)
        else:
            self._retries.worked()
