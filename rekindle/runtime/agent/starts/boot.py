"""Booting a process of user code cold, up to the point where it has loaded its code."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from rekindle.exception import RunnerLostError, StartError, StartupTimeoutError
from rekindle.forkserver.park import CONTROL_FD
from rekindle.runtime.agent.inputs.outcome import UserCodeFailed
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.runtime.agent.runners.output import Output
from rekindle.runtime.agent.starts import volumes
from rekindle.runtime.agent.starts.control_pipe import ControlPipe
from rekindle.runtime.agent.starts.first_report import (
    CONNECT_TIMEOUT_S,
    FIRST_PID,
    KilledEarlyError,
    reported,
)
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.runtime.agent.starts.revision_image import ensure_image
from rekindle.runtime.agent.starts.roots import Root, RootSource
from rekindle.runtime.agent.starts.template import LiveTemplate, new_id
from rekindle.runtime.agent.starts.waiting_boots import WaitingBoot
from rekindle.runtime.isolation.sandbox import JobExit, Sandbox, Worker
from rekindle.wire.frames import FrameError, Header
from rekindle.wire.phases import Phase, PhaseClock

log = logging.getLogger(__name__)


@dataclass
class Booted:
    """A process that has loaded its code and waits for orders."""

    sandbox: Sandbox
    channel: Channel
    exit_status: asyncio.Future[int]
    loaded: Mapping[str, Any]  # the "parked" or "loaded" message
    #: In an image: the root that it is in, and the source that this is from.
    root: Root | None = None
    roots: RootSource | None = None
    #: What of its files others can change: where it sees them, and where the node has them.
    sources: Sequence[Sequence[str]] = ()


def status_of(job: asyncio.Future[JobExit]) -> asyncio.Future[int]:
    """The exit status of a job as a plain number."""
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def copy(done: asyncio.Future[JobExit]) -> None:
        if not future.done():
            future.set_result(done.result().status)

    job.add_done_callback(copy)
    return future


async def boot(
    context: NodeContext,
    revision: Revision,
    output: Output,
    clock: PhaseClock,
    *,
    hostname: str,
    park: bool,
    nice: int = 0,
    secrets: Mapping[str, str] = MappingProxyType({}),
    waiting: WaitingBoot | None = None,
) -> Booted:
    """Boot a process and load the user's code; ``park`` makes it ready to be forked and frozen.
    ``secrets`` are in its environment from the start: of a process that may be frozen, only those
    that may be in a snapshot. ``waiting``: what has booted already, under this host name.

    Marks ``clock``. Raises StartError (KilledEarlyError: before any user code ran),
    StartupTimeoutError, RunnerLostError or UserCodeFailed; nothing is left then.
    """
    gpus = context.gpus.expected(revision.spec.gpu) if park else {}
    env = {**revision.boot_environment(), **gpus, **secrets}
    if waiting is not None:
        return await _given_to_waiting(context, revision, clock, waiting, env, park=park)
    await ensure_image(context, revision)
    binds = await volumes.binds_of(revision.spec)
    sandbox, root = await _spawn(context, revision, hostname, clock)
    try:
        control_pipe = ControlPipe()
        # A parked copy would read the end of the pipe as the order to go, so our end stays open.
        sandbox.gone.add_done_callback(lambda _gone: control_pipe.drop())
        output.keep_last(on=True)
        out, err = output.write_fds
        with context.listener.expect() as (token, arrival):
            control_pipe.give_orders(context.listener, token, in_image=root is not None)
            job = sandbox.run(
                revision.command(),
                env=env,
                cwd=revision.working_directory(),
                binds=binds if root is None else (),
                fds={1: out, 2: err, CONTROL_FD: control_pipe.read_fd},
                pid=FIRST_PID,
                new_session=True,
                nice=nice,
            )
            control_pipe.handed_over()
            output.handed_over()
            clock.mark(Phase.ISOLATE)
            channel = await _reported(arrival, job, revision, output)
        output.keep_last(on=False)
        booted = await _load(context, revision, sandbox, channel, job, clock, binds, park=park)
    except BaseException:
        sandbox.kill()
        raise
    booted.root, booted.roots = root, revision.roots
    return booted


async def _reported(
    arrival: asyncio.Future[Channel],
    job: asyncio.Future[JobExit],
    revision: Revision,
    output: Output,
) -> Channel:
    """As ``reported``; what the process printed last is part of the error."""
    try:
        return await reported(arrival, job, CONNECT_TIMEOUT_S, revision.process())
    except (StartError, StartupTimeoutError) as error:
        output.drain()
        if said := output.said_last():
            raise type(error)(f"{error}; the last that it printed:{said}") from error
        raise


async def _spawn(
    context: NodeContext, revision: Revision, hostname: str, clock: PhaseClock
) -> tuple[Sandbox, Root | None]:
    """New namespaces, in a root of the revision's image where it has one. Raises StartError."""
    if revision.roots is None:
        return await context.spawner.spawn(hostname), None
    root = await revision.roots.take()
    clock.mark(Phase.IMAGE)
    return await enter(context, root, hostname), root


