"""Making a revision's GPU snapshot: a process with its GPU, after its hooks, frozen.

It is booted for that alone. Its hooks run with a GPU that no start needs now; it parks, the driver
moves its device memory into its host memory and closes its devices (gpu_restore/checkpoint.py), and
CRIU writes it as any other. A start that needs the GPU meanwhile gets it: this is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rekindle.linux import processes
from rekindle.runtime.agent.gpu_claims import Claim
from rekindle.runtime.agent.gpu_lending import Loan
from rekindle.runtime.agent.pool_gpus import PoolGpus
from rekindle.runtime.agent.runners.output import Output
from rekindle.runtime.agent.starts import freezing
from rekindle.runtime.agent.starts.first_report import FIRST_PID
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotState, SnapshotTracker
from rekindle.runtime.agent.starts.template import LiveTemplate
from rekindle.snapshot.store import Snapshot
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.spec import FunctionSpec

log = logging.getLogger(__name__)

INSTEAD = "runners bring up their GPU and run their hooks for it themselves"


def template_tracker(context: NodeContext, spec: FunctionSpec, params: bytes) -> SnapshotTracker:
    """Follows the snapshot of a revision's template, which leaves hooks to a GPU snapshot's."""
    gpu = "hooks left out" if spec.enable_gpu_snapshot else ""
    return SnapshotTracker(context, spec, params, {}, gpu=gpu)


def tracker_of(context: NodeContext, spec: FunctionSpec, params: bytes) -> SnapshotTracker | None:
    """Follows a revision's GPU snapshot; None where it is to have none."""
    if not spec.enable_gpu_snapshot:
        return None
    return SnapshotTracker(
        *(context, spec, params, {}),
        gpu=context.gpus.in_snapshots(spec.gpu),
        why_never=context.gpu_checkpoints.why_not,
    )


def due(revision: Revision) -> bool:
    """Whether a GPU snapshot is to be made, after the snapshot of the template."""
    tracker = revision.gpu_tracker
    return (
        tracker is not None
        and tracker.wanted()
        and not revision.tracker.wanted()
        and revision.tracker.state is not SnapshotState.MAKING
    )


async def freeze(
    context: NodeContext,
    revision: Revision,
    gpus: PoolGpus,
    say: Callable[[str], None],
    on_line: Callable[[pb.LogLine], None],
) -> None:
    """Make it, where a GPU is free. Never raises: what went wrong is said and remembered.

    ``say`` writes to the user of the app; ``on_line`` gets what the hooks print.
    """
    tracker = revision.gpu_tracker
    assert tracker is not None
    async with context.freezing:
        if not tracker.wanted():
            return
        turn = _Turn()
        claim = gpus.lend(Loan("snapshot", revision.label, turn.end))
        if claim is None:
            return  # all are in use: it is looked at again
        tracker.begin()
        started = time.monotonic()
        try:
            with turn.taken():
                snapshot = await _make(context, revision, tracker, gpus, claim, on_line)
        except _GaveWayError:
            tracker.put_off("a start needed the GPU that it was being made on")
            return
        except asyncio.CancelledError:
            tracker.put_off(freezing.ENDED)
            raise
        except Exception as error:  # noqa: BLE001 - remembered, and logged
            none = f"no GPU snapshot of {revision.label}"
            freezing.remember(tracker, error, lambda why: say(f"{none}: {why}; {INSTEAD}"))
            return
        finally:
            gpus.end_loan(claim)
        revision.gpu_failures = 0
        tracker.made(snapshot)
        tracker.share()
        say(
            f"GPU snapshot {snapshot.key} of {revision.label} made in "
            f"{time.monotonic() - started:.1f} s ({snapshot.manifest.images_bytes >> 20} MiB)"
        )


class _GaveWayError(Exception):
    """A start needs the GPU."""


class _Turn:
    """The time that the work has: until a start needs the GPU."""

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None
        self._ended = False

    def end(self) -> None:
        """A start needs the GPU."""
        self._ended = True
        if self._task is not None:
            self._task.cancel()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Raises _GaveWayError where the turn ends inside."""
        self._task = asyncio.current_task()
        try:
            if self._ended:
                raise _GaveWayError
            yield
        except asyncio.CancelledError:
            if not self._ended or self._task is None or self._task.uncancel() > 0:
                raise
            raise _GaveWayError from None
        finally:
            self._task = None


async def _make(
    context: NodeContext,
    revision: Revision,
    tracker: SnapshotTracker,
    gpus: PoolGpus,
    claim: Claim,
    on_line: Callable[[pb.LogLine], None],
) -> Snapshot:
    freezing.refuse_unfreezable(revision.dump_unsafe)
    output = Output(freezing.ignore_line)
    try:
        template = await freezing.boot_parked(context, revision, output)
        try:
            gpus.lent_until_end(claim, template.channel.pid)
            freezing.refuse_unfreezable(template.dump_unsafe)
            output.redirect(on_line)
            tracker.making_step = "running the hooks for the GPU"
            return await _dump(context, revision, tracker, template, gpus, claim)
        finally:
            template.sandbox.kill()
    finally:
        output.close()


async def _dump(
    context: NodeContext,
    revision: Revision,
    tracker: SnapshotTracker,
    template: LiveTemplate,
    gpus: PoolGpus,
    claim: Claim,
) -> Snapshot:
    pid = template.channel.pid
    given = claim.given
    await context.gpu_holders.make_room(claim, revision.gpu_name)
    answer = await template.use_gpu(given.env, given.hidden, revision.spec.startup_timeout_s)
    control_pipe = freezing.control_pipe_of(template)
    await template.park()
    tracker.making_step = "moving device memory"
    await context.gpu_checkpoints.suspend(pid)
    seen = processes.status(pid)
    threads = int(seen["Threads"])
    loaded = template.on_node(answer["loaded"])
    manifest = freezing.manifest_of(context, revision, tracker, loaded)
    manifest.control_pipe, manifest.pid, manifest.threads = control_pipe, FIRST_PID, threads
    manifest.fork_unsafe = ["it has used CUDA"]
    manifest.gpus, manifest.gpu_kinds = given.uuids, gpu_kinds(claim)
    manifest.machine_gpus = [gpu.uuid for gpu in context.gpus.found.gpus]
    size = sum(int(seen.get(name, "0").split()[0]) for name in ("RssAnon", "RssShmem")) * 1024
    return await freezing.write(
        *(context, tracker, template, manifest, size),
        dumped=lambda: gpus.end_loan(claim),
    )


def gpu_kinds(claim: Claim) -> list[str]:
    """What a process's memory can be moved between: the same model, of the same size."""
    return [f"{one.model} {one.profile or one.memory_mib}".strip() for one in claim.given.devices]
