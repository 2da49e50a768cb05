"""What became of an input, as the Result that the controller stores."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from rekindle import exception
from rekindle.runtime.agent.inputs.assignment import Assignment, Order
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.frames import Header
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)


class UserCodeFailed(Exception):  # an outcome, not an error of ours
    """The import or a hook of the user raised; carries what the caller is to get."""

    def __init__(self, header: Header, data: bytes) -> None:
        super().__init__(f"{header['error_type']}: {header['message']}")
        self.header = header
        self.data = data


#: Why a runner could not be started.
StartFailure = exception.Error | UserCodeFailed


@dataclass(slots=True)
class Outcomes:
    """Results of inputs of one call that became known together."""

    order: Order
    inputs: list[Assignment] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    results: list[bytes] = field(default_factory=list)
    #: What they took in their runner, together.
    execute_ns: int = 0

    def add(self, assignment: Assignment, result: pb.Result) -> None:
        """One more."""
        self.add_serialized(assignment, result.status, result.SerializeToString())

    def add_serialized(self, assignment: Assignment, status: int, result: bytes) -> None:
        """One more."""
        self.inputs.append(assignment)
        self.statuses.append(status)
        self.results.append(result)


def of_one(assignment: Assignment, result: pb.Result) -> Outcomes:
    """Of one input alone."""
    outcomes = Outcomes(assignment.order)
    outcomes.add(assignment, result)
    return outcomes


def blank(assignment: Assignment) -> pb.Result:
    """A result that says only whose it is."""
    order = assignment.order
    return pb.Result(
        call_id=order.call_id,
        index=assignment.index,
        function_id=order.function_id,
        submitted_ns=order.submitted_ns,
    )


def type_name(kind: type[BaseException]) -> str:
    """How results name the type of an exception."""
    return f"{kind.__module__}.{kind.__qualname__}"


def unforeseen(error: Exception, **about: object) -> exception.InternalFailure:
    """What whoever waits is told of an error that is none of ours (no thread to be had, say); the
    log shows where it was."""
    log.error("internal error", extra=kv(**about), exc_info=error)
    return exception.InternalFailure(f"{type(error).__name__}: {error}; see agent.log")


def start_failed(assignment: Assignment, error: StartFailure) -> pb.Result:
    """No runner could be started for it."""
    return set_start_failed(blank(assignment), error)


def set_start_failed(result: pb.Result, error: StartFailure) -> pb.Result:
    """Make it the result of a call that no runner could be started for."""
    result.status = pb.START_FAILURE
    if isinstance(error, UserCodeFailed):
        result.data = error.data
        result.error_type = error.header["error_type"]
        result.message = error.header["message"]
        result.traceback = error.header["traceback"]
    else:
        result.error_type = type_name(type(error))
        result.message = str(error)
    return result


def cancelled(assignment: Assignment, words: str) -> pb.Result:
    """It was cancelled, or its app was closed."""
    result = blank(assignment)
    set_cancelled(result, words)
    return result


def set_cancelled(result: pb.Result, words: str) -> None:
    """Make it the result of an input that was cancelled."""
    result.status = pb.CANCELLED
    result.data = b""
    result.error_type = type_name(exception.RemoteError)
    result.message = words
