"""What is known of a call, from memory and from Redis; also after a restart."""

from __future__ import annotations

from rekindle.controller.inputs import LoneInput, Slice
from rekindle.controller.state import Call, State
from rekindle.controller.store import QueueStore
from rekindle.exception import NotFoundError
from rekindle.wire import rekindle_pb2 as pb


async def call_info(state: State, store: QueueStore, call_id: str) -> pb.CallInfo:
    """The call's inputs, how many are done, and how.

    Raises NotFoundError for a call that is not known, or whose results are gone.
    """
    call = state.calls.get(call_id)
    if call is not None:
        function_id = call.function.function_id
        app, name = call.function.app.name, call.function.name
    else:
        at = await store.index_of(call_id)
        function_id, app, name = (at.function_id, at.app, at.function) if at else ("", "", "")
    meta = await store.call_meta(function_id, call_id) if function_id else None
    if meta is None:
        raise NotFoundError(
            f"no call {call_id!r}: it was not submitted here, or its results were kept for their "
            "time (REKINDLE_RESULT_TTL_S) and are gone"
        )
    return pb.CallInfo(
        call_id=call_id,
        function_id=function_id,
        function=name,
        app=app,
        inputs=meta.accepted,
        submitted=meta.total >= 0,
        done=meta.done,
        running=running(call) if call is not None else 0,
        submitted_ns=meta.submitted_ns,
        cancelled=meta.cancelled > 0,
    )


def running(call: Call) -> int:
    """How many of a call's inputs are at agents."""
    return sum(
        isinstance(holder, Slice | LoneInput) and holder.agent is not None
        for holder in call.undone.values()
    )
