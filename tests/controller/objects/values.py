"""Values for a Queue or Dict."""

from __future__ import annotations

from collections.abc import Callable


def _raise_here() -> None:
    raise ValueError("not here")


class NotHere:
    """Cannot be unpickled."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _raise_here, ()
