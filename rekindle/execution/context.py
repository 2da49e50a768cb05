"""Where this code runs, and for which input. The runner sets it; standard library only."""

from __future__ import annotations

from contextvars import ContextVar

_remote = False
_runs: object = None
#: The input that runs, and its call; a runner sets it before the input, and resets it after that.
current: ContextVar[tuple[str, str] | None] = ContextVar("rekindle_current", default=None)


def is_local() -> bool:
    """True anywhere except in a process that rekindle runs functions in."""
    return not _remote


def current_input_id() -> str | None:
    """The id of the input that is being run; None outside of one."""
    runs_now = current.get()
    return runs_now[0] if runs_now else None


def current_function_call_id() -> str | None:
    """The id (``fc-...``) of the call that the input belongs to; None outside of one."""
    runs_now = current.get()
    return runs_now[1] if runs_now else None


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
