"""A look at a runner that has inputs: timeouts, slow inputs that hold others up, cancellation.

Everything is read from the runners' pages, now and then, so it costs the inputs nothing.

Calling back is safe without a lock: the agent writes the call into the page, and a later look that
still finds the same input running proves that the runner has not looked for its next one since;
when it does, it sees the call. In every other case the runner says itself what it left undone.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from rekindle.runtime.agent.inputs.assignment import Assignment, Cancel
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.wire.logs import kv
from rekindle.wire.page import cancel_token

log = logging.getLogger(__name__)

#: How often the pages of runners that have inputs are looked at.
LOOK_S = 0.02
#: A cancelled input that goes on for this long is ended with its runner.
CANCEL_GRACE_S = 10.0
#: A runner that has not begun an input by its timeout and this is stuck.
_STUCK_S = 10.0


class Look(NamedTuple):
    """What was seen."""

    running_s: float = 0.0  # for how long its input has been running
    #: The input that holds up others, once what waits behind it was called back for certain.
    relieve: Assignment | None = None


def look_at(runner: Runner, now: float, timeout_s: float, slow_s: float) -> Look:
    """Look at a runner, and act on what is overdue. An input that takes longer than ``slow_s``
    holds up what is behind it; times are seconds, ``now`` by the monotonic clock."""
    if runner.dying or not runner.slices:
        return Look()
    began_ns = runner.page.began_ns
    if began_ns != runner.seen_began_ns:
        runner.seen_began_ns, runner.seen_at = began_ns, now
        runner.recalled_at = 0.0
    if runner.page.at_terminal:
        runner.seen_at = now  # the user's time: the input's begins again after it
    running = running_input(runner)
    took = now - runner.seen_at
    relieve = None
    if running is not None and running.cancel is not Cancel.NO:
        _cancel(runner, running, now)
    elif took > timeout_s and running is not None:
        runner.kill_for = running
        runner.kill(f"the input ran longer than timeout={timeout_s:g} s")
    elif took > timeout_s + _STUCK_S:
        runner.kill("it did not begin the input that it was given")
    elif took > slow_s and running is not None and _others_wait(runner):
        if runner.recalled_at:
            # Seen running before the call was written, and still running: see above.
            relieve = running
        else:
            runner.recall(now)
    return Look(took if running is not None else 0.0, relieve)


def _others_wait(runner: Runner) -> bool:
    return sum(len(piece.left) for piece in runner.slices) > 1


def _cancel(runner: Runner, running: Assignment, now: float) -> None:
    piece = next(one for one in runner.slices if running.index in one.left)
    if running.cancel is Cancel.KILL:
        runner.kill_for = running
        runner.kill("its input was cancelled")
        return
    asked_s = runner.ask_to_cancel(cancel_token(piece.number, running.index), now)
    if asked_s > CANCEL_GRACE_S:
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


def died_with(runner: Runner) -> Assignment | None:
    """The input that a runner which has ended was running, or was about to."""
    left = {one.index: one for one in runner.inputs}
    at = runner.last_words.index
    running = left.get(at) if at is not None else None
    if running is None and left and runner.kill_for is None and runner.slices[0].taken == 0:
        return next(iter(left.values()))  # it died as it took the first one up
    return running
