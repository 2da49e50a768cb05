"""What there is on a node: for those that look at it. They act through what they find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rekindle.runtime.agent.pools.agenda import PoolKey
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.snapshot.store import SnapshotStore
from rekindle.wire.spec import params_digest


@dataclass(frozen=True)
class Inventory:
    """Pools, and what they hold below their runners."""

    store: SnapshotStore
    pools: dict[PoolKey, Pool] = field(default_factory=dict)
    revisions: dict[str, Revision] = field(default_factory=dict)

    def pool_of(self, function_id: str, params: bytes) -> Pool | None:
        """The pool of a function, where there is one that is open (PoolOpener)."""
        pool = self.pools.get((function_id, params_digest(params)))
        return pool if pool is not None and pool.opening is None else None

    def source_dirs(self) -> list[Path]:
        """The modules of what may still be started."""
        found = (revision.source_dir for revision in self.revisions.values())
        return [directory for directory in found if directory is not None]

    def runners(self) -> Iterator[Runner]:
        """Of all pools."""
        for pool in self.pools.values():
            yield from pool.runners.values()
