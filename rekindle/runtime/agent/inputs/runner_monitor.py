"""Watching runners that have inputs: timeouts, slow inputs that hold others up, cancellation.

Everything is read from the runners' pages, now and then, so it costs the inputs nothing.

Calling back is safe without a lock: the agent writes the call into the page, and a later look that
still finds the same input running proves that the runner has not looked for its next one since;
when it does, it sees the call. In every other case the runner says itself what it left undone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING

from rekindle.runtime.agent.inputs.assignment import Assignment, Cancel
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.wire.logs import kv
from rekindle.wire.page import CANCEL_SIGNAL, cancel_token

if TYPE_CHECKING:
    from rekindle.runtime.agent.inputs.dispatcher import InputDispatcher

log = logging.getLogger(__name__)

#: How often runners that have inputs are looked at.
LOOK_S = 0.02
#: A cancelled input that goes on for this long is ended with its runner.
CANCEL_GRACE_S = 10.0
#: A runner that has not begun an input by its timeout and this is stuck.
_STUCK_S = 10.0


class Watch:
    """Looks at the runners of one dispatcher while they have inputs."""

    def __init__(self, dispatcher: InputDispatcher) -> None:
        self._dispatcher = dispatcher
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look from now on; stops by itself."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._timer = None
        dispatcher, now = self._dispatcher, time.monotonic()
        busy = [runner for runner in dispatcher.crew.busy_runners() if runner.slices]
        longest = 0.0
        for runner in busy:
            longest = max(longest, self.look_at(runner, now))
        dispatcher.pace.running_s = longest
        if dispatcher.waiting:
            dispatcher.crew.pump()
        if busy:
            self.start()

    def look_at(self, runner: Runner, now: float) -> float:
        """For how long its input has been running; acts on what is overdue."""
        if runner.dying or not runner.slices:
            return 0.0
        began_ns = runner.page.began_ns
        if began_ns != runner.seen_began_ns:
            runner.seen_began_ns, runner.seen_at = began_ns, now
            runner.recalled_at = 0.0
        running = running_input(runner)
        took = now - runner.seen_at
        timeout_s = self._dispatcher.timeout_s
        if running is not None and running.cancel is not Cancel.NO:
            self._cancel(runner, running, now)
        elif took > timeout_s and running is not None:
            runner.kill_for = running
            runner.kill(f"the input ran longer than timeout={timeout_s:g} s")
        elif took > timeout_s + _STUCK_S:
            runner.kill("it did not begin the input that it was given")
        elif took > self._dispatcher.pace.slow_s:
            self._relieve(runner, running, now)
        return took if running is not None else 0.0

    def _relieve(self, runner: Runner, running: Assignment | None, now: float) -> None:
        """Its input is slow: take in what it has finished, and call back what waits behind it."""
        if running is None or sum(len(piece.left) for piece in runner.slices) <= 1:
            return
        if not runner.recalled_at:
            runner.page.recall(runner.handed)
            runner.recalled_at = now
            return
        # Seen running before the call was written, and still running: see above.
        records = runner.page.unsent()
        runner.output.drain()  # what those inputs printed goes before their results
        self._dispatcher.take(runner, records)
        behind = []
        for piece in runner.slices:
            behind += [one for one in piece.left.values() if one is not running]
            piece.left = {index: one for index, one in piece.left.items() if one is running}
        if behind:
            log.debug("called back", extra=kv(runner=runner.id, inputs=len(behind)))
            self._dispatcher.put_back(behind)

    def _cancel(self, runner: Runner, running: Assignment, now: float) -> None:
        piece = next(one for one in runner.slices if running.index in one.left)
        token = cancel_token(piece.number, running.index)
        if running.cancel is Cancel.KILL:
            runner.kill_for = running
            runner.kill("its input was cancelled")
        elif runner.cancel_token != token:
            runner.cancel_token, runner.cancel_at = token, now
            runner.page.cancel(token)
            with contextlib.suppress(ProcessLookupError):
                os.kill(runner.channel.pid, CANCEL_SIGNAL)
        elif now - runner.cancel_at > CANCEL_GRACE_S:
            log.warning("cancellation ignored", extra=kv(runner=runner.id, input=running.input_id))
            runner.kill_for = running
            runner.kill(f"its input went on {CANCEL_GRACE_S:g} s after it was cancelled")


def running_input(runner: Runner) -> Assignment | None:
    """The input that a runner runs now, as its page says."""
    page = runner.page
    if not page.began_ns:
        return None
    index = page.index
    for piece in runner.slices:
        one = piece.left.get(index)
        if one is not None:
            return one
    return None
