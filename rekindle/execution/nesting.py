"""Calls from inside calls: how deep the input is that runs here, and whether it waits for some.

A runner attaches its page and reports which input begins. What waits for a call that was made here
does so in ``waiting()``; the agent reads that in the page, and lets the runner's place be used by
what is waited for. Outside of a runner all of it is nothing. Standard library only: templates load
this. A run has no lock, as a signal that cancels it may come anywhere.
"""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

from rekindle.exception import CallDepthError
from rekindle.wire.calldepth import MOST_DEPTH, VARIABLE, max_depth

if TYPE_CHECKING:
    from rekindle.wire.page import RunnerPage

_page: RunnerPage | None = None
#: The depth of the input that runs; -1: none does, and calls from here are the first.
_depth = -1
#: Whether the input that runs has waited for calls that it made.
_called = False
#: One for each wait that is on: several threads, or tasks, of an input may wait. Read by others.
waits: set[object] = set()


class Beside:
    """One of several inputs that run here side by side: its depth, and whether it waits."""

    __slots__ = ("called", "depth", "waits")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.waits = 0
        #: Whether it has waited for calls that it made.
        self.called = False


_here: ContextVar[Beside | None] = ContextVar("rekindle_beside", default=None)
_beside: set[Beside] = set()
#: Whether inputs run here side by side. A thread that one of them has begun may be of any.
_side_by_side = False
_lock = threading.Lock()  # of inputs side by side: no signal interrupts those


def begin_beside(depth: int) -> Beside:
    """As ``begin``, where others run beside it; in the context that it runs in."""
    global _side_by_side
    one = Beside(depth)
    _here.set(one)
    with _lock:
        _side_by_side = True
        _beside.add(one)
        _publish_beside()
    return one


def end_beside(one: Beside) -> None:
    """It has ended."""
    with _lock:
        _beside.discard(one)
        _publish_beside()


def _publish_beside() -> None:
    """The runner waits while all of them do."""
    if _page is not None:
        all_wait = bool(_beside) and all(one.waits for one in _beside)
        _page.wait(min(one.depth for one in _beside) if all_wait else -1)


def attach(page: RunnerPage) -> None:
    """Called by a runner before its first input."""
    global _page
    _page = page


def detach() -> None:
    """No input runs here, and none is reported."""
    global _page, _depth, _called, _side_by_side
    _page, _depth, _called, _side_by_side = None, -1, False, False


def begin(depth: int) -> None:
    """Called by a runner before an input: how many calls it was made inside of. Of inputs of one
    depth, one after the other, before the first, and wherever there are ``waits`` from before."""
    global _depth, _called
    _depth, _called = depth, False
    if waits:  # of threads that the last input left behind
        waits.clear()
        _publish()


def has_called() -> bool:
    """Whether the input that runs has waited for calls that it made."""
    return _called


def depth_of_calls(what: str) -> int:
    """The depth of a call that is made now; 0 outside of a runner.

    Raises CallDepthError, naming ``what`` is called, where that is too deep.
    """
    depth = _depth_here() + 1
    if depth and depth > (most := max_depth()):
        from rekindle.counted import counted

        raise CallDepthError(
            f"{what} is called inside of {counted(depth, 'call')} waiting for one another, the "
            f"limit is {most}: end the recursion earlier, or raise {VARIABLE} (up to "
            f"{MOST_DEPTH}) where rekindle is started"
        )
    return depth


def _depth_here() -> int:
    here = _here.get()
    if here is not None:
        return here.depth
    if not _side_by_side:
        return _depth
    with _lock:
        return max((one.depth for one in _beside), default=-1)


class waiting:
    """Within, the input that runs waits for calls that it made."""

    __slots__ = ("_beside", "_one")

    def __enter__(self) -> None:
        global _called
        self._one: object = None
        here = _here.get()
        if here is not None or _side_by_side:
            with _lock:
                # Of a thread without an input of its own it may be the wait of each that runs: one
                # that is not counted could keep what it waits for from ever beginning.
                self._beside = tuple(_beside) if here is None else (here,)
                for one in self._beside:
                    one.called = True
                    one.waits += 1
                _publish_beside()
            return
        self._beside = ()
        if _page is not None:
            _called = True
            self._one = wait = object()
            waits.add(wait)
            _publish()

    def __exit__(self, *_error: object) -> None:
        if self._beside:
            with _lock:
                for one in self._beside:
                    one.waits -= 1
                _publish_beside()
        elif self._one is not None:
            waits.discard(self._one)
            _publish()


def _publish() -> None:
    """Write to the page whether it waits; whoever writes last has checked once more after that."""
    page = _page
    if page is None:
        return
    while True:
        some = bool(waits)
        page.wait(_depth if some else -1)
        if some == bool(waits):
            return


def _in_child() -> None:
    """A process that user code forked: the page is its parent's to write."""
    global _page, _lock
    _page = None
    waits.clear()
    _beside.clear()
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_in_child)
