"""Errors cross the wire as what they are."""

from __future__ import annotations

import grpc
import pytest

from rekindle import exception
from rekindle.wire.errors import from_status, to_status

_ERRORS = [
    value
    for value in vars(exception).values()
    if isinstance(value, type) and issubclass(value, exception.Error)
]


@pytest.mark.parametrize("kind", _ERRORS, ids=lambda kind: str(kind.__name__))
def test_every_error_comes_back_as_itself(kind: type[exception.Error]) -> None:
    code, text, metadata = to_status(kind("what went wrong"))
    back = from_status(code, text, metadata)
    assert type(back) is kind
    assert str(back) == "what went wrong"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, exception.InvalidError),
        (grpc.StatusCode.NOT_FOUND, exception.NotFoundError),
        (grpc.StatusCode.FAILED_PRECONDITION, exception.VersionError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, exception.ResourceExhaustedError),
        (grpc.StatusCode.UNAUTHENTICATED, exception.AuthError),
        (grpc.StatusCode.UNAVAILABLE, exception.ConnectionError),
        (grpc.StatusCode.UNKNOWN, exception.ServiceError),
    ],
)
def test_without_the_type_the_status_code_decides(
    code: grpc.StatusCode, kind: type[exception.Error]
) -> None:
    assert type(from_status(code, "text")) is kind


def test_a_type_that_is_not_ours_is_not_built() -> None:
    for name in ("Exception", "InputCancellation", "annotations", "__name__"):
        error = from_status(grpc.StatusCode.NOT_FOUND, "text", [("rekindle-error-type", name)])
        assert type(error) is exception.NotFoundError


def test_a_type_that_a_peer_does_not_have_is_what_is_public_of_it() -> None:
    class RefusedError(exception.ServiceError):
        pass

    error = from_status(*to_status(RefusedError("text")))
    assert type(error) is exception.ServiceError and str(error) == "text"
