"""``FunctionCall.get_call_graph``: the inputs of a call, and what became of each.

Imported when it is used.
"""

from __future__ import annotations

import contextlib
import enum
from dataclasses import dataclass, field

from rekindle.sdk.connection.client import Client
from rekindle.sdk.connection.seen import Seen
from rekindle.wire import rekindle_pb2 as pb

#: Inputs that are told of, the first ones of a call.
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

    ``children`` is empty: which calls a function made from inside is not recorded.
    """

    input_id: str
    function_call_id: str
    task_id: str
    status: InputStatus
    function_name: str
    children: list[InputInfo] = field(default_factory=list)


async def of_call(client: Client, call_id: str) -> list[InputInfo]:
    """The first inputs of a call, in order. Raises NotFoundError and OutputExpiredError."""
    info = await client.get_call(call_id)
    count = min(info.inputs, MOST_INPUTS)
    done: dict[int, tuple[str, InputStatus]] = {}
    if count:
        stream = client.results(call_id, Seen(0), end_index=count, stored=True)
        async with contextlib.aclosing(stream):
            async for batch, _ in stream:
                for index, raw in batch:
                    result = pb.Result.FromString(raw)
                    done[index] = result.runner_id, _STATUS[result.status]
    return [
        InputInfo(
            f"{call_id}:{index}",
            call_id,
            *done.get(index, ("", InputStatus.PENDING)),
            function_name=info.function,
        )
        for index in range(count)
    ]
