"""Making a revision's snapshot, off the critical path.

A template that is safe to fork is frozen by way of a copy: it goes on forking runners while CRIU
writes the copy's memory. One that is not safe to fork is booted a second time, only to be frozen.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rekindle.exception import Error, SnapshotCreateError
from rekindle.linux import niceness, processes
from rekindle.linux.passing import is_passing
from rekindle.linux.plain_descriptors import close_all
from rekindle.runtime.agent.inputs.outcome import UserCodeFailed
from rekindle.runtime.agent.runners.output import Output
from rekindle.runtime.agent.starts import criu_in_image, in_image
from rekindle.runtime.agent.starts.boot import boot, template_of
from rekindle.runtime.agent.starts.first_report import FIRST_PID
from rekindle.runtime.agent.starts.node_context import NodeContext, criu_environment
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotTracker
from rekindle.runtime.agent.starts.template import LiveTemplate
from rekindle.runtime.images import writes
from rekindle.runtime.isolation.sandbox import JobExit
from rekindle.snapshot import command, diagnose
from rekindle.snapshot.criu import Criu
from rekindle.snapshot.draft import Draft, begin
from rekindle.snapshot.manifest import LoadedFile, Manifest
from rekindle.snapshot.seal import InRoot
from rekindle.snapshot.store import Snapshot
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv
from rekindle.wire.phases import PhaseClock

log = logging.getLogger(__name__)

#: A dump writes at some 300 MB/s; this is for machines that are much slower.
DUMP_TIMEOUT_S = 900.0
#: A CRIU that is killed as it took longer has ended after this.
_CRIU_ENDS_S = 10.0
#: Why there is none where the making of it was cancelled.
ENDED = "the making of it was ended"
#: Background work gives way to runners.
NICENESS = 10


async def freeze(context: NodeContext, revision: Revision, say: Callable[[str], None]) -> None:
    """Make the snapshot of a revision. Never raises: what went wrong is said and remembered.

    ``say`` writes to the user of the app.
    """
    tracker = revision.tracker
    async with context.freezing:
        if not tracker.wanted():
            return
        refused = tracker.reason
        tracker.begin()
        started, image = time.monotonic(), revision.image
        try:
            snapshot = await _make(context, revision, refused)
        except asyncio.CancelledError:
            tracker.put_off(ENDED)
            raise
        except Exception as error:  # noqa: BLE001 - remembered, and logged
            remember(tracker, error, lambda why: say(f"no snapshot of {revision.label}: {why}"))
            return
        if revision.image is not image:
            await tracker.outdated("its image was built anew while a snapshot was made")
            return
        tracker.made(snapshot)
        tracker.share()
        say(
            f"snapshot {snapshot.key} of {revision.label} made in "
            f"{time.monotonic() - started:.1f} s ({snapshot.manifest.images_bytes >> 20} MiB)"
        )


def remember(tracker: SnapshotTracker, error: Exception, say: Callable[[str], None]) -> None:
    """Note why a snapshot that was begun could not be made; ``say`` tells the user of the app,
    whom starts tell of code of its own that fails."""
    if isinstance(error, UserCodeFailed):
        tracker.failed(f"loading failed: {error}", for_good=False)
        return
    why = str(error)
    if not isinstance(error, Error | OSError):
        why = f"{type(error).__name__}: {error}"
        log.error("internal error", extra=kv(function=tracker.spec.name), exc_info=error)
    for_good = isinstance(error, CannotBeFrozenError)
    tracker.failed(why, for_good=for_good, passes=not for_good and is_passing(error))
    say(why)


class CannotBeFrozenError(SnapshotCreateError):
    """Trying again would end the same."""


async def _make(context: NodeContext, revision: Revision, refused: str) -> Snapshot:
    refuse_unfreezable(revision.dump_unsafe)  # without booting it once more to see the same
    template = revision.live_template()
    # One that was restored may be mapped from the page file of its snapshot, which its images would
    # name; and no CRIU can be started beside it.
    if template is not None and template.sandbox.worker is None:
        try:
            return await _dump(context, revision, template, refused, by_copy=True)
        finally:
            template.end_copies()  # one that could not be frozen is of no use to anybody
    output = Output(ignore_line)  # its first boot has said it all
    try:
        template = await boot_parked(context, revision, output)
    finally:
        output.close()
    try:
        return await _dump(context, revision, template, refused, by_copy=False)
    finally:
        template.sandbox.kill()


def refuse_unfreezable(reasons: list[str]) -> None:
    """Raises CannotBeFrozenError with the reasons, if there are any."""
    if reasons:
        raise CannotBeFrozenError("; ".join(reasons))


def control_pipe_of(template: LiveTemplate) -> str:
    """The pipe that a template waits on, as CRIU names it: ``pipe:[12345]``."""
    return os.readlink(f"/proc/{template.channel.pid}/fd/3")


def _memory_of(template: LiveTemplate) -> int:
    """Anonymous memory of a template, bytes: what CRIU will write of it."""
    resident = processes.status(template.channel.pid).get("RssAnon", "0 kB")
    return int(resident.split()[0]) * 1024


async def boot_parked(context: NodeContext, revision: Revision, output: Output) -> LiveTemplate:
    """A template that is booted only to be frozen. Raises as ``boot`` does, and OSError.

    It gives way while it boots, where it can be made to give way no more before it is frozen: what
    is restored is as nice as it was then, and what is forked of that, and the user code in it.
    """
    gives_way = niceness.may_lower()
    template = template_of(
        await boot(
            context,
            revision,
            output,
            PhaseClock(),
            hostname="rekindle",
            park=True,
            nice=NICENESS if gives_way else 0,
        )
    )
    if gives_way:
        try:
            niceness.as_this_process(template.channel.pid)
        except OSError:
            template.sandbox.kill()
            raise
    return template


def ignore_line(_line: pb.LogLine) -> None:
    """The second boot of a template prints nothing that the first has not."""


async def _dump(
    context: NodeContext, revision: Revision, template: LiveTemplate, refused: str, *, by_copy: bool
) -> Snapshot:
    """Freeze a parked copy of a template, or the template, which ends with it."""
    tracker = revision.tracker
    refuse_unfreezable(template.dump_unsafe)
    control_pipe, memory_bytes = control_pipe_of(template), _memory_of(template)
    if by_copy:
        pid, threads = await template.copy(), 1
    else:
        await template.park()
        pid, threads = FIRST_PID, 1 + len(template.inspection["threads"])
    because = refused if refused.startswith("snapshot ") else ""
    manifest = manifest_of(context, revision, tracker, template.loaded_files, because)
    manifest.control_pipe, manifest.pid, manifest.threads = control_pipe, pid, threads
    manifest.fork_unsafe = template.fork_unsafe
    return await write(context, tracker, template, manifest, memory_bytes)


def manifest_of(
    context: NodeContext,
    revision: Revision,
    tracker: SnapshotTracker,
    loaded: Mapping[str, Sequence[int]],
    refused: str = "",
) -> Manifest:
    """All that is known of a revision's snapshot but for its process, which is for the caller.

    ``loaded``: the files that it has loaded, as it reports them. ``refused``: why another one was.
    """
    ingredients = tracker.ingredients
    assert ingredients is not None
    return Manifest(
        key=ingredients.key(),
        app=revision.spec.app_name,
        function=revision.spec.name,
        ingredients=ingredients,
        created=time.time(),
        made_because=context.store.reasons(ingredients, refused),
        loaded_files={path: LoadedFile(size, at_ns) for path, (size, at_ns) in loaded.items()},
    )


async def write(
    context: NodeContext,
    tracker: SnapshotTracker,
    template: LiveTemplate,
    manifest: Manifest,
    memory_bytes: int,
    dumped: Callable[[], object] = bool,
) -> Snapshot:
    """Have CRIU write the parked process that the manifest names, which ends with it; keep that.
    It is the template, or lives beside it.

    ``dumped`` is called when the process is gone. Raises SnapshotCreateError, StartError or
    OSError.
    """
    assert context.criu is not None
    draft = await asyncio.to_thread(begin, context.store, manifest.key, needs_bytes=memory_bytes)
    tracker.making_step, tracker.making_dir = "writing memory", draft.images
    try:
        started = time.monotonic()
        try:
            async with asyncio.timeout(DUMP_TIMEOUT_S):
                ended = await _run_criu(context, context.criu, template, manifest.pid, draft.images)
        except TimeoutError as error:
            raise SnapshotCreateError(f"CRIU took longer than {DUMP_TIMEOUT_S:g} s") from error
        manifest.dump_ms = (time.monotonic() - started) * 1e3
        manifest.created = time.time()
        if ended.status != 0:
            raise SnapshotCreateError(await asyncio.to_thread(_explain, draft, ended.in_words()))
        dumped()
        tracker.making_step = "mapping and checking"
        in_root = None
        if template.root is not None:
            await asyncio.to_thread(writes.pack, template.root.upper, draft.images)
            root = Path(f"/proc/{template.sandbox.pid}/root")
            in_root = InRoot(Path(in_image.SNAPSHOT), root)
        return await asyncio.to_thread(draft.commit, manifest, in_root)
    finally:
        await asyncio.to_thread(draft.discard)


async def _run_criu(
    context: NodeContext, criu: Criu, template: LiveTemplate, pid: int, images: Path
) -> JobExit:
    sandbox, env = template.sandbox, criu_environment()
    if template.root is None:
        argv = command.dump_argv(criu, pid=pid, images_dir=images)
        run_dir = context.spawner.feature_cache_dir
        ended = sandbox.run(argv, env=env, run_dir=run_dir, nice=NICENESS)
        return await sandbox.to_its_end(ended, _CRIU_ENDS_S)
    carried = command.dump_elsewhere(criu, pid=pid, images_dir=images)
    cache = criu_in_image.put_feature_cache(context, sandbox)
    try:
        opened = carried.open()
        try:
            ended = sandbox.run(carried.argv, env=env, fds=opened, nice=NICENESS)
        finally:
            close_all(list(opened.values()))
        return await sandbox.to_its_end(ended, _CRIU_ENDS_S)
    finally:
        cache.unlink(missing_ok=True)


def _explain(draft: Draft, how: str) -> str:
    try:
        text = (draft.images / "dump.log").read_text(errors="replace")
    except OSError as error:
        text = f"(no log: {error})"
    reason = diagnose.explain_dump_failure(text, images_dir=draft.images)
    return f"CRIU could not freeze the process ({how}): {reason}"
