"""A blocking call and its asyncio form under one name: ``f.remote(x)`` and ``f.remote.aio(x)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")


class Dual(Generic[P, R, A]):
    """Calls the blocking form; ``aio`` is the other."""

    __slots__ = ("_blocking", "aio")

    def __init__(self, blocking: Callable[P, R], aio: Callable[P, A]) -> None:
        self._blocking = blocking
        #: The asyncio form: awaitable, or an async iterator where the blocking form iterates.
        self.aio = aio

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._blocking(*args, **kwargs)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self._blocking.__doc__

    def __repr__(self) -> str:
        return f"<{getattr(self._blocking, '__qualname__', self._blocking)}; also .aio>"
