"""Which of the named objects there are a list gives, the newest first. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TypeVar

from rekindle.exception import InvalidError
from rekindle.sdk import checks

T = TypeVar("T")


def newest(
    found: Iterable[T],
    created_at: Callable[[T], float],
    max_objects: int | None,
    created_before: datetime | str | None,
) -> list[T]:
    """The newest of them, ``max_objects`` at most. ``created_at``: seconds since the epoch.

    ``created_before``: without those that are not older; local time where it names no zone. Raises
    InvalidError.
    """
    if max_objects is not None:
        checks.number("max_objects", max_objects, 0, None, whole=True)
    if created_before is not None:
        before = _moment(created_before).astimezone(UTC)
        # As exact as what info() says of it, which may come back as the moment to go on from.
        found = [one for one in found if datetime.fromtimestamp(created_at(one), UTC) < before]
    return sorted(found, key=created_at, reverse=True)[:max_objects]


def _moment(given: datetime | str) -> datetime:
    try:
        return given if isinstance(given, datetime) else datetime.fromisoformat(given)
    except (TypeError, ValueError):
        raise InvalidError(
            f"created_before={given!r} must be a datetime, or a text such as '2026-01-31' or "
            f"'2026-01-31T12:00:00+00:00'"
        ) from None
