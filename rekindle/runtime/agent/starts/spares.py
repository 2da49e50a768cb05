"""Spares: children of one template that are forked already, and wait for a start.

Isolated and unique again, they know nothing of their start: secrets, environment and connections
come with it. They are of one template and end with it, also when it is replaced. How many there
should be, and when they are forked, others decide (scheduling/spare_keeper.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rekindle.exception import StartError
from rekindle.runtime.agent.starts.child import ForkedChild
from rekindle.runtime.agent.starts.outfit import Outfit
from rekindle.wire import runner_variables
from rekindle.wire.frames import FrameError
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: After one that ended before it was ready to wait, none is forked for so long; twice as long each
#: time in a row, up to the longest.
NOT_AGAIN_S = 30.0
_LONGEST_S = 960.0
#: So many are on their way at once: a start that is ordered meanwhile is forked after these at
#: most, and what is wanted no more is never forked.
AT_ONCE = 16


@dataclass(eq=False)
class Spares:
    """Those of one template."""

    #: Has the template fork one. Raises StartError.
    _fork: Callable[..., ForkedChild]
    #: It takes milliseconds from its fork until it waits; one that does not by then never will.
    timeout_s: float
    #: How many there are to be, as far as there is room.
    wanted: int = 0
    #: What their runners will have in their environment, as far as it is no start's own.
    env: Mapping[str, str] = field(default_factory=dict)
    #: One was asked for by name: it stays until a start takes it, whatever the plan wants.
    _asked_for: bool = False
    #: After a context that could not be made, none is before this, in monotonic seconds.
    no_context_before: float = 0.0
    _waiting: deque[ForkedChild] = field(default_factory=deque)
    _coming: set[ForkedChild] = field(default_factory=set)
    #: To be forked when fewer are on their way.
    _due: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    #: Monotonic seconds.
    _not_before: float = 0.0
    #: How often in a row none came to wait, and why the last one did not; "": they do.
    _failures: int = 0
    why_none: str = ""
    _ended: bool = False

    @property
    def waiting(self) -> list[ForkedChild]:
        """Those that a start can take now."""
        return list(self._waiting)

    def take(self, gpu_owner: str = "") -> ForkedChild | None:
        """One for a start: the one that has waited longest; None where there is none.

        ``gpu_owner``: the one that holds GPUs under this name; "" is one that holds none.
        """
        child = next((one for one in self._waiting if one.gpu_owner == gpu_owner), None)
        if child is None:
            return None
        self._asked_for = False
        self._waiting.remove(child)
        child.channel.unsubscribe()
        return child

    def let_go(self, child: ForkedChild) -> None:
        """One that waits is to go."""
        self._lost(child)

    def missing(self, wanted: int) -> int:
        """How many are to be forked so that there are so many; 0 while that is of no use."""
        if self._ended or time.monotonic() < self._not_before:
            return 0
        return max(0, wanted - self._there())

    def add(self, count: int) -> None:
        """Fork so many more, few at once. Raises StartError."""
        self._due += count
        try:
            self._fork_due()
        except StartError:
            self._due = 0
            raise

    def _fork_due(self) -> None:
        at_once = 1 if self._failures else AT_ONCE
        while self._due and len(self._coming) < at_once:
            child = self._fork(spare=True)
            self._due -= 1
            child.channel.open()
            self._coming.add(child)
            task = asyncio.create_task(self._await(child))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _there(self) -> int:
        """Those that wait, and will."""
        return len(self._waiting) + len(self._coming) + self._due

    async def coming(self) -> None:
        """Where none waits: wait for those that are on their way, or are wanted."""
        if self._waiting:
            return
        self.add(self.missing(min(1, self.wanted)))
        await self.ready()

    async def have_one(self) -> bool:
        """See to it that one waits, and stays until a start takes it; whether one does.

        Raises StartError.
        """
        self._asked_for = True
        while not self._waiting:
            self.add(self.missing(1))
            if not self._tasks:
                break
            await asyncio.wait(set(self._tasks), return_when=asyncio.FIRST_COMPLETED)
            self._asked_for = True  # the one that came may be another start's by now
        self._asked_for = bool(self._waiting)
        return self._asked_for

    async def ready(self) -> None:
        """Wait for those that are on their way."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    def keep(self, most: int) -> None:
        """Let those go that are more than that, all at once: the newest, and first of all those
        that do not wait yet. One that was asked for by name stays."""
        most = max(most, int(self._asked_for))
        self._due -= min(self._due, max(0, self._there() - most))
        while self._coming and self._there() > most:
            self._coming.pop().let_go()
        while len(self._waiting) > most:
            self._waiting.pop().let_go()

    def give_up(self) -> None:
        """Let all go: their memory is needed."""
        self._asked_for = False
        self.keep(0)

    def discard(self) -> None:
        """Let all go, and have no more."""
        self._ended = True
        self.give_up()

    async def _await(self, child: ForkedChild) -> None:
        """Take a child in once it waits."""
        try:
            await child.forked
            try:
                header, _body = await child.channel.receive(self.timeout_s)
            except TimeoutError as error:
                raise StartError(
                    f"it did not come to wait for a start in {self.timeout_s:g} s of its fork; a "
                    "handler of os.register_at_fork may hang"
                ) from error
            if header["op"] != "waiting":
                raise StartError(f"a spare said {header['op']}")
        except (StartError, FrameError, OSError) as error:
            if child in self._coming:
                self._coming.discard(child)
                self._give_up_for_now(str(error))
                child.let_go()
                log.warning("no spare", extra=kv(spare=child.name, reason=error))
            return
        if child not in self._coming:
            return  # let go meanwhile
        self._failures, self.why_none = 0, ""
        self._outfit(child)
        self._coming.discard(child)
        self._waiting.append(child)
        child.exit_status.add_done_callback(lambda _status: self._lost(child))
        child.channel.subscribe(
            lambda header, _body: child.answered(header), lambda: self._lost(child)
        )
        try:
            self._fork_due()
        except StartError as error:
            self._give_up_for_now(str(error))
            log.warning("no spare", extra=kv(reason=error))

    def _outfit(self, child: ForkedChild) -> None:
        """Give it what it needs as a runner; where that cannot be, it has it with its start."""
        try:
            outfit = Outfit.make()
            outfit.env = {**self.env, runner_variables.RUNNER_ID: child.name}
            try:
                order = {"op": "outfit", "env": outfit.env}
                child.channel.send_with_fds(order, outfit.descriptors)
            except OSError:  # a FrameError is one too
                outfit.close()
                raise
        except (StartError, OSError) as error:
            log.debug("no outfit", extra=kv(spare=child.name, reason=error))
            return
        outfit.handed_over()
        child.outfit = outfit

    def _give_up_for_now(self, why: str) -> None:
        self._due, self.why_none = 0, why
        now = time.monotonic()
        if now >= self._not_before:  # those that were forked together fail together
            self._not_before = now + min(NOT_AGAIN_S * 2.0 ** min(self._failures, 10), _LONGEST_S)
            self._failures += 1

    def _lost(self, child: ForkedChild) -> None:
        """One that ends while it waits is not handed out."""
        if child in self._waiting:
            self._waiting.remove(child)
            child.let_go()
