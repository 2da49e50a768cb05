"""Bringing a frozen template back: mapped or copied, with its working set read ahead.

What the process becomes then, a runner or a template, is the ladder's.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rekindle.exception import SnapshotRestoreError
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.runtime.agent.starts import in_image as in_image_room
from rekindle.runtime.agent.starts.boot import enter
from rekindle.runtime.agent.starts.criu_in_image import FEATURE_CACHE, remove_feature_cache
from rekindle.runtime.agent.starts.node_context import NodeContext, criu_environment
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.runtime.agent.starts.roots import Root
from rekindle.runtime.agent.starts.volumes import binds_of
from rekindle.runtime.agent.starts.waiting import InRoots, WaitingRestore, WaitingRestores
from rekindle.runtime.images import writes
from rekindle.runtime.images.built import BuiltImage
from rekindle.runtime.images.root import Shown
from rekindle.runtime.isolation.sandbox import Sandbox, Worker, describe_exit
from rekindle.snapshot import diagnose, residency, use, worker, workingset
from rekindle.snapshot.store import Snapshot
from rekindle.wire.logs import kv
from rekindle.wire.phases import Phase, PhaseClock, now_ns

log = logging.getLogger(__name__)

#: A plain restore copies at about 2 GB/s; this is for large models on slow machines.
RESTORE_TIMEOUT_S = 120.0
#: Files that were in the page cache are taken to be there for so long.
_STAYS_CACHED_S = 2.0
#: First calls, of different runners, whose working sets are joined.
_RECORDINGS = 4


async def bring_back(
    context: NodeContext, revision: Revision, snapshot: Snapshot, clock: PhaseClock
) -> WaitingRestore:
    """Restore a snapshot as a parked process, by mapping its memory where that can be done.

    Raises StartError or SnapshotRestoreError.
    """
    of_gpu = revision.gpu_tracker if snapshot.manifest.gpus else None
    tracker, mode = of_gpu or revision.tracker, context.settings.restore_mode
    why_not = snapshot.why_not_mapped or tracker.mapping_failed
    if mode == "copied" or (mode == "auto" and why_not):
        return await _restore(context, revision, snapshot, snapshot.images, clock)
    if why_not:
        raise SnapshotRestoreError(
            f"snapshot {snapshot.key} cannot be mapped ({why_not}), and "
            "REKINDLE_RESTORE_MODE=mapped forbids to copy it"
        )
    try:
        return await _restore(context, revision, snapshot, snapshot.mapped, clock)
    except SnapshotRestoreError as error:
        if mode == "mapped":
            raise
        tracker.mapping_failed = str(error)
        log.warning("restored by copying", extra=kv(snapshot=snapshot.key, reason=error))
        return await _restore(context, revision, snapshot, snapshot.images, clock)


class _CriuDiedError(SnapshotRestoreError):
    """It ended without an answer: the snapshot may be in order."""


async def _restore(
    context: NodeContext, revision: Revision, snapshot: Snapshot, images: Path, clock: PhaseClock
) -> WaitingRestore:
    pool = await restores_of(context, revision, snapshot)
    plain = pool.is_plain
    try:
        return await _restore_once(context, revision, snapshot, images, clock)
    except _CriuDiedError as error:
        if plain:
            raise
        pool.use_plain()
        log.warning("restored by CRIU as it is", extra=kv(snapshot=snapshot.key, reason=error))
        return await _restore_once(context, revision, snapshot, images, clock)


async def _restore_once(
    context: NodeContext, revision: Revision, snapshot: Snapshot, images: Path, clock: PhaseClock
) -> WaitingRestore:
    restores = await restores_of(context, revision, snapshot)
    # In an image, its root shows what it sees of its volumes.
    binds = [] if revision.roots is not None else await binds_of(revision.spec)
    pin = use.pin(snapshot.path)
    if pin is None:
        raise SnapshotRestoreError(f"snapshot {snapshot.key} was removed from the store")
    use.touch(snapshot.path)
    if images == snapshot.mapped:
        _read_ahead(revision, snapshot)
    try:
        waiting = await restores.take(binds)
    except BaseException:
        pin.release()
        raise
    # Until all that runs in the sandbox is gone, forks of a restored template included.
    waiting.sandbox.gone.add_done_callback(lambda _gone: pin.release())
    clock.mark(Phase.ISOLATE)
    # CRIU gives the process a time namespace in which CLOCK_MONOTONIC goes on from the dump,
    # so it does not run backwards, not even after a reboot.
    # Its log lies in memory: to make a file on a disk takes a tenth of what CRIU takes.
    log_name = f"restore-{waiting.id}.log"
    restore_log = context.criu_files / log_name
    in_image = waiting.root is not None
    try:
        seen_at = Path(in_image_room.SNAPSHOT, images.name) if in_image else images
        request = worker.restore_request(
            images=worker.link_to(images, context.criu_files, seen_at),
            control_pipe=snapshot.manifest.control_pipe,
            log_name=log_name,
            unprivileged=context.unprivileged,
        )
        with context.listener.expect() as (token, arrival):
            _give_orders(context, snapshot, waiting, token)
            answer = waiting.job.send(request)
            died = _death_of(waiting.sandbox, snapshot.manifest.pid)
            waiting.channel = await _restored_arrives(arrival, answer, died, snapshot, restore_log)
    except BaseException:
        waiting.discard()
        _remove(restore_log)
        raise
    answer.add_done_callback(lambda _said: _remove(restore_log))
    if in_image:
        answer.add_done_callback(lambda _said: remove_feature_cache(waiting.sandbox))
    waiting.arrived_ns = now_ns()
    waiting.mapped = images == snapshot.mapped
    waiting.control_pipe.drop()  # it has read its orders
    return waiting


def _give_orders(
    context: NodeContext, snapshot: Snapshot, waiting: WaitingRestore, token: str
) -> None:
    try:
        in_image = waiting.root is not None
        waiting.control_pipe.give_orders(context.listener, token, in_image=in_image)
    except BrokenPipeError as error:
        why = "CRIU died before it had its order"
        raise _CriuDiedError(f"snapshot {snapshot.key} could not be restored: {why}") from error


async def restores_of(
    context: NodeContext, revision: Revision, snapshot: Snapshot
) -> WaitingRestores:
    """What restores a snapshot: that of the node, or one of its own in the roots of its image.
    Raises StartError."""
    assert context.waiting is not None and context.criu is not None
    if revision.roots is None:
        return context.waiting
    if revision.restores is None or revision.restores_of != snapshot.path:
        written = await context.images.unpacked(snapshot.key, snapshot.images / writes.NAME)
        shown = [Shown(os.path.realpath(snapshot.path), in_image_room.SNAPSHOT)]
        # Page files that are on their way lie elsewhere, and are links to there.
        links = [os.readlink(path) for path in snapshot.images.iterdir() if path.is_symlink()]
        shown += [Shown(os.path.realpath(link), link) for link in links]
        cache = (f"{context.spawner.feature_cache_dir}/{FEATURE_CACHE}",)
        source = revision.roots.with_more(written, shown, cache)

        async def enter_root(hostname: str, waits: Worker) -> tuple[Sandbox, Root]:
            root = await source.take()
            return await enter(context, root, hostname, waits), root

        if revision.restores is not None:
            revision.restores.shut()
        revision.restores_of = snapshot.path
        revision.restores = WaitingRestores(
            *(context.spawner, context.criu, criu_environment(), InRoots(source, enter_root))
        )
        revision.restores.criu = context.waiting.criu
    return revision.restores


async def _restored_arrives(
    arrival: asyncio.Future[Channel],
    answer: asyncio.Future[bytes],
    died: asyncio.Future[int],
    snapshot: Snapshot,
    restore_log: Path,
) -> Channel:
    deadline = time.monotonic() + RESTORE_TIMEOUT_S
    # CRIU answers about when the process reports, in either order.
    either: set[asyncio.Future[Any]] = {arrival, answer}
    await asyncio.wait(either, timeout=RESTORE_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
    said = worker.read_answer(answer.result()) if answer.done() else None
    if not arrival.done() and said is not None and said.ok:
        # A part of its memory that cannot be read ends it before it could say a word.
        left_s = max(0.0, deadline - time.monotonic())
        either = {arrival, died}
        await asyncio.wait(either, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
    if arrival.done():
        return arrival.result()
    if said is None:
        reason = f"CRIU took longer than {RESTORE_TIMEOUT_S:g} s"
    elif said.ok and died.done():
        reason = f"the restored process ended at once: {describe_exit(died.result())}"
    elif said.ok:
        reason = "the restored process did not report"
    else:
        reason = _explain(restore_log, said.error)
        if not answer.result():
            raise _CriuDiedError(f"snapshot {snapshot.key} could not be restored: {reason}")
    raise SnapshotRestoreError(f"snapshot {snapshot.key} could not be restored: {reason}")


def _read_ahead(revision: Revision, snapshot: Snapshot) -> None:
    """Have the pages of the first calls read from disk while CRIU works.

    What was all in memory a moment ago is not looked at again: many restores may follow each other.
    """

    def note(asked: asyncio.Future[int]) -> None:
        if not asked.cancelled() and asked.exception() is None:
            revision.read_from_disk = asked.result()
            revision.cached_at = 0.0 if asked.result() else time.monotonic()

    if snapshot.manifest.gpus:  # what was on the device is wanted all at once
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, _read_all, snapshot)
        return
    if time.monotonic() - revision.cached_at < _STAYS_CACHED_S:
        return
    if revision.working_set is None:
        revision.working_set = workingset.load(snapshot.path)
    if revision.working_set is not None:
        asked = asyncio.get_running_loop().run_in_executor(
            None, workingset.prefetch, snapshot.path, revision.working_set
        )
        asked.add_done_callback(note)


def _read_all(snapshot: Snapshot) -> None:
    try:
        residency.read_ahead(snapshot.images)
    except OSError as error:
        log.warning("not read ahead", extra=kv(snapshot=snapshot.key, reason=error))


async def record_working_set(context: NodeContext, revision: Revision, runner: Runner) -> None:
    """Keep what a restored runner has touched after its first call: that of the first few."""
    snapshot = revision.tracker.snapshot
    if (
        snapshot is None
        or runner.of_gpu_snapshot
        or not snapshot.is_mapped
        or revision.recordings >= _RECORDINGS
    ):
        return
    revision.recordings += 1
    try:
        find = str if revision.image is None else _finder(revision.image, snapshot)
        found = await asyncio.to_thread(
            workingset.of_process, runner.channel.pid, snapshot.path, find
        )
        if revision.working_set is not None:
            found = found.joined_with(revision.working_set)
        revision.working_set = found
        await asyncio.to_thread(workingset.save, snapshot.path, found)
        if context.stored is not None:
            context.stored.pushes.working_set_soon(snapshot)
    except OSError as error:
        log.warning("no working set", extra=kv(snapshot=snapshot.key, reason=error))


def _death_of(sandbox: Sandbox, pid: int) -> asyncio.Future[int]:
    """How a process that is being restored ends; until somebody else follows it."""
    died: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    follow_adopted(sandbox, pid, died)
    return died


def follow_adopted(sandbox: Sandbox, pid: int, exit_status: asyncio.Future[int]) -> None:
    """A restored process is no one's job: its init adopts it and reports how it ends."""

    def ended(which: int, status: int) -> None:
        if which == pid and not exit_status.done():
            exit_status.set_result(status)

    sandbox.on_adopted_exit(ended)
    sandbox.gone.add_done_callback(lambda _gone: ended(pid, -9))


