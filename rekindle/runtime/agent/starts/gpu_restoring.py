"""Bringing a GPU snapshot back: by CRIU, then its device memory and its context by the driver.

What fails is counted: a driver that fails again and again is not asked any more.
"""

from __future__ import annotations

import asyncio
import logging

from rekindle.exception import GpuError, SnapshotRestoreError, StrategyUnavailableError
from rekindle.runtime.agent.gpu_claims import Claim
from rekindle.runtime.agent.starts.gpu_freezing import INSTEAD, gpu_kinds
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.runtime.agent.starts.restoring import bring_back
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.runtime.agent.starts.waiting import WaitingRestore
from rekindle.snapshot.manifest import Manifest
from rekindle.snapshot.store import Snapshot
from rekindle.wire.logs import kv
from rekindle.wire.phases import Phase, PhaseClock

log = logging.getLogger(__name__)

#: So many starts in a row that failed: the snapshot is not used any more.
MOST_FAILURES = 3


async def bring_back_on_gpu(
    context: NodeContext, revision: Revision, snapshot: Snapshot, claim: Claim, clock: PhaseClock
) -> WaitingRestore:
    """Restore it as a parked process with the GPUs of ``claim``; nothing is left where that fails.

    Raises StartError or SnapshotRestoreError; StrategyUnavailableError for what this start alone
    cannot have, as its GPUs are others.
    """
    manifest = snapshot.manifest
    if why := _why_not_on(manifest, claim):
        raise StrategyUnavailableError(f"GPU snapshot {snapshot.key} {why}")
    back = await bring_back(context, revision, snapshot, clock)
    clock.marks.append((Phase.RESTORE.value, back.arrived_ns))
    pairs = dict(zip(manifest.gpus, claim.given.uuids, strict=True))
    moved = any(old != new for old, new in pairs.items())
    try:
        await context.gpu_checkpoints.resume(back.reported().pid, pairs if moved else None)
    except BaseException as error:
        back.discard()
        await asyncio.shield(back.sandbox.gone)  # its devices are free then
        if isinstance(error, GpuError):
            raise SnapshotRestoreError(f"GPU snapshot {snapshot.key}: {error}") from error
        raise
    clock.mark(Phase.GPU_RESTORE)
    return back


def _why_not_on(manifest: Manifest, claim: Claim) -> str:
    """Why it cannot be brought back on these GPUs; "" where it can."""
    kinds = gpu_kinds(claim)
    if kinds != manifest.gpu_kinds:
        made_on = ", ".join(manifest.gpu_kinds)
        return f"was made on {made_on}, and this runner has {', '.join(kinds)}"
    if any(one.startswith("MIG-") for one in manifest.gpus) and manifest.gpus != claim.given.uuids:
        return "was made on another MIG instance than this runner has"
    return ""


def failed(revision: Revision, reason: str) -> None:
    """A start from it did not succeed."""
    tracker = revision.gpu_tracker
    assert tracker is not None
    revision.gpu_failures += 1
    if revision.gpu_failures >= MOST_FAILURES and tracker.snapshot is not None:
        why = f"{revision.gpu_failures} starts in a row failed, the last one so: {reason}"
        log.warning("GPU snapshot given up", extra=kv(function=revision.label, reason=why))
        tracker.refuse(why)
        tracker.failed(why, for_good=True)


def why_without(revision: Revision) -> str:
    """For the record of a start that was to come from a GPU snapshot, and did not."""
    tracker = revision.gpu_tracker
    assert tracker is not None
    return f"without a GPU snapshot ({tracker.why_none()}): {INSTEAD}"
