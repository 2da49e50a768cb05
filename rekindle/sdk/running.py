"""An app that runs: its ids, its client and its log lines. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rekindle.exception import InvalidError, NotFoundError

if TYPE_CHECKING:
    from rekindle.sdk.connection.client import Client
    from rekindle.sdk.logs import LogPrinter


@dataclass(eq=False)
class RunningApp:
    """What ``with app.run():`` made; also its ``as`` target."""

    name: str
    app_id: str
    client: Client
    function_ids: dict[str, str]
    logs: LogPrinter | None = None

    def function_id(self, name: str) -> str:
        """The id of a function. Raises NotFoundError for one that was declared too late."""
        try:
            return self.function_ids[name]
        except KeyError:
            raise NotFoundError(
                f"{name} was added to app {self.name!r} after it started; "
                f"declare it before app.run()"
            ) from None


_stack: list[RunningApp] = []
#: Told of an app that ends.
on_ended: list[Callable[[RunningApp], None]] = []


def active() -> RunningApp | None:
    """The app of this process that was started last and still runs."""
    return _stack[-1] if _stack else None


def started(app: RunningApp) -> None:
    """Note that an app runs."""
    _stack.append(app)


def ended(app: RunningApp) -> None:
    """Note that an app has ended."""
    if app in _stack:
        _stack.remove(app)
    for tell in on_ended:
        tell(app)


_strategies: list[str] = []


def asked_strategy() -> str:
    """The strategy that calls must take; empty where the ladder chooses."""
    return _strategies[-1] if _strategies else ""


@contextmanager
def ask_strategy(strategy: str) -> Iterator[None]:
    """Within, every call of this process takes exactly this strategy or fails.

    ``""`` lets the ladder choose. Raises InvalidError for an unknown name.
    """
    from rekindle.wire.phases import Strategy

    known = [known.value for known in Strategy]
    if strategy and strategy not in known:
        raise InvalidError(f"unknown strategy {strategy!r}; choose from {', '.join(known)}")
    _strategies.append(strategy)
    try:
        yield
    finally:
        _strategies.pop()
