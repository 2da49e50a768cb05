"""Where this code runs, and for which input. The runner sets it; standard library only."""

from __future__ import annotations

from contextvars import ContextVar, Token

_remote = False
_runs: object = None
_current: ContextVar[tuple[str, str] | None] = ContextVar("rekindle_current", default=None)


def is_local() -> bool:
    """True anywhere except in a process that rekindle runs functions in."""
    return not _remote


def current_input_id() -> str | None:
    """The id of the input that is being run; None outside of one."""
    current = _current.get()
    return current[0] if current else None


def current_function_call_id() -> str | None:
    """The id (``fc-...``) of the call that the input belongs to; None outside of one."""
    current = _current.get()
    return current[1] if current else None


def set_runs(declared: object) -> None:
    """Called by a template or a runner: what its module declares of that which is run here."""
    global _runs
    _runs = declared


def runs() -> object:
    """What this process runs inputs of, as its module has it; None where no module has it."""
    return _runs


def set_remote() -> None:
    """Called by a template or a runner before user code: from now on ``is_local()`` is False."""
    global _remote
    _remote = True


def set_current(input_id: str, call_id: str) -> Token[tuple[str, str] | None]:
    """Called by a runner before an input; give the token to ``reset_current`` after it."""
    return _current.set((input_id, call_id))


def reset_current(token: Token[tuple[str, str] | None]) -> None:
    """Called by a runner after an input."""
    _current.reset(token)
