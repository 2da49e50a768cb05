"""What became of an input, as the Result that the controller stores."""

from __future__ import annotations

from dataclasses import dataclass, field

from rekindle import exception
from rekindle.runtime.agent.inputs.assignment import Assignment, Order
from rekindle.wire import finished
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.finished import Finished
from rekindle.wire.frames import Header
from rekindle.wire.phases import Mark, Phase, Strategy, now_ns

_QUEUE, _LOAD, _EXECUTE = Phase.QUEUE.value, Phase.LOAD_INPUT.value, Phase.EXECUTE.value


class UserCodeFailed(Exception):  # an outcome, not an error of ours
    """The import or a hook of the user raised; carries what the caller is to get."""

    def __init__(self, stage: str, header: Header, data: bytes) -> None:
        super().__init__(f"{header['error_type']}: {header['message']}")
        self.stage = stage
        self.header = header
        self.data = data


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


class Values:
    """Makes the results of inputs that returned: everything they have in common is set once."""

    def __init__(self, order: Order, runner_id: str, strategy: Strategy) -> None:
        self._result = pb.Result(
            call_id=order.call_id,
            function_id=order.function_id,
            status=pb.SUCCESS,
            runner_id=runner_id,
            strategy=strategy.value,
            marks=[pb.PhaseMark(phase=phase) for phase in (_QUEUE, _LOAD, _EXECUTE)],
        )
        self._queue, self._load, self._execute = self._result.marks

    def result(self, submitted_ns: int, queued_ns: int, record: Finished) -> bytes:
        """One serialized result."""
        result = self._result
        result.submitted_ns = submitted_ns
        result.index = record.number
        result.data = record.data
        self._queue.at_ns = queued_ns
        self._load.at_ns = record.loaded_ns
        self._execute.at_ns = record.ended_ns
        return result.SerializeToString()


def _blank(assignment: Assignment) -> pb.Result:
    order = assignment.order
    return pb.Result(
        call_id=order.call_id,
        index=assignment.index,
        function_id=order.function_id,
        submitted_ns=order.submitted_ns,
    )


def _type_name(kind: type[BaseException]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def of_record(
    assignment: Assignment,
    runner_id: str,
    strategy: Strategy,
    marks: list[Mark],
    record: Finished,
    notes: list[str],
) -> pb.Result:
    """What a runner's record says, in full: a value, or the user's exception."""
    result = _blank(assignment)
    result.runner_id = runner_id
    result.strategy = strategy.value
    result.notes.extend(notes)
    for name, at_ns in [*marks, (_LOAD, record.loaded_ns), (_EXECUTE, record.ended_ns)]:
        result.marks.add(phase=name, at_ns=at_ns)
    if record.ending == finished.Ending.RETURNED:
        result.status = pb.SUCCESS
        result.data = record.data
    elif record.ending == finished.Ending.RAISED:
        description, result.data = finished.read_failure(record.data)
        result.status = pb.FAILURE
        result.error_type = description["error_type"]
        result.message = description["message"]
        result.traceback = description["traceback"]
    else:
        _set_cancelled(result, "the input was cancelled while it ran")
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
    for name, at_ns in [*marks, (_EXECUTE, now_ns())]:
        result.marks.add(phase=name, at_ns=at_ns)
    result.runner_id = runner_id
    result.error_type = _type_name(exception.FunctionTimeoutError)
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
        result.error_type = _type_name(type(error))
        result.message = str(error)
    return result


def cancelled(assignment: Assignment, words: str) -> pb.Result:
    """It was cancelled, or its app was closed."""
    result = _blank(assignment)
    _set_cancelled(result, words)
    return result


def _set_cancelled(result: pb.Result, words: str) -> None:
    result.status = pb.CANCELLED
    result.data = b""
    result.error_type = _type_name(exception.RemoteError)
    result.message = words
