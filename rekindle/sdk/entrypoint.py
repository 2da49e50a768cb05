"""LocalEntrypoint: what ``@app.local_entrypoint()`` makes of a function. Standard library only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rekindle.exception import ExecutionError
from rekindle.sdk.declaration import AppState
from rekindle.sdk.user_frames import trims


@trims
class LocalEntrypoint:
    """A function of the caller's process; called with parentheses it is just that function."""

    def __init__(self, raw: Callable[..., Any], name: str, app: AppState) -> None:
        self.raw = raw
        self.name = name
        self.app = app
        self.__doc__ = raw.__doc__
        self.__wrapped__ = raw

    @property
    def __name__(self) -> str:
        return self.raw.__name__

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.raw(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<rekindle.LocalEntrypoint {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _gone, (self.name,)


def _gone(name: str) -> Callable[..., Any]:
    """What is left of an entrypoint in a runner: a function that says why it is not one."""

    def entrypoint(*_args: Any, **_kwargs: Any) -> Any:
        raise ExecutionError(f"{name} is a local entrypoint: it runs in the caller's process")

    return entrypoint
