"""A node's upkeep: unused templates and directories go, snapshots are read through now and then."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from rekindle import guarded_loops, paths
from rekindle.exception import SnapshotError
from rekindle.linux.kept_directories import remove_unused
from rekindle.runtime.agent.apart import apart
from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.settings import AgentSettings
from rekindle.runtime.images.store import mounted
from rekindle.snapshot.verify import verify_one_in_background
from rekindle.volumes import registry
from rekindle.volumes.leftovers import remove_leftovers
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: How often a snapshot is read through in the background.
VERIFY_EVERY_S = 3600.0
#: How long after the start unused directories are looked for first, and how often from then on.
_FIRST_LOOK_S = 60.0
_LOOK_EVERY_S = 3600.0
#: Modules of programs take this much of the disk, beside what is in use; they come again.
_SOURCES_BYTES = 2 << 30


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


async def remove_unused_forever(used: Callable[[], list[Path]]) -> None:
    """Remove what nobody has used for long: the modules of programs, the copies of code and drivers
    for images, those of stores' folders, and what was left half made among volumes.

    ``used``: directories that this agent has. Until cancelled.
    """
    pause_s = _FIRST_LOOK_S

    async def look() -> None:
        nonlocal pause_s
        await asyncio.sleep(pause_s)
        pause_s = _LOOK_EVERY_S
        for folder, most_bytes in (
            (paths.sources_dir(), _SOURCES_BYTES),
            (paths.runner_code_dir(), None),
            (paths.driver_dir(), None),
        ):
            if gone := await asyncio.to_thread(remove_unused, folder, used(), most_bytes):
                log.info("unused directories removed", extra=kv(folder=folder, count=len(gone)))
        volumes = registry.place()
        if count := await apart(lambda: remove_leftovers(volumes, mounted)):
            log.info("leftovers removed", extra=kv(folder=volumes, count=count))

    await guarded_loops.repeat("remove unused directories", look)
