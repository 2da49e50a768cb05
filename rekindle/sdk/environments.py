"""Environments: name spaces of apps, secrets, volumes, Dicts and Queues. Standard library only.

What a program names without ``environment_name=`` lies in the environment of whoever looks it up:
of an app's code, that of the app; of other code, that of its process (``$REKINDLE_ENVIRONMENT``,
else ``main``). Until then it has the environment ``""`` here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rekindle.sdk import checks
from rekindle.wire.environment import DEFAULT_ENVIRONMENT, ENVIRONMENT_VARIABLE, in_environment

#: Of the app that is being made known.
_of_app: ContextVar[str | None] = ContextVar("rekindle_environment", default=None)
#: Whether code is being pickled: it is to look names up where it arrives.
_code_travels: ContextVar[bool] = ContextVar("rekindle_code_travels", default=False)


def environment_of(given: str | None) -> str:
    """The environment that is given, else that of the app or process. Raises InvalidError."""
    name = given
    if name is None:
        name = _of_app.get() or os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_ENVIRONMENT
    checks.name("the environment name", name)
    return name


def declared(given: str | None) -> str:
    """What a handle keeps: the environment that is given, else "". Raises InvalidError."""
    environment = environment_of(given)
    return environment if given is not None else ""


def meant_by(kept: str) -> str:
    """The environment of a handle that keeps this. Raises InvalidError."""
    return environment_of(kept or None)


def travelling(kept: str) -> str:
    """What the pickle of a handle keeps: it means the same object, unless it is part of code."""
    return kept if _code_travels.get() else meant_by(kept)


def app_in(environment: str | None, name: str) -> str:
    """The name of an app as its instance knows it. Raises InvalidError."""
    checks.name("the app name", name)
    return in_environment(environment_of(environment), name)


def travels_as_code() -> bool:
    """Whether what is pickled now is code."""
    return _code_travels.get()


@contextmanager
def of_app(environment: str) -> Iterator[None]:
    """Within, what an app declares lies in its environment unless it names another one."""
    before = _of_app.get()
    try:
        _of_app.set(environment)  # in here: a signal's exception may come behind it
        yield
    finally:
        _of_app.set(before)


@contextmanager
def code_travels() -> Iterator[None]:
    """Within, what is pickled is code."""
    before = _code_travels.get()
    try:
        _code_travels.set(True)
        yield
    finally:
        _code_travels.set(before)
