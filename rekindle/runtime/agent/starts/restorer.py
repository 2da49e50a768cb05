"""Restores of one pool's snapshots: a runner of a copy, with its GPUs or without, or a template.

The ladder says when. How a frozen process is brought back is restoring.py's and gpu_restoring.py's.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from rekindle.exception import (
    RunnerLostError,
    SnapshotRestoreError,
    StartError,
    StrategyUnavailableError,
)
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.runtime.agent.starts import gpu_restoring
from rekindle.runtime.agent.starts.outfit import Outfit
from rekindle.runtime.agent.starts.pending import PendingStart
from rekindle.runtime.agent.starts.restoring import bring_back, follow_adopted
from rekindle.runtime.agent.starts.revision_image import BUILT_ANEW, ensure_image
from rekindle.runtime.agent.starts.runner_maker import RunnerMaker
from rekindle.runtime.agent.starts.template import LiveTemplate, new_id
from rekindle.runtime.agent.starts.waiting import WaitingRestore
from rekindle.snapshot.store import Snapshot
from rekindle.wire.phases import Phase, PhaseClock


@dataclass
class Restorer(RunnerMaker):
    """Makes runners and the template of one pool by restoring its snapshots."""

    async def restore(self, pending: PendingStart) -> Runner:
        """A runner of a copy of the template's snapshot. Raises StrategyUnavailableError where
        there is none, else StartError, SnapshotRestoreError or RunnerLostError."""
        claim = await self.claim_gpus(pending.clock)
        async with AsyncExitStack() as turn:
            try:
                place = self.context.restoring.turn(self.revision.label)
                if await turn.enter_async_context(place):
                    pending.clock.mark(Phase.QUEUE)
                back, snapshot, outfit = await self._brought_back(pending)
            except BaseException:
                self.not_used(claim, pending)
                raise
            return await self.become_restored(back, snapshot, pending, outfit, claim)

    async def _brought_back(self, pending: PendingStart) -> tuple[WaitingRestore, Snapshot, Outfit]:
        tracker, image = self.revision.tracker, self.revision.image
        snapshot = await tracker.usable()
        if snapshot is None:
            raise StrategyUnavailableError(f"restore: {self.revision.why_no_restore()}")
        outfit = Outfit.make()
        try:
            back = await bring_back(self.context, self.revision, snapshot, pending.clock)
        except SnapshotRestoreError as error:
            outfit.close()
            stored = self.context.stored
            why = stored.why_lost(snapshot) if stored is not None else ""
            tracker.refuse(f"{error}: {why}" if why else str(error))
            if why:
                raise SnapshotRestoreError(f"{error}: {why}") from error
            raise
        except BaseException:
            outfit.close()
            raise
        if self.revision.image is not image:
            outfit.close()
            back.discard()
            raise StrategyUnavailableError(f"restore: {BUILT_ANEW}")
        return back, snapshot, outfit

    def has_gpu_snapshot(self) -> bool:
        """Whether there is one."""
        tracker = self.revision.gpu_tracker
        return tracker is not None and tracker.snapshot is not None

    async def restore_on_gpu(self, pending: PendingStart) -> Runner:
        """A runner of a copy of the GPU snapshot. Raises as ``restore``."""
        tracker = self.revision.gpu_tracker
        snapshot = await tracker.usable() if tracker is not None else None
        if snapshot is None:
            raise StrategyUnavailableError("restore: there is no GPU snapshot")
        outfit = Outfit.make()
        context, revision, claim = self.context, self.revision, None
        try:
            claim = await self.claim_gpus(pending.clock)
            async with context.restoring.turn(revision.label):
                back = await gpu_restoring.bring_back_on_gpu(
                    context, revision, snapshot, claim, pending.clock
                )
        except BaseException as error:
            outfit.close()
            if claim is not None:
                self.not_used(claim, pending)
            if isinstance(error, SnapshotRestoreError):
                gpu_restoring.failed(revision, error)
            raise
        try:
            runner = await self.become_restored(back, snapshot, pending, outfit, claim)
        except (StartError, RunnerLostError) as error:
            gpu_restoring.failed(revision, error)
            raise
        revision.gpu_failures, runner.of_gpu_snapshot = 0, True
        return runner

    async def restore_template(self) -> LiveTemplate:
        """Restore the snapshot as a template to fork from. Raises StartError or SnapshotError."""
        await ensure_image(self.context, self.revision)
        image = self.revision.image
        snapshot = await self.revision.tracker.usable()
        if snapshot is None:
            raise StrategyUnavailableError(f"restore: {self.revision.why_no_restore()}")
        if snapshot.manifest.fork_unsafe:
            self.revision.fork_unsafe = snapshot.manifest.fork_unsafe
            raise StrategyUnavailableError(f"fork: {self.revision.why_no_fork()}")
        before = self.revision.template
        back = await bring_back(self.context, self.revision, snapshot, PhaseClock())
        if self.revision.image is not image:
            back.discard()
            raise StrategyUnavailableError(f"fork: {BUILT_ANEW}")
        there = self.revision.live_template()
        if there is not None and there.mapped and there is not before:  # restored meanwhile
            back.discard()
            return there
        channel = back.reported()
        channel.open(takes_fds=True)
        exit_status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        follow_adopted(back.sandbox, snapshot.manifest.pid, exit_status)
        template = LiveTemplate(
            *(new_id("te"), back.sandbox, channel, exit_status),
            {"fork_unsafe": [], "dump_unsafe": [], "threads": []},
            snapshot.manifest.loaded_files,
            mapped=back.mapped,
        )
        if back.root is not None and back.roots is not None:
            template.lives_in(back.root, back.roots)
        template.listen()
        self.revision.fork_unsafe = []
        self.keep(template)
        self.context.activity.changed.set()
        return template