async def enter(
    context: NodeContext, root: Root, hostname: str, worker: Worker | None = None
) -> Sandbox:
    """New namespaces in a root, which is removed with them; for ``worker`` alone, if it is given.
    Raises StartError."""
    try:
        if worker is not None:
            sandbox = await context.spawner.spawn_worker(hostname, worker, root.fd)
        else:
            sandbox = await context.spawner.spawn(hostname, root.fd)
    except BaseException:
        root.remove()
        raise
    root.entered()
    sandbox.gone.add_done_callback(lambda _gone: root.remove())
    return sandbox


async def _given_to_waiting(
    context: NodeContext,
    revision: Revision,
    clock: PhaseClock,
    waiting: WaitingBoot,
    env: Mapping[str, str],
    *,
    park: bool,
) -> Booted:
    """Give a process that has booted already its environment and code; otherwise as ``boot``."""
    try:
        order: Header = {"op": "told", "env": dict(env), "cwd": revision.working_directory()}
        clock.mark(Phase.ISOLATE)  # before it: what it marks next is when it was told
        try:
            waiting.channel.open(order, takes_fds=park)
        except OSError as error:
            raise KilledEarlyError(f"a process that had booted has ended: {error}") from error
        job = waiting.job
        return await _load(
            context, revision, waiting.sandbox, waiting.channel, job, clock, [], park=park
        )
    except BaseException:
        waiting.sandbox.kill()
        raise


async def _load(
    context: NodeContext,
    revision: Revision,
    sandbox: Sandbox,
    channel: Channel,
    job: asyncio.Future[JobExit],
    clock: PhaseClock,
    binds: list[volumes.Bind],
    *,
    park: bool,
) -> Booted:
    if not channel.is_open:
        channel.open(takes_fds=park)
    path_first, path_last = revision.import_paths()
    sources = volumes.sources(binds)
    channel.send(
        {
            "op": "boot",
            "name": revision.spec.name,
            "params": base64.b64encode(revision.params).decode(),
            "place": [revision.spec.module, revision.spec.qualname],
            "program": list(revision.spec.program),
            "bundle": revision.bundle(),
            "path_first": path_first,
            "path_last": path_last,
            "roots": [*revision.project_dirs(), *(one["target"] for one in binds)],
            "volumes": sources,
            "mounted": volumes.mounted(binds),
            "withheld": list(revision.withheld),
            "other_python": revision.why_other_python(),
            "user_threads": revision.user_threads(),
            "park": park,
            "many": revision.spec.takes_many,
            "hides": context.gpus.hides,
            "gpu_snapshots": revision.spec.enable_gpu_snapshot,
        },
        revision.code,
    )
    try:
        async with asyncio.timeout(revision.spec.startup_timeout_s):
            try:
                message, data = await channel.receive()
            except FrameError as error:  # it may have closed its connection, and live
                ended = (await asyncio.shield(job)).in_words()
                if why := context.layers.why_lost(revision.image):
                    ended += f": {why}"
                died = f"{revision.label} died while it loaded: {ended}"
                raise RunnerLostError(died) from error
    except TimeoutError as error:
        raise StartupTimeoutError(
            f"{revision.label} did not load within "
            f"startup_timeout={revision.spec.startup_timeout_s:g} s"
        ) from error
    clock.extend((name, at) for name, at in message["marks"])
    if message["op"] == "start_failed":
        raise UserCodeFailed(message, data)
    return Booted(sandbox, channel, status_of(job), message, sources=sources)


def template_of(booted: Booted) -> LiveTemplate:
    """The parked process as a template."""
    template = LiveTemplate(
        *(new_id("te"), booted.sandbox, booted.channel, booted.exit_status),
        *(booted.loaded["inspection"], booted.loaded["loaded"]),
    )
    if booted.root is not None and booted.roots is not None:
        template.lives_in(booted.root, booted.roots, booted.sources)
    template.listen()
    return template
