"""``FunctionCall.get_call_graph``: the inputs of a call, what became of each, and what they called.

Imported when it is used.
"""

from __future__ import annotations

import contextlib
import enum
from dataclasses import dataclass, field

from rekindle.exception import NotFoundError, OutputExpiredError
from rekindle.sdk.connection.client import Client
from rekindle.sdk.connection.seen import Seen
from rekindle.wire import rekindle_pb2 as pb

#: Inputs that are told of: the first ones of a call, and of those under them.
MOST_INPUTS = 1000


class InputStatus(enum.IntEnum):
    """What became of an input; PENDING where it waits or runs."""

    PENDING = 0
    SUCCESS = 1
    FAILURE = 2
    TERMINATED = 3
    TIMEOUT = 4
    INIT_FAILURE = 5


_STATUS: dict[int, InputStatus] = {
    pb.SUCCESS: InputStatus.SUCCESS,
    pb.FAILURE: InputStatus.FAILURE,
    pb.TIMEOUT: InputStatus.TIMEOUT,
    pb.RUNNER_LOST: InputStatus.FAILURE,
    pb.START_FAILURE: InputStatus.INIT_FAILURE,
    pb.CANCELLED: InputStatus.TERMINATED,
    pb.INTERNAL: InputStatus.FAILURE,
}


@dataclass(frozen=True)
class InputInfo:
    """One input. ``task_id``: the runner that ran it, empty while it is pending.

    ``module_name``: of the function's code, empty where that travels by value. ``children``: inputs
    of the calls that it has made; of direct ones those that have ended.
    """

    input_id: str
    function_call_id: str
    task_id: str
    status: InputStatus
    function_name: str
    module_name: str = ""
    children: list[InputInfo] = field(default_factory=list)


async def of_call(client: Client, call_id: str) -> list[InputInfo]:
    """The first inputs of a call, in order, with what is under them: so many inputs in all.

    Raises NotFoundError and OutputExpiredError.
    """
    info = await client.get_call(call_id)
    count = min(info.inputs, MOST_INPUTS)
    done = await _stored(client, call_id, count) if count else {}
    known = [
        InputInfo(
            f"{call_id}:{index}",
            call_id,
            *done.get(index, ("", InputStatus.PENDING)),
            function_name=info.function,
            module_name=info.module,
        )
        for index in range(count)
    ]
    await _add_children(client, known)
    return known


async def _stored(client: Client, call_id: str, count: int) -> dict[int, tuple[str, InputStatus]]:
    """By index: the runner and the status of inputs whose results are stored."""
    done: dict[int, tuple[str, InputStatus]] = {}
    stream = client.results(call_id, Seen(0), end_index=count, stored=True)
    async with contextlib.aclosing(stream):
        async for batch, _ in stream:
            for index, raw in batch:
                result = pb.Result.FromString(raw)
                done[index] = result.runner_id, _STATUS[result.status]
    return done


async def _add_children(client: Client, roots: list[InputInfo]) -> None:
    """What is under these inputs, breadth first."""
    left = MOST_INPUTS - len(roots)
    level = roots
    while level and left > 0:
        below: list[InputInfo] = []
        for call_id in dict.fromkeys(one.function_call_id for one in level):
            of_input = {one.input_id: one for one in level}
            request = pb.GetCallRequest(call_id=call_id)
            nested = await client.request("GetNested", request, pb.NestedCalls)
            calls = sorted(nested.calls, key=lambda one: (one.call_id, one.index))
            for call in [one for one in calls if one.parent in of_input][:left]:
                child = await _child(client, call)
                of_input[call.parent].children.append(child)
                below.append(child)
                left -= 1
        level = below


async def _child(client: Client, call: pb.NestedCall) -> InputInfo:
    status = _STATUS.get(call.status, InputStatus.PENDING)
    runner_id = call.runner_id
    if status is InputStatus.PENDING:  # nobody has waited for it
        with contextlib.suppress(NotFoundError, OutputExpiredError):
            done = await _stored(client, call.call_id, call.index + 1)
            runner_id, status = done.get(call.index, ("", status))
    return InputInfo(
        f"{call.call_id}:{call.index}",
        call.call_id,
        runner_id,
        status,
        function_name=call.function,
        module_name=call.module,
    )
