"""Restores begun in advance: namespaces in which a CRIU already waits for its order.

Making namespaces, starting CRIU and linking it costs more than half of a small restore, and needs
to know nothing of the snapshot. A few are kept ready while a node restores at all.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from rekindle.exception import Error, StartError
from rekindle.linux.plain_descriptors import close_all
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.runtime.agent.starts.control_pipe import ControlPipe
from rekindle.runtime.agent.starts.roots import Root, RootSource
from rekindle.runtime.agent.starts.template import new_id
from rekindle.runtime.agent.starts.volumes import Bind
from rekindle.runtime.isolation.sandbox import Sandbox, WaitingJob, Worker
from rekindle.runtime.isolation.spawner_client import Spawner
from rekindle.snapshot import worker
from rekindle.snapshot.criu import Criu
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Kept ready, once the first restore showed that they are wanted.
DEPTH = 4
#: The same of one function that runs in an image.
DEPTH_IN_ROOTS = 2
#: Refilling waits this long, so that it does not slow the start that took one.
_REFILL_AFTER_S = 0.05


@dataclass(frozen=True)
class InRoots:
    """Restores in roots of an image: where those come from, and namespaces in one."""

    source: RootSource
    #: Makes namespaces with this host name and this worker. Raises StartError.
    enter: Callable[[str, Worker], Awaitable[tuple[Sandbox, Root]]]


@dataclass
class WaitingRestore:
    """Namespaces, a CRIU that waits in them, and the control pipe of the process to come."""

    id: str  # of the runner that it will be: it is the host name already
    sandbox: Sandbox
    job: WaitingJob
    control_pipe: ControlPipe
    channel: Channel | None = None  # of the restored process, once it has reported
    #: In an image: the root that it is in, and the source that this is from.
    root: Root | None = None
    roots: RootSource | None = None
    arrived_ns: int = 0  # when it reported
    mapped: bool = False  # whether its memory was mapped

    def reported(self) -> Channel:
        """The restored process's channel."""
        if self.channel is None:
            raise StartError("the restored process has not reported")
        return self.channel

    def discard(self) -> None:
        """End it unused."""
        self.control_pipe.drop()
        self.sandbox.kill()


class WaitingRestores:
    """The few that are ready."""

    def __init__(
        self,
        spawner: Spawner,
        criu: Criu,
        env: dict[str, str],
        in_roots: InRoots | None = None,
    ) -> None:
        self._spawner = spawner
        self._in_roots = in_roots
        self._plain = criu
        #: What is started from now on: it, or one that starts sooner.
        self.criu = criu
        self._env = env
        self._ready: deque[WaitingRestore] = deque()
        self._refilling: asyncio.Task[None] | None = None
        self._closed = False

    async def take(self, binds: Sequence[Bind] = ()) -> WaitingRestore:
        """One that is ready, or a new one. Raises StartError.

        One that is to see directories at other places is always made: that is done before CRIU is.
        """
        self.refill()
        if binds:
            return await self._make(binds)
        while self._ready:
            waiting = self._ready.popleft()
            if waiting.job.is_there:
                return waiting
            waiting.discard()
        return await self._make()

    def refill(self, after_s: float = _REFILL_AFTER_S) -> None:
        """See to it that some are ready soon."""
        if self._refilling is None and not self._closed:
            self._refilling = asyncio.create_task(self._refill(after_s))

    @property
    def is_plain(self) -> bool:
        """Whether CRIU is started as it is."""
        return self.criu is self._plain

    def use_plain(self) -> None:
        """Start CRIU as it is from now on."""
        if not self.is_plain:
            self.criu = self._plain
            self._discard()

    def _discard(self) -> None:
        while self._ready:
            self._ready.popleft().discard()

    async def close(self) -> None:
        """Discard them."""
        refilling = self._refilling
        self.shut()
        if refilling is not None:
            await asyncio.gather(refilling, return_exceptions=True)

    def shut(self) -> None:
        """The same without a wait for what is under way."""
        self._closed = True
        if self._refilling is not None:
            self._refilling.cancel()
        self._discard()
        if self._in_roots is not None:
            self._in_roots.source.close()

    async def _refill(self, after_s: float) -> None:
        try:
            await asyncio.sleep(after_s)
            depth = DEPTH if self._in_roots is None else DEPTH_IN_ROOTS
            while len(self._ready) < depth:
                self._ready.append(await self._make())
        except Error as error:
            log.warning("no waiting restore", extra=kv(reason=error))
        finally:
            self._refilling = None

    async def _make(self, binds: Sequence[Bind] = ()) -> WaitingRestore:
        runner_id = new_id("ru")
        in_roots = self._in_roots
        control_pipe = ControlPipe()
        opened: dict[int, int] = {}
        root = None
        try:
            argv = worker.worker_argv(self.criu)
            if in_roots is not None:
                carried = worker.worker_elsewhere(self.criu)
                argv, opened = carried.argv, carried.open()
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            opened[worker.WORK_FD] = os.open(self._spawner.feature_cache_here, flags)
            job = Worker(
                argv=argv,
                env=self._env,
                channel_fd=worker.CHANNEL_FD,
                fds={worker.CONTROL_FD: control_pipe.read_fd, **opened},
                run_dir=self._spawner.feature_cache_dir if in_roots is None else "",
                binds=binds,
            )
            if in_roots is None:
                sandbox = await self._spawner.spawn_worker(runner_id, job)
            else:
                sandbox, root = await in_roots.enter(runner_id, job)
        except BaseException as error:
            control_pipe.drop()
            if isinstance(error, OSError):
                raise StartError(f"CRIU cannot be started: {error}") from error
            raise
        finally:
            close_all(list(opened.values()))
        control_pipe.handed_over()
        assert sandbox.worker is not None
        return WaitingRestore(
            *(runner_id, sandbox, sandbox.worker, control_pipe),
            root=root,
            roots=in_roots.source if in_roots is not None else None,
        )
