"""rekindle's exceptions as gRPC errors and back: one table for the server and for the clients.

The detail text of the status is the text of the exception. The exact type travels in the trailing
metadata; where a peer or a proxy dropped it, the status code decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc

from rekindle import exception
from rekindle.wire.error_names import public_name

#: Trailing metadata: the name of the exception in ``rekindle.exception``.
ERROR_TYPE_KEY = "rekindle-error-type"

#: Of two types with one code, the first is what a status means that no rekindle peer made.
_CODE_OF: dict[type[exception.Error], grpc.StatusCode] = {
    exception.InvalidError: grpc.StatusCode.INVALID_ARGUMENT,
    exception.NotFoundError: grpc.StatusCode.NOT_FOUND,
    exception.OutputExpiredError: grpc.StatusCode.NOT_FOUND,
    exception.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    exception.VersionError: grpc.StatusCode.FAILED_PRECONDITION,
    exception.ExecutionError: grpc.StatusCode.FAILED_PRECONDITION,
    exception.ResourceExhaustedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    exception.RequestSizeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    exception.AuthError: grpc.StatusCode.UNAUTHENTICATED,
    exception.ConnectionError: grpc.StatusCode.UNAVAILABLE,
    exception.ServiceError: grpc.StatusCode.UNAVAILABLE,
    exception.TimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
    exception.InternalFailure: grpc.StatusCode.INTERNAL,
}

_TYPE_OF: dict[grpc.StatusCode, type[exception.Error]] = {
    **{code: kind for kind, code in reversed(_CODE_OF.items())},
    grpc.StatusCode.OUT_OF_RANGE: exception.InvalidError,
    grpc.StatusCode.UNIMPLEMENTED: exception.VersionError,
    grpc.StatusCode.PERMISSION_DENIED: exception.AuthError,
}


def to_status(
    error: exception.Error,
) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]:
    """Code, detail text and trailing metadata that carry ``error`` to a peer."""
    codes = (_CODE_OF[kind] for kind in type(error).__mro__ if kind in _CODE_OF)
    code = next(codes, grpc.StatusCode.INTERNAL)
    return code, str(error), ((ERROR_TYPE_KEY, public_name(error)),)


def from_status(
    code: grpc.StatusCode, details: str, trailing_metadata: Iterable[tuple[str, Any]] | None = None
) -> exception.Error:
    """The exception that a peer meant with a gRPC status.

    A status that no rekindle peer made (a broken connection, a proxy) becomes the nearest type.
    """
    for key, value in trailing_metadata or ():
        if key == ERROR_TYPE_KEY:
            named = getattr(exception, str(value), None)
            if isinstance(named, type) and issubclass(named, exception.Error):
                return named(details)
    kind = _TYPE_OF.get(code, exception.ServiceError)
    return kind(details or code.name)


def from_rpc_error(error: grpc.RpcError) -> exception.Error:
    """The exception that a failed call of a stub (synchronous or asyncio) stands for."""
    call: Any = error  # both kinds of error carry these methods; the base class declares none
    return from_status(call.code(), call.details() or "", call.trailing_metadata())


def is_connection_loss(error: grpc.RpcError) -> bool:
    """Whether no controller answered: the call may be sent again once one does.

    False for an ``UNAVAILABLE`` that a controller sent on purpose (its Redis is away).
    """
    call: Any = error
    if call.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return False
    return not any(key == ERROR_TYPE_KEY for key, _ in call.trailing_metadata() or ())
