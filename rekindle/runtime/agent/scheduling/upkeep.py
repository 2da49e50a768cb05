"""A node's upkeep: unused templates are frozen if they were not, and go; snapshots are read through
now and then."""

from __future__ import annotations

import asyncio
import functools
import logging
import time

from rekindle.exception import SnapshotError
from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.settings import AgentSettings
from rekindle.runtime.agent.starts.freezing import freeze
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.snapshot.verify import verify_one_in_background
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: How often a snapshot is read through in the background.
VERIFY_EVERY_S = 3600.0
#: At which look after its apps have closed a snapshot is begun that was not.
_LEFT_LOOKS = 2


def let_templates_go(inventory: Inventory, settings: AgentSettings) -> None:
    """Templates that no open app uses go after their time, and the oldest of too many."""
    used = {id(pool.revision) for pool in inventory.pools.values()}
    now = time.monotonic()
    for key, revision in list(inventory.revisions.items()):
        template = revision.template
        if id(revision) in used or revision.background or _is_left(revision):
            continue
        if template is not None and now - template.last_used < settings.template_keep_s:
            continue
        revision.shut()
        del inventory.revisions[key]
    live = [r for r in inventory.revisions.values() if r.template is not None]
    live.sort(key=lambda r: r.template.last_used if r.template else 0.0)
    for revision in live[: max(0, len(live) - settings.max_templates)]:
        revision.drop_template()


def freeze_what_is_left(inventory: Inventory, context: NodeContext) -> None:
    """Begin snapshots of templates whose app closed before that was begun: a program may end right
    after its first call, and its next run is to be quick.

    Not at the first look after that: an instance that ends with its program is not to wait for it.
    """
    used = {id(pool.revision) for pool in inventory.pools.values()}
    for revision in inventory.revisions.values():
        revision.unused_looks = 0 if id(revision) in used else revision.unused_looks + 1
        if revision.unused_looks < _LEFT_LOOKS or revision.background or not _is_left(revision):
            continue
        say = functools.partial(log.info, "%s")
        task = asyncio.create_task(freeze(context, revision, say))
        revision.background.add(task)
        task.add_done_callback(revision.background.discard)


def _is_left(revision: Revision) -> bool:
    """Whether it was started, and is to have a snapshot which it has not."""
    if not (revision.started and revision.snapshots_enabled and revision.tracker.wanted()):
        return False
    if revision.fork_unsafe:
        return True  # it is booted to be frozen
    template = revision.template
    gone = template is None or template.retired or template.gone.is_set()
    return template is not None and not gone and not template.mapped


async def verify_forever(inventory: Inventory) -> None:
    """Read snapshots through, one now and then, when no one wants the disk; until cancelled."""
    while True:
        await asyncio.sleep(VERIFY_EVERY_S)
        try:
            finding = await asyncio.to_thread(verify_one_in_background, inventory.store)
        except SnapshotError as error:
            log.warning("verification failed", extra=kv(reason=error))
            continue
        if finding is None or not finding.problem:
            continue
        log.error("damaged snapshot", extra=kv(key=finding.key, problem=finding.problem))
        for revision in inventory.revisions.values():
            snapshot = revision.tracker.snapshot
            if snapshot is not None and snapshot.key == finding.key:
                revision.tracker.refuse(finding.problem)
