"""Spares that have their context already: each holds a GPU that no start needs now.

Its device is lent (gpu_lending.py): a start of another function that needs it has the spare end; a
start of its own takes both.
"""

from __future__ import annotations

import asyncio
import logging
import time

from rekindle.background_tasks import BackgroundTasks
from rekindle.runtime.agent.gpu_claims import Claim
from rekindle.runtime.agent.gpu_lending import Loan
from rekindle.runtime.agent.starts.child import ForkedChild
from rekindle.runtime.agent.starts.runner_maker import RunnerMaker
from rekindle.runtime.agent.starts.spares import NOT_AGAIN_S, Spares
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: To bring the driver up and make a context.
TIMEOUT_S = 60.0


def bring_up(
    starter: RunnerMaker, spares: Spares, child: ForkedChild, tasks: BackgroundTasks
) -> bool:
    """Begin it, in the background; False where no GPU is to be had now."""
    if time.monotonic() < spares.no_context_before:
        return False
    loan = Loan("spare", starter.revision.label, lambda: spares.let_go(child))
    claim = starter.gpus.lend(loan)
    if claim is None:
        return False
    child.gpu_owner = claim.owner
    tasks.spawn(_bring_up(starter, spares, child, claim))
    return True


async def _bring_up(starter: RunnerMaker, spares: Spares, child: ForkedChild, claim: Claim) -> None:
    gpus = starter.gpus
    try:
        gpus.lent_until_end(claim, child.channel.pid)
        await starter.context.gpu_holders.make_room(claim, starter.revision.gpu_name)
        child.answer = asyncio.get_running_loop().create_future()
        child.exit_status.add_done_callback(lambda _status: child.answered({"op": "ended"}))
        order = {"op": "gpu", "env": claim.given.env, "hidden": claim.given.hidden, "hooks": False}
        child.channel.send(order)
        async with asyncio.timeout(TIMEOUT_S):
            said = await child.answer
    except (OSError, TimeoutError) as error:
        said = {"op": "gpu_failed", "reason": str(error) or type(error).__name__}
    if said["op"] == "gpu_ready":
        gpus.has_context(claim)
        return
    if said["op"] == "gpu_failed":
        spares.no_context_before = time.monotonic() + NOT_AGAIN_S
        reason = said["reason"]
        log.warning("no context", extra=kv(function=starter.revision.label, reason=reason))
    spares.let_go(child)
    gpus.end_loan(claim)
