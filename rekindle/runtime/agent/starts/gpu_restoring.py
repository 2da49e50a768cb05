"""Bringing a GPU snapshot back: by CRIU, then its device memory and its context by the driver.

What fails is counted: a driver that fails again and again is not asked any more, or not for a while
where what it says passes.
"""

from __future__ import annotations

import asyncio
import logging

from rekindle.counted import counted
from rekindle.exception import (
    Error,
    GpuError,
    RunnerLostError,
    SnapshotRestoreError,
    StrategyUnavailableError,
)
from rekindle.linux.passing import is_passing, says_passing
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
    here = [gpu.uuid for gpu in context.gpus.found.gpus]
    why, moved = _why_not_on(manifest, claim), None
    if not why and _is_moved(manifest, claim, here):
        moved = pairs(manifest.gpus, claim.given.uuids, manifest.machine_gpus, here)
        why = await _why_not_moved(context, manifest, moved)
    if why:
        raise StrategyUnavailableError(f"GPU snapshot {snapshot.key} {why}")
    back = await bring_back(context, revision, snapshot, clock)
    clock.marks.append((Phase.RESTORE.value, back.arrived_ns))
    try:
        await context.gpu_checkpoints.resume(back.reported().pid, moved)
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


def _is_moved(manifest: Manifest, claim: Claim, here: list[str]) -> bool:
    """Whether the driver has to be told of GPUs. Those of other places count, too: left alone, it
    takes the one at the same place among all. Of a MIG instance it cannot be told."""
    if any(one.startswith("MIG-") for one in manifest.gpus):
        return False
    return manifest.gpus != claim.given.uuids or manifest.machine_gpus != here


def pairs(
    then: list[str], now: list[str], machine_then: list[str], machine_now: list[str]
) -> dict[str, str] | None:
    """Which GPU is in the place of which: those of a process, and all others of its machine. The
    driver refuses a list that leaves any out (NVIDIA/cuda-python#1983). None: they are not as many
    as there were."""
    found = dict(zip(then, now, strict=True))
    old = [uuid for uuid in machine_then if uuid not in found]
    new = [uuid for uuid in machine_now if uuid not in now]
    if len(old) != len(new):
        return None
    stays = set(old) & set(new)
    found.update((uuid, uuid) for uuid in stays)
    others = ([uuid for uuid in part if uuid not in stays] for part in (old, new))
    return found | dict(zip(*others, strict=True))


async def _why_not_moved(
    context: NodeContext, manifest: Manifest, moved: dict[str, str] | None
) -> str:
    if moved is None:
        count = len(manifest.machine_gpus)
        gpus = counted(count, "GPU")
        return f"was made on a machine of {gpus}, and this one has another number of them"
    try:
        return await context.gpu_checkpoints.why_not_moved()
    except GpuError as error:
        return f"cannot be brought back: {error}"


def failed(revision: Revision, error: Error) -> None:
    """A start from it did not succeed."""
    tracker = revision.gpu_tracker
    assert tracker is not None
    revision.gpu_failures += 1
    if revision.gpu_failures >= MOST_FAILURES and tracker.snapshot is not None:
        why = f"{revision.gpu_failures} starts in a row failed, the last one so: {error}"
        if is_passing(error) or says_passing(str(error)) or _is_from_outside(error):
            tracker.put_aside(why)
            return
        log.warning("GPU snapshot given up", extra=kv(function=revision.label, reason=why))
        tracker.refuse(why)
        tracker.failed(why, for_good=True)


def _is_from_outside(error: Error) -> bool:
    return isinstance(error, RunnerLostError) and error.from_outside


def why_without(revision: Revision) -> str:
    """For the record of a start that was to come from a GPU snapshot, and did not."""
    tracker = revision.gpu_tracker
    assert tracker is not None
    return f"without a GPU snapshot ({tracker.why_none()}): {INSTEAD}"
