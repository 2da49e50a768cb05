"""What became of an input, as the Result that the controller stores."""

from __future__ import annotations

from rekindle import exception
from rekindle.runtime.agent.assignment import Assignment
from rekindle.runtime.agent.runner import Reply, UserCodeFailed
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import Mark, Phase, Strategy, now_ns

Result = pb.Result


def _blank(assignment: Assignment) -> pb.Result:
    return pb.Result(
        call_id=assignment.call_id,
        index=assignment.index,
        function_id=assignment.function_id,
        submitted_ns=assignment.submitted_ns,
        deliveries=assignment.delivery,
    )


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return f"{kind.__module__}.{kind.__qualname__}"


def of_reply(
    assignment: Assignment, runner_id: str, strategy: Strategy, marks: list[Mark], reply: Reply
) -> pb.Result:
    """The runner's own answer: a value, or the user's exception."""
    result = _blank(assignment)
    header = reply.header
    result.status = pb.SUCCESS if header["ok"] else pb.FAILURE
    result.data = reply.data
    result.runner_id = runner_id
    result.strategy = strategy.value
    result.error_type = header.get("error_type", "")
    result.message = header.get("message", "")
    result.traceback = header.get("traceback", "")
    for name, at_ns in [*marks, *header["marks"]]:
        result.marks.add(phase=name, at_ns=at_ns)
    return result


def timed_out(
    assignment: Assignment,
    runner_id: str,
    strategy: Strategy,
    marks: list[Mark],
    label: str,
    timeout_s: float,
) -> pb.Result:
    """It ran longer than it may; its runner was killed."""
    result = _blank(assignment)
    result.status = pb.TIMEOUT
    result.strategy = strategy.value
    for name, at_ns in [*marks, (Phase.EXECUTE.value, now_ns())]:
        result.marks.add(phase=name, at_ns=at_ns)
    result.runner_id = runner_id
    result.error_type = _type_name(exception.FunctionTimeoutError())
    result.message = (
        f"{label} ran longer than timeout={timeout_s:g} s and was stopped; "
        "give the function a longer timeout if it needs one"
    )
    return result


def start_failed(assignment: Assignment, error: exception.Error | UserCodeFailed) -> pb.Result:
    """No runner could be started for it."""
    result = _blank(assignment)
    result.status = pb.START_FAILURE
    if isinstance(error, UserCodeFailed):
        result.data = error.data
        result.error_type = error.header["error_type"]
        result.message = error.header["message"]
        result.traceback = error.header["traceback"]
    else:
        result.error_type = _type_name(error)
        result.message = str(error)
    return result


def done_message(result: pb.Result, app_id: str) -> pb.Done:
    """The message that takes a result to the controller."""
    return pb.Done(
        call_id=result.call_id,
        function_id=result.function_id,
        app_id=app_id,
        indexes=[result.index],
        statuses=[result.status],
        results=[result.SerializeToString()],
    )


def cancelled(assignment: Assignment) -> pb.Result:
    """Its app was closed before it could run."""
    result = _blank(assignment)
    result.status = pb.CANCELLED
    result.error_type = _type_name(exception.RemoteError())
    result.message = "the app was closed before the input could run"
    return result
