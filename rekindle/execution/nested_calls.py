"""Calls that were made inside of others, noted for who asks (``FunctionCall.get_call_graph``).

In a runner, each call that has ended is noted with the input that made it; the runner reports them
before the answer of that input. What is under no spawned call is not noted: nobody can ask. At most
so many wait to be reported; the graph is no account of all. Standard library only.
"""

from __future__ import annotations

from rekindle.execution import context
from rekindle.wire.callid import is_traced

_MOST = 1000


#: One input of a call that an input made, whose id is ``parent``. ``status``: a ResultStatus.
NestedCall = tuple[str, str, int, str, str, int, str]
FIELDS = ("parent", "call_id", "index", "function_id", "function", "status", "runner_id")

_noted: list[NestedCall] = []


def maker() -> str:
    """The id of the input that runs here, where the calls that it makes are noted; else ""."""
    call_id = context.current_function_call_id()
    return context.current_input_id() or "" if call_id and is_traced(call_id) else ""


def note(
    call_id: str, index: int, function_id: str, function: str, status: int, runner_id: str
) -> None:
    """A call that is traced has ended."""
    if len(_noted) < _MOST and (parent := maker()):
        _noted.append((parent, call_id, index, function_id, function, status, runner_id))


def take() -> list[NestedCall]:
    """Those that were not reported yet; they are its caller's to report."""
    if not _noted:
        return []
    taken = _noted[:]
    del _noted[: len(taken)]  # others may have come meanwhile
    return taken
