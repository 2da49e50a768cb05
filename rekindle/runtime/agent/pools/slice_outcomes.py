"""What became of the inputs of a slice, as the results that the controller stores."""

from __future__ import annotations

from functools import lru_cache

from rekindle import exception
from rekindle.runtime.agent.inputs import outcome
from rekindle.runtime.agent.inputs.assignment import Assignment, Slice
from rekindle.runtime.agent.inputs.outcome import Outcomes
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.finished import Ending, Finished, read_failure
from rekindle.wire.phases import Phase, Strategy, now_ns
from rekindle.wire.plain_encoding import BYTES, varint
from rekindle.wire.spec import FunctionSpec

_DATA_TAG = varint(pb.Result.DATA_FIELD_NUMBER << 3 | BYTES)
#: So many results are kept as forms: of the runners that have one call's inputs at a time.
_FORMS = 128
_QUEUE, _LOAD, _EXECUTE = Phase.QUEUE.value, Phase.LOAD_INPUT.value, Phase.EXECUTE.value


class SliceOutcomes(Outcomes):
    """Results that became known together: everything they have in common is set once."""

    def __init__(self, runner: Runner, piece: Slice) -> None:
        super().__init__(piece.order)
        self._runner = runner
        self._slice = piece
        self._value = _form(piece.order.call_id, piece.order.function_id, runner.id)
        self._queue, self._load, self._execute = self._value.marks

    def take(self, one: Assignment, record: Finished) -> None:
        """An input of the slice has ended, with this record of its runner."""
        piece = self._slice
        self.execute_ns += record.ended_ns - record.began_ns
        queued_ns = piece.handed_ns if piece.to_idle and piece.taken == 0 else record.began_ns
        piece.taken += 1
        if (
            record.ending != Ending.RETURNED
            or one.is_cancelled
            or piece.started_for == record.number
        ):
            self.add(one, self._in_full(one, queued_ns, record))
            return
        result = self._value
        result.submitted_ns = one.order.submitted_ns
        result.index = record.number
        self._queue.at_ns = queued_ns
        self._load.at_ns = record.loaded_ns
        self._execute.at_ns = record.ended_ns
        head, data = result.SerializeToString(), record.data
        # Fields may come in any order, so what is as large as users make it stays out of the form.
        serialized = b"".join((head, _before_data(len(data)), data))
        self.add_serialized(one, pb.SUCCESS, serialized)

    def _in_full(self, one: Assignment, queued_ns: int, record: Finished) -> pb.Result:
        """A value, or the user's exception, with the start of the runner where it waited for it."""
        result = _begin(self._runner, self._slice, one, queued_ns)
        result.marks.add(phase=_LOAD, at_ns=record.loaded_ns)
        result.marks.add(phase=_EXECUTE, at_ns=record.ended_ns)
        if self._slice.started_for == one.index:
            result.notes.extend(self._runner.notes)
        if one.is_cancelled or record.ending == Ending.CANCELLED:
            outcome.set_cancelled(result, "the input was cancelled while it ran")
        elif record.ending == Ending.RETURNED:
            result.status, result.data = pb.SUCCESS, record.data
        else:
            description, result.data = read_failure(record.data)
            result.status = pb.FAILURE
            result.error_type = description["error_type"]
            result.message = description["message"]
            result.traceback = description["traceback"]
        return result


@lru_cache(maxsize=_FORMS)
def _form(call_id: str, function_id: str, runner_id: str) -> pb.Result:
    """A value's result, to be filled in and serialized again and again: with numbers alone, as a
    message frees none of the strings and bytes that were ever set in it before it is freed itself.

    To make it takes longer than to fill it in, and slices of one call come one after the other.
    """
    return pb.Result(
        call_id=call_id,
        function_id=function_id,
        runner_id=runner_id,
        status=pb.SUCCESS,
        strategy=Strategy.WARM.value,
        marks=[pb.PhaseMark(phase=phase) for phase in (_QUEUE, _LOAD, _EXECUTE)],
    )


@lru_cache(maxsize=_FORMS)
def _before_data(size: int) -> bytes:
    """What stands before a result's data on the wire."""
    return _DATA_TAG + varint(size)


def over_time(spec: FunctionSpec) -> str:
    """What the caller of an input is told that ran for too long."""
    return (
        f"{spec.app_name}.{spec.name} ran longer than timeout={spec.timeout_s:g} s and was "
        "stopped; give the function a longer timeout if it needs one"
    )


def timed_out(runner: Runner, one: Assignment, spec: FunctionSpec) -> Outcomes:
    """It ran longer than it may; its runner was killed."""
    piece = next(piece for piece in runner.slices if one.index in piece.left)
    result = _begin(runner, piece, one, piece.handed_ns)
    result.marks.add(phase=_EXECUTE, at_ns=now_ns())
    result.status = pb.TIMEOUT
    result.error_type = outcome.type_name(exception.FunctionTimeoutError)
    result.message = over_time(spec)
    outcomes = outcome.of_one(one, result)
    outcomes.execute_ns = int(spec.timeout_s * 1e9)
    return outcomes


def _begin(runner: Runner, piece: Slice, one: Assignment, queued_ns: int) -> pb.Result:
    """A result with the marks up to the hand-over of its input to the runner."""
    result = outcome.blank(one)
    result.runner_id = runner.id
    if piece.started_for == one.index:
        result.strategy = runner.strategy.value
        marks = [(_QUEUE, runner.began_ns), *runner.marks]
    else:
        result.strategy = Strategy.WARM.value
        marks = [(_QUEUE, queued_ns)]
    for name, at_ns in marks:
        result.marks.add(phase=name, at_ns=at_ns)
    return result
