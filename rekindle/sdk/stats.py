"""``get_current_stats``: the runners of a function, and what waits for them. Imported when used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rekindle.exception import NotFoundError
from rekindle.sdk.calls.callers import Caller
from rekindle.sdk.declaration import Declaration
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.spec import params_digest


@dataclass(frozen=True)
class FunctionCurrentStats:
    """What runs of a function now, as its nodes said within the last second or two.

    ``backlog``: inputs that wait for a runner. A runner that a program holds for direct calls
    counts as one that has an input.
    """

    backlog: int
    num_total_runners: int
    num_running_inputs: int
    input_headroom: int


async def current(
    caller: Caller, declaration: Declaration, params: Callable[[], bytes]
) -> FunctionCurrentStats:
    """Of a function, or of the instance with these parameters.

    Raises NotFoundError, and ExecutionError where its app has ended.
    """
    client, function_id, _ = await caller.in_thread(declaration.resolve)
    request = pb.StatusRequest(function_id=function_id, pinned=declaration.pinned)
    report = await caller.run(client.request("Status", request, pb.StatusReply))
    found = [one for app in report.apps for one in app.functions]  # it alone, whichever its id is
    if not found:  # a controller of another release may say nothing
        raise NotFoundError(f"{declaration.name} is not known any more: its app has ended")
    return stats_of(found[0], params_digest(await caller.in_thread(params)))


def stats_of(function: pb.FunctionStatus, params: str) -> FunctionCurrentStats:
    """Of the pool of these parameters; of all where there are none."""
    pools = [pool for pool in function.pool.pools if not params or pool.params == params]
    busy = sum(pool.busy for pool in pools)
    idle = sum(pool.idle for pool in pools)
    backlog = 0
    for pool in pools:
        waiting = sum(at.report.waiting for at in pool.agents)
        backlog += max(waiting, pool.in_flight - pool.busy, 0)
    return FunctionCurrentStats(
        backlog=backlog,
        num_total_runners=busy + idle,
        num_running_inputs=busy,
        input_headroom=idle,
    )
