"""What a pool keeps below its runners: the snapshot to be made, the template to be kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import psutil

from rekindle.background_tasks import BackgroundTasks
from rekindle.exception import Error
from rekindle.runtime.agent.pools.events import Event, SnapshotEnded
from rekindle.runtime.agent.starts import gpu_freezing
from rekindle.runtime.agent.starts.freezing import freeze
from rekindle.runtime.agent.starts.ladder import Starter
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.wire.logs import kv
from rekindle.wire.pools import Level

log = logging.getLogger(__name__)

#: Share of memory that stays free of templates kept in advance.
_SPARE_MEMORY = 0.15


class Due(Enum):
    """Which snapshot is to be made next."""

    OF_TEMPLATE = "of the template"
    OF_GPU = "of what it has on the GPU"  # once the template's is there


@dataclass
class TemplateKeeper:
    """Makes snapshots and keeps templates of one pool's revision, off the critical path."""

    revision: Revision
    starter: Starter
    tasks: BackgroundTasks
    publish: Callable[[Event], None]

    def due(self) -> Due | None:
        """The snapshot that is to be made next, as far as nothing else is in its way."""
        revision = self.revision
        if not revision.snapshots_enabled or revision.background:
            return None
        if gpu_freezing.due(revision):
            return Due.OF_GPU
        return Due.OF_TEMPLATE if revision.tracker.wanted() else None

    def begin_snapshot(self, due: Due, *, waiting: bool) -> None:
        """Begin a snapshot that is due, once an input has been answered, so that it delays none.

        ``waiting``: whether inputs or clients wait, or are served.
        """
        revision, starter = self.revision, self.starter
        if not revision.served.is_set() and waiting:
            return
        context, say = starter.context, starter.say
        if due is Due.OF_TEMPLATE:
            work = freeze(context, revision, say)
        elif starter.gpus.may_lend():
            work = gpu_freezing.freeze(
                *(context, revision, starter.gpus, say), starter.on_loading_line
            )
        else:
            return
        task = revision.in_background(work)
        task.add_done_callback(lambda _task: self.publish(SnapshotEnded()))

    def keep_template_when_due(self, level: Level) -> None:
        """Restore the template too, so that the next runners are forked from mapped memory.

        Also in place of one that was booted: its own memory is free then, and forks are quicker.
        ``level``: what is to be held below the runners.
        """
        held = level in (Level.SPARE, Level.BOOTED, Level.MAPPED)
        wanted = held and not self.revision.has_best_template()
        if wanted and self.may_keep_template():
            self.keep_template()

    def may_keep_template(self) -> bool:
        """Whether a template can be restored now, and the node has memory for it."""
        revision, snapshot = self.revision, self.revision.tracker.snapshot
        return (
            snapshot is not None
            and not revision.restoring
            and not snapshot.manifest.fork_unsafe
            and not revision.fork_unsafe
            and _memory_to_spare()
        )

    def keep_template(self) -> None:
        """Restore the template, to fork from, in the background."""
        self.revision.restoring = True
        self.tasks.spawn(self._keep_template())

    async def _keep_template(self) -> None:
        try:
            await self.starter.restore_template()
        except Error as error:
            log.warning("no template kept", extra=kv(function=self.revision.label, reason=error))
        finally:
            self.revision.restoring = False


def _memory_to_spare() -> bool:
    """Whether the node may keep a template that no one has asked for yet."""
    memory = psutil.virtual_memory()
    return bool(memory.available > _SPARE_MEMORY * memory.total)
