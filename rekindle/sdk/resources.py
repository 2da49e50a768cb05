"""Retries: how a failed input runs again. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

from rekindle.exception import InvalidError
from rekindle.sdk import checks
from rekindle.sdk.user_frames import trims
from rekindle.wire.spec import RetrySpec

#: No retry is sooner.
_MIN_DELAY_S = 1.0


@trims
@dataclass(frozen=True, kw_only=True)
class Retries:
    """How a failed input runs again, by the controller.

    ``max_retries``: 0 to 10. Retry *n* starts ``initial_delay * backoff_coefficient ** (n - 1)``
    seconds after the failure, at least 1 and at most ``max_delay``; coefficient 1 to 10, initial
    delay 0 to 60, longest delay 1 to 60 seconds. Exceptions and timeouts are retried,
    cancellation is not. Raises InvalidError for values outside.
    """

    max_retries: int
    backoff_coefficient: float = 2.0
    initial_delay: float = 1.0
    max_delay: float = 60.0

    def __post_init__(self) -> None:
        checks.number("Retries(max_retries)", self.max_retries, 0, 10, whole=True)
        checks.number("Retries(backoff_coefficient)", self.backoff_coefficient, 1, 10)
        checks.number("Retries(initial_delay)", self.initial_delay, 0, 60, "of seconds")
        checks.number("Retries(max_delay)", self.max_delay, 1, 60, "of seconds")


def retry_spec(retries: int | Retries | None) -> RetrySpec | None:
    """What travels: a plain number means that many retries, 1 second apart."""
    if retries is None:
        return None
    if isinstance(retries, Retries):
        return RetrySpec(
            max_retries=retries.max_retries,
            backoff_coefficient=float(retries.backoff_coefficient),
            initial_delay_s=float(retries.initial_delay),
            max_delay_s=float(retries.max_delay),
            min_delay_s=_MIN_DELAY_S,
        )
    if isinstance(retries, bool) or not isinstance(retries, int):
        raise InvalidError(f"retries={retries!r} must be a whole number or rekindle.Retries(...)")
    checks.number("retries", retries, 0, 10, whole=True)
    return RetrySpec(max_retries=retries, initial_delay_s=_MIN_DELAY_S)
