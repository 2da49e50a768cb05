"""``rekindle.interact()`` and ``breakpoint()`` in a runner: whether they may, and until when.

An input, or a hook of a runner, has the terminal until it ends. What takes one over is in
terminal.py, which is loaded when one is asked for. Standard library only: templates load this.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from rekindle.exception import InvalidError
from rekindle.execution import context

if TYPE_CHECKING:
    from types import TracebackType

    from rekindle.execution.terminal import Terminal
    from rekindle.wire.frames import FrameSocket
    from rekindle.wire.page import RunnerPage

_TOO_EARLY = (
    "at import and in @rekindle.enter(snap=True) there is no terminal to be had: what is set up "
    "there is copied, or frozen. Call it in the function, or in an @rekindle.enter() hook"
)
_SIDE_BY_SIDE = (
    "a runner that has several inputs at a time cannot give one of them the terminal: leave out "
    "@rekindle.concurrent or @rekindle.batched while you look, or call the function with .local()"
)

#: Why nothing here may have the terminal now; "" where something may.
_refusal = _TOO_EARLY
_page: RunnerPage | None = None
_channel: FrameSocket | None = None
#: What this process has of the user's terminal, while it has it.
held: Terminal | None = None


class Interaction:
    """What ``rekindle.interact()`` returns: a ``with`` block, at whose end the terminal is free."""

    def __enter__(self) -> Interaction:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        release()


def install() -> None:
    """Called by a template or a runner before user code: ``breakpoint()`` asks for the terminal."""
    sys.breakpointhook = _breakpoint


def attach(page: RunnerPage, channel: FrameSocket) -> None:
    """Called by a runner before its hooks: from now on there is something to interact with."""
    global _refusal, _page, _channel
    _refusal, _page, _channel = "", page, channel


def refuse_side_by_side() -> None:
    """Called by a runner that is about to have several inputs at a time."""
    global _refusal
    _refusal = _SIDE_BY_SIDE


def interact() -> Interaction:
    """Give this input the terminal of ``rekindle run -i``: its standard input and output.

    Until the input ends, or at the end of ``with rekindle.interact():``. What has the terminal
    already keeps it; a process that is no runner has its own, so there nothing is done. Waits while
    another runner has it. Meanwhile no timeout runs. Raises InvalidError where there is none.
    """
    if not context.is_local():
        _take("rekindle.interact()")
    return Interaction()


def release() -> None:
    """Whatever had the terminal here has ended."""
    global held
    terminal, held = held, None
    if terminal is not None:
        terminal.give_back()


def _take(by: str) -> None:
    global held
    if held is not None:
        return
    if _refusal or _page is None or _channel is None:
        raise InvalidError(f"{by}: {_refusal}")
    from rekindle.execution import terminal

    held = terminal.take(by, _page, _channel)


def _breakpoint(*args: Any, **kwargs: Any) -> Any:
    """``breakpoint()``: pdb on the user's terminal, or what PYTHONBREAKPOINT says."""
    chosen = os.environ.get("PYTHONBREAKPOINT", "")
    if chosen == "0":
        return None
    _take("breakpoint()")
    if chosen not in ("", "pdb.set_trace"):
        return sys.__breakpointhook__(*args, **kwargs)
    import pdb

    header = kwargs.pop("header", None)
    # Stepping on from the end of the function does not lead into the code that called it.
    debugger = pdb.Pdb(skip=["rekindle.*"])
    if header is not None:
        debugger.message(header)
    debugger.set_trace(sys._getframe(1), *args, **kwargs)
    return None
