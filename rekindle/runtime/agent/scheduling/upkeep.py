"""A node's upkeep: unused templates go, snapshots are read through now and then."""

from __future__ import annotations

import asyncio
import logging
import time

from rekindle import guarded_loops
from rekindle.exception import SnapshotError
from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.settings import AgentSettings
from rekindle.snapshot.verify import verify_one_in_background
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: How often a snapshot is read through in the background.
VERIFY_EVERY_S = 3600.0


def let_templates_go(inventory: Inventory, settings: AgentSettings) -> None:
    """Templates that no open app uses go after their time, and the oldest of too many."""
    used = {id(pool.revision) for pool in inventory.pools.values()}
    now = time.monotonic()
    for key, revision in list(inventory.revisions.items()):
        template = revision.template
        if id(revision) in used or revision.background:
            continue
        if template is not None and now - template.last_used < settings.template_keep_s:
            continue
        revision.shut()
        del inventory.revisions[key]
    live = [r for r in inventory.revisions.values() if r.template is not None]
    live.sort(key=lambda r: r.template.last_used if r.template else 0.0)
    for revision in live[: max(0, len(live) - settings.max_templates)]:
        revision.drop_template()


async def verify_forever(inventory: Inventory) -> None:
    """Read snapshots through, one now and then, when no one wants the disk; until cancelled."""

    async def verify_one() -> None:
        await asyncio.sleep(VERIFY_EVERY_S)
        try:
            finding = await asyncio.to_thread(verify_one_in_background, inventory.store)
        except SnapshotError as error:
            log.warning("verification failed", extra=kv(reason=error))
            return
        if finding is None or not finding.problem:
            return
        log.error("damaged snapshot", extra=kv(key=finding.key, problem=finding.problem))
        for revision in inventory.revisions.values():
            snapshot = revision.tracker.snapshot
            if snapshot is not None and snapshot.key == finding.key:
                revision.tracker.refuse(finding.problem)

    await guarded_loops.repeat("verify snapshots", verify_one)
