"""rekindle's exceptions as gRPC errors and back: one table for the server and for the clients.

The detail text of the status is the text of the exception. The exact type travels in the trailing
metadata; where a peer or a proxy dropped it, the status code decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc

from rekindle import exception

#: Trailing metadata: the name of the exception in ``rekindle.exception``.
ERROR_TYPE_KEY = "rekindle-error-type"

_CODE_OF: dict[type[exception.Error], grpc.StatusCode] = {
    exception.InvalidError: grpc.StatusCode.INVALID_ARGUMENT,
    exception.NotFoundError: grpc.StatusCode.NOT_FOUND,
    exception.VersionError: grpc.StatusCode.FAILED_PRECONDITION,
    exception.ExecutionError: grpc.StatusCode.FAILED_PRECONDITION,
    exception.RequestSizeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    exception.ResourceExhaustedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    exception.AuthError: grpc.StatusCode.UNAUTHENTICATED,
    exception.ServiceError: grpc.StatusCode.UNAVAILABLE,
    exception.ConnectionError: grpc.StatusCode.UNAVAILABLE,
    exception.TimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
    exception.OutputExpiredError: grpc.StatusCode.NOT_FOUND,
    exception.InternalFailure: grpc.StatusCode.INTERNAL,
}

_TYPE_OF: dict[grpc.StatusCode, type[exception.Error]] = {
    grpc.StatusCode.INVALID_ARGUMENT: exception.InvalidError,
    grpc.StatusCode.OUT_OF_RANGE: exception.InvalidError,
    grpc.StatusCode.NOT_FOUND: exception.NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: exception.VersionError,
    grpc.StatusCode.UNIMPLEMENTED: exception.VersionError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: exception.ResourceExhaustedError,
    grpc.StatusCode.UNAUTHENTICATED: exception.AuthError,
    grpc.StatusCode.PERMISSION_DENIED: exception.AuthError,
    grpc.StatusCode.UNAVAILABLE: exception.ConnectionError,
    grpc.StatusCode.DEADLINE_EXCEEDED: exception.TimeoutError,
    grpc.StatusCode.INTERNAL: exception.InternalFailure,
}


def to_status(
    error: exception.Error,
) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]:
    """Code, detail text and trailing metadata that carry ``error`` to a peer."""
    for kind in type(error).__mro__:
        code = _CODE_OF.get(kind)
        if code is not None:
            break
    else:
        code = grpc.StatusCode.INTERNAL
    return code, str(error), ((ERROR_TYPE_KEY, type(error).__name__),)


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
