"""What runs in this process: its apps, and what is asked of all its calls. Standard library only.

Which instance the process speaks to, whether output is shown, and which strategy calls must take.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rekindle.exception import InvalidError, NotFoundError

if TYPE_CHECKING:
    from rekindle.sdk.connection.client import Client
    from rekindle.sdk.logs import LogPrinter


@dataclass(eq=False)
class RunningApp:
    """What ``with app.run():`` made."""

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


def started(app: RunningApp) -> None:
    """Note that an app runs."""
    _stack.append(app)


def ended(app: RunningApp) -> None:
    """Note that an app has ended."""
    if app in _stack:
        _stack.remove(app)


# ---- the instance ------------------------------------------------------------------------------


def client_of(instance: str = "") -> Client:
    """The client of an instance directory, or of this process's own. Raises ConnectionError."""
    from rekindle.sdk.connection.client import client_for

    return client_for(Path(instance) if instance else default_instance())


def arrived_from(instance: str) -> str:
    """The instance of a handle that was pickled with this one; "": that of this process.

    It has another path, or none, on another node and in an image.
    """
    return instance if instance and Path(instance).exists() else ""


def innermost_instance() -> Path | None:
    """The instance of the app that was started last and still runs, if any does."""
    return _stack[-1].client.instance if _stack else None


def default_instance() -> Path:
    """The instance that this process talks to when nothing names one.

    ``$REKINDLE_DIR``, else that of the app that was started last and still runs, else what
    ``rekindle up`` started, else one that lingers. Raises ConnectionError where there is none.
    """
    from rekindle.execution import context
    from rekindle.sdk.local import choosing

    named = os.environ.get(choosing.VARIABLE)
    if named and not context.is_local():  # a runner's own; it sees no more of it than its sockets
        return Path(named)
    if not named and _stack:
        return _stack[-1].client.instance
    return choosing.existing()


# ---- output ------------------------------------------------------------------------------------

_output = 0


@contextmanager
def enable_output() -> Iterator[None]:
    """Show what functions print, and rekindle's own notes, while apps that start within run.

    The command line does this by itself; a program that calls ``app.run()`` is silent without it.
    """
    global _output
    _output += 1
    try:
        yield
    finally:
        _output -= 1


def shows_output() -> bool:
    """Whether an app that starts now shows its output."""
    return _output > 0


# ---- the strategy ------------------------------------------------------------------------------

_strategies: list[str] = []


def asked_strategy() -> str:
    """The strategy that calls must take; empty where the ladder chooses."""
    return _strategies[-1] if _strategies else ""


@contextmanager
def ask_strategy(strategy: str) -> Iterator[None]:
    """Within, every call of this process takes exactly this strategy or fails.

    ``""`` lets the ladder choose. Raises InvalidError for an unknown name.
    """
    check_strategy(strategy)
    _strategies.append(strategy)
    try:
        yield
    finally:
        _strategies.pop()


def check_strategy(strategy: str) -> None:
    """Raise InvalidError for a name that no strategy has; ``""`` is none."""
    from rekindle.wire.phases import Strategy

    known = [known.value for known in Strategy]
    if strategy and strategy not in known:
        raise InvalidError(f"unknown strategy {strategy!r}; choose from {', '.join(known)}")
