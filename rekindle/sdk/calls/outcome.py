"""From a Result message to a value or the exception to raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from rekindle import exception, lazily
from rekindle.exception import (
    FunctionTimeoutError,
    InternalFailure,
    RemoteError,
    RunnerLostError,
    StartError,
)
from rekindle.execution import nested_calls
from rekindle.sdk.calls import records
from rekindle.wire.callid import is_traced
from rekindle.wire.serialization import deserialize

if TYPE_CHECKING:
    from concurrent.futures import Future

    from rekindle.wire import exceptions
    from rekindle.wire import rekindle_pb2 as pb
else:
    exceptions = lazily.module("rekindle.wire.exceptions")
    pb = lazily.module("rekindle.wire.rekindle_pb2")

T = TypeVar("T")

_OWN_PREFIX = "rekindle.exception."


def _type_of(status: int) -> type[exception.Error]:
    known: dict[int, type[exception.Error]] = {
        pb.TIMEOUT: FunctionTimeoutError,
        pb.RUNNER_LOST: RunnerLostError,
        pb.START_FAILURE: StartError,
        pb.CANCELLED: RemoteError,
    }
    return known.get(status, InternalFailure)


def settle(
    result: pb.Result,
    function: str,
    submitted_ns: int = 0,
    fetched: Future[bytes] | None = None,
) -> Any:
    """The value of a result, whose record is then complete; raises what the function raised.

    ``fetched``: what has come from the blob store for it.
    """
    data = fetched.result() if fetched is not None else result.data
    ok = False
    try:
        if result.status != pb.SUCCESS:
            raise error_of(result, function, data)
        value = deserialize(data, f"the result of {function}")
        ok = True
        return value
    finally:
        records.add(result, function, ok=ok, submitted_ns=submitted_ns)
        if is_traced(result.call_id):
            nested_calls.note(
                *(result.call_id, result.index, result.function_id, function),
                *(result.status, result.runner_id),
            )


def within(settled: Callable[[], T]) -> T:
    """What ``settled`` gives, inside a coroutine or iterator; it raises what these let through."""
    try:
        return settled()
    except (StopIteration, StopAsyncIteration) as error:
        raise passable(error) from error


def passable(error: Exception) -> Exception:
    """The error itself, or one that carries it: for coroutines and iterators.

    Python lets no StopIteration out of these, and takes it for their end where one makes it out.
    """
    return (
        exceptions.carried(error)
        if isinstance(error, (StopIteration, StopAsyncIteration))
        else error
    )


def error_of(result: pb.Result, function: str, data: bytes) -> BaseException:
    """The exception of a result that is not a success; ``data``: its pickle, as in ``settle``."""
    if result.status == pb.START_FAILURE:
        # What does not start may have what a former version takes: its name is looked up again.
        from rekindle.sdk import lookups

        lookups.forget_all()
    if data and result.status in (pb.FAILURE, pb.START_FAILURE):
        return exceptions.rebuild_exception(_record(result, data))
    own = _own_type(result.error_type)
    if own is None and result.status == pb.FAILURE:
        return exceptions.rebuild_exception(_record(result, data))
    kind = own or _type_of(result.status)
    error = kind(
        result.message or f"{function}: {_status_name(result.status)}, with no reason given"
    )
    if result.traceback:
        exceptions.attach(error, result.traceback)
    return error


def _status_name(status: int) -> str:
    try:
        return pb.ResultStatus.Name(status)
    except ValueError:
        return f"status {status}"


def _record(result: pb.Result, data: bytes) -> exceptions.ExceptionRecord:
    return exceptions.ExceptionRecord(data, result.error_type, result.message, result.traceback)


def _own_type(name: str) -> type[BaseException] | None:
    if not name.startswith(_OWN_PREFIX):
        return None
    kind = getattr(exception, name.removeprefix(_OWN_PREFIX), None)
    return kind if isinstance(kind, type) and issubclass(kind, BaseException) else None