def restore_steps(clock: PhaseClock, arrived_ns: int) -> dict[str, float]:
    """The steps of one restore in ms: ``spawn_criu`` (zero where one waited), ``criu`` (to the
    first instruction of the process), ``resume`` (to its report) and ``reseed``."""
    at = {"start": clock.start_ns, **dict(clock.marks)}
    awake_ns = at[Phase.RESTORE.value]
    steps = {
        "spawn_criu": at[Phase.ISOLATE.value] - at["start"],
        "criu": awake_ns - at[Phase.ISOLATE.value],
        "resume": arrived_ns - awake_ns,
        "reseed": at[Phase.RESEED.value] - arrived_ns,
    }
    return {name: max(0, ns) / 1e6 for name, ns in steps.items()}


def _finder(image: BuiltImage, snapshot: Snapshot) -> Callable[[str], str]:
    return functools.partial(in_image_room.on_node, snapshot=snapshot.path, layers=image.lowers)


def _remove(restore_log: Path) -> None:
    with contextlib.suppress(OSError):  # gone with the spawner
        restore_log.unlink()


def _explain(restore_log: Path, said: str) -> str:
    try:
        text = restore_log.read_text(errors="replace")
    except OSError as error:
        text = f"CRIU left no log ({error})"
    return diagnose.explain_restore_failure(f"{text}\n{said}")
