"""Deployments that are being made, and whether their programs still wait for them.

A version goes live while its program is there to hear of it, or not at all: one whose program has
gone, or has said that it gives up, is dropped. From the write that switches to it on, it is too
late for that. Knows nothing of what a deployment does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rekindle.background_tasks import BackgroundTasks
from rekindle.exception import ExecutionError

T = TypeVar("T")

#: Ids of deployments that were given up are remembered: a request may be on its way.
_REMEMBERED = 256


#: Why a deployment is given up, unless something else is said.
_NOBODY_WAITS = "nobody waits for this deployment any more, so it was not made"


class GivenUpError(Exception):
    """A deployment is not made, and why; clients get an ExecutionError."""


class PendingDeploy:
    """One deployment of an app, from its request until it is made or given up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._clients = 0
        self._changed = asyncio.Event()
        self._goes_live = self._held = False
        self._given_up = ""  # why
        self._starting: asyncio.Future[Any] | None = None
        self._grace: asyncio.TimerHandle | None = None
        #: What does it.
        self.task: asyncio.Task[Any] | None = None

    def joined(self) -> None:
        """A client waits for it."""
        self._clients += 1
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        self._changed.set()

    def left(self, grace_s: float) -> None:
        """One does not any more; after the last one, another connection of it may come soon."""
        self._clients -= 1
        if not self._clients and self.task is not None and not self.task.done():
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(grace_s, self.give_up)

    def give_up(self, why: str = _NOBODY_WAITS) -> bool:
        """Do not make it. False where it is too late."""
        if self._goes_live:
            return False
        self._given_up = self._given_up or why
        self._changed.set()
        if self._starting is not None:
            self._starting.cancel()
        return True

    def hold(self) -> None:
        """Do not have it go live in this controller, which ends: its program asks the next one."""
        self._held = True

    def check(self) -> None:
        """Raises GivenUpError."""
        if self._given_up:
            raise GivenUpError(self._given_up)

    async def while_wanted(self, work: Coroutine[Any, Any, T]) -> T:
        """The value of ``work``, which is cancelled when the deployment is given up. Raises
        GivenUpError."""
        self._starting = starting = asyncio.ensure_future(work)
        try:
            if self._given_up:
                starting.cancel()
            return await starting
        except asyncio.CancelledError:
            self.check()
            raise
        finally:
            self._starting = None

    async def go_live(self) -> None:
        """Return where somebody waits for it; it cannot be given up any more. Raises GivenUpError.

        Waits while nobody does who may be back.
        """
        while (self._held or not self._clients) and not self._given_up:
            self._changed.clear()
            await self._changed.wait()
        self.check()
        self._goes_live = True


@dataclass(eq=False)
class PendingDeploys:
    """All pending deployments of a controller, by the id of the version to be."""

    _tasks: BackgroundTasks
    _grace_s: float
    _pending: dict[str, PendingDeploy] = field(default_factory=dict)
    _given_up: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    _ends: bool = False

    def end(self) -> None:
        """The controller ends: nothing goes live any more."""
        self._ends = True
        for pending in self._pending.values():
            pending.hold()

    def is_pending(self, app_id: str) -> bool:
        """Whether it is being made."""
        return app_id in self._pending

    async def make(
        self,
        name: str,
        app_id: str,
        work: Callable[[PendingDeploy], Coroutine[Any, Any, T]],
    ) -> T:
        """Its value, for one client; of a request that was sent again, what the first comes to.

        Raises ExecutionError where it was given up.
        """
        if app_id in self._given_up:
            raise ExecutionError("this deployment was given up by its program")
        pending = self._pending.get(app_id)
        if pending is None:
            pending = self._pending[app_id] = PendingDeploy(name)
            if self._ends:
                pending.hold()
            made = self._to_its_end(app_id, pending, work)
            what, given_up = f"deploy {app_id}", (GivenUpError,)
            pending.task = self._tasks.begin(made, what, foreseen=given_up)
        pending.joined()
        assert pending.task is not None
        try:
            value: T = await self._tasks.value_of(pending.task)
            return value
        except GivenUpError as error:
            raise ExecutionError(str(error)) from None
        finally:
            pending.left(self._grace_s)

    async def give_up(self, app_id: str) -> None:
        """Drop it; where it is too late, return once it is live."""
        self._given_up.append(app_id)
        pending = self._pending.get(app_id)
        if pending is None or pending.give_up() or pending.task is None:
            return
        with contextlib.suppress(Exception):  # its client's
            await asyncio.shield(pending.task)

    def give_up_all(self, name: str, why: str) -> None:
        """Drop what is being made of an app, or waits for its turn, where it is not too late."""
        for pending in self._pending.values():
            if pending.name == name:
                pending.give_up(why)

    async def _to_its_end(
        self,
        app_id: str,
        pending: PendingDeploy,
        work: Callable[[PendingDeploy], Coroutine[Any, Any, T]],
    ) -> T:
        try:
            return await work(pending)
        finally:
            del self._pending[app_id]
