"""Runners that are idle while others have much before them: that is shared with them."""

from __future__ import annotations

import time

from rekindle.runtime.agent.pools.pace import Pace
from rekindle.runtime.agent.pools.runner_set import RunnerSet


def call_back_for_idle(runners: RunnerSet, pace: Pace) -> None:
    """Nothing waits: have the runners with the most before them give it back, for idle ones.

    It waits again when their present inputs have ended.
    """
    idle = len(runners.idle())
    if not idle:
        return
    back, givers = 0, []
    for runner in runners.with_inputs():
        behind = runner.not_begun
        if runner.recalled_at:
            back += behind
        elif pace.worth_sharing(behind) and not runner.dying:
            givers.append((behind, runner))
    givers.sort(key=lambda giver: giver[0])
    now = time.monotonic()
    while givers and back < idle:
        behind, runner = givers.pop()
        runner.page.recall(runner.handed)
        runner.recalled_at = now
        back += behind
