"""What ``os.register_at_fork`` was given in a process that is to be a template, and when it runs.

User code's handlers run around the fork of a template as around ``os.fork``, with one difference:
those of the child wait until the copy is a runner (``run_due``), with descriptors, namespaces and
random numbers of its own. Before, some of them would close what is still to be made anew.

A copy that is made to be frozen is no child of anybody yet: nothing of user code runs around its
fork. Each runner that is restored from it runs the handlers of before and of the child.

Our own handlers run at each fork: they are about what our own code holds.
"""

from __future__ import annotations

import _thread
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from rekindle.forkserver import exception_hooks

Handler = Callable[[], object]

#: What of the standard library has its handlers for other threads alone, or for random numbers,
#: which are drawn again anyway. (That of asyncio is for a loop; a parked template has none.)
_NEEDLESS = ("threading", "random", "logging", "asyncio.events")
_LOCKS = (type(_thread.allocate_lock()), _thread.RLock)


@dataclass
class Handlers:
    """In the order in which they were registered."""

    before: list[Handler] = field(default_factory=list)
    after_in_parent: list[Handler] = field(default_factory=list)
    after_in_child: list[Handler] = field(default_factory=list)

    def lists(self) -> list[list[Handler]]:
        """All three."""
        return [self.before, self.after_in_parent, self.after_in_child]


of_users = Handlers()
ours = Handlers()
#: What this copy has still to run, once it is a runner.
_due: list[Handler] = []

#: Python's own, while handlers are tracked.
_register: Callable[..., None] | None = None


def track() -> None:
    """Before user code, in a process that is to be a template: see what is registered at fork."""
    global _register
    register = _register = os.register_at_fork

    def tracking(
        *,
        before: Handler | None = None,
        after_in_child: Handler | None = None,
        after_in_parent: Handler | None = None,
    ) -> None:
        given: dict[str, Any] = {
            "before": before,
            "after_in_child": after_in_child,
            "after_in_parent": after_in_parent,
        }
        given = {name: one for name, one in given.items() if one is not None}
        register(**given)
        caller = str(sys._getframe(1).f_globals.get("__name__"))
        whose = ours if caller.startswith("rekindle.") else of_users
        for name, one in given.items():
            if getattr(one, "__module__", None) not in _NEEDLESS:
                getattr(whose, name).append(one)

    os.register_at_fork = tracking


def stop_tracking(*, ours_are_needless: bool) -> None:
    """When it parks: what is registered from now on is a runner's, or no one's."""
    global _register
    if _register is not None:
        os.register_at_fork = _register
        _register = None
    if ours_are_needless:
        for handlers in ours.lists():
            handlers.clear()


def change_the_template() -> bool:
    """Whether user code runs in a template at its forks, and may close what was open in it. The
    methods of locks, which most of such handlers are, do not."""
    some = [*of_users.before, *of_users.after_in_parent]
    return not all(isinstance(getattr(one, "__self__", None), _LOCKS) for one in some)


def are_due(*, of_copy: bool) -> None:
    """In a new child: what it runs once it is a runner. ``of_copy``: one that is to be frozen."""
    before = reversed(of_users.before) if of_copy else ()
    _due[:] = [*before, *of_users.after_in_child]


def run_due() -> None:
    """In a runner, before other user code: what is due, once."""
    if _due:
        due = [*_due]
        _due.clear()
        run(due)


def run(handlers: Iterable[Handler]) -> None:
    """As Python does it: what they raise is shown, and has no other effect."""
    for handler in handlers:
        try:
            handler()
        except BaseException as error:  # noqa: BLE001 - shown
            exception_hooks.show_ignored(error, handler)
