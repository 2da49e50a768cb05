"""Forking: children with a PID namespace of their own, and copies in place, at little cost.

``os.fork`` runs, in every child, what Python and its standard library do about other threads:
hundreds of objects written to, each on a page of its own that the kernel then copies, which is more
than half of what a small child costs. A parked template has no other thread, so its children come
from the C library's fork, as a restored copy comes from CRIU: without any of that. Handlers that
user code registered with ``os.register_at_fork`` run as ever.

A child that user code forks itself ends where that code does: what called it here is its parent's.

Knows nothing of agents, and nothing of what the children are for.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Collection
from typing import Any

from rekindle.forkserver import interrupts, park
from rekindle.forkserver.own_pages import OwnPages
from rekindle.linux import namespaces
from rekindle.linux.libc import check

_Handler = Callable[[], object]

#: What of the standard library has its handlers for other threads alone, or for random numbers,
#: which are drawn again anyway. (That of asyncio is for a loop; a parked template has none.)
_NEEDLESS = ("threading", "random", "logging", "asyncio.events")

#: Python's own, while handlers are tracked.
_register: Callable[..., None] | None = None
_before: list[_Handler] = []
_after_in_parent: list[_Handler] = []
_after_in_child: list[_Handler] = []

#: Whether user code has forked this process.
_is_users = False

# A handle of its own: what user code says of the function's type is its own. PyDLL, as the
# interpreter's lock has to be held: it is the child's, too.
_c_fork = ctypes.PyDLL(None, use_errno=True).fork


def track_handlers() -> None:
    """Before user code, in a process that is to be a template: see what is registered at fork."""
    global _register
    register = _register = os.register_at_fork

    def tracking(
        *,
        before: _Handler | None = None,
        after_in_child: _Handler | None = None,
        after_in_parent: _Handler | None = None,
    ) -> None:
        given: dict[str, Any] = {
            "before": before,
            "after_in_child": after_in_child,
            "after_in_parent": after_in_parent,
        }
        given = {name: one for name, one in given.items() if one is not None}
        register(**given)
        for name, handlers in (
            ("before", _before),
            ("after_in_child", _after_in_child),
            ("after_in_parent", _after_in_parent),
        ):
            one = given.get(name)
            if one is not None and getattr(one, "__module__", None) not in _NEEDLESS:
                handlers.append(one)

    os.register_at_fork = tracking


def stop_tracking(needless: Collection[object] = ()) -> None:
    """When it parks: what is registered from now on is a runner's, or no one's.

    ``needless``: handlers that have nothing to do in copies of this process.
    """
    global _register
    if _register is not None:
        os.register_at_fork = _register
        _register = None
    for handlers in (_before, _after_in_parent, _after_in_child):
        handlers[:] = [one for one in handlers if one not in needless]


def tracked() -> list[_Handler]:
    """All handlers that user code and what it imported have registered."""
    return [*_before, *_after_in_parent, *_after_in_child]


def fork(*, alone: bool, handlers: bool = True) -> int:
    """Fork this process; 0 in the child. ``alone``: it has one thread, and without ``handlers``
    user code's do not run. Raises OSError."""
    if not alone:
        with interrupts.for_copies():
            return os.fork()
    if _before and handlers:
        _run(reversed(_before))
    pid: int = _c_fork()
    if pid:
        if pid < 0:
            check(pid, "fork")
        if _after_in_parent and handlers:
            _run(_after_in_parent)
        return pid
    threading: Any = sys.modules.get("threading")
    if threading is not None:
        threading.main_thread()._set_native_id()
    if _after_in_child and handlers:
        _run(_after_in_child)
    return 0


def _run(handlers: Any) -> None:
    """As Python does it: what they raise is shown, and has no other effect."""
    for handler in handlers:
        try:
            handler()
        except BaseException:  # noqa: BLE001 - shown
            sys.excepthook(*sys.exc_info())


def end_users_child(failure: BaseException | None = None) -> None:
    """User code is back in ours, with ``failure`` or without: where it has forked this process,
    that ends here, as a program of its own would. Where it has not, nothing is done."""
    if not _is_users:
        return
    status = 1
    try:
        if failure is None:
            status = 0
        elif not isinstance(failure, SystemExit):
            sys.excepthook(type(failure), failure, failure.__traceback__)
        elif failure.code is None or isinstance(failure.code, int):
            status = (failure.code or 0) & 0xFF
        else:
            sys.stderr.write(f"{failure.code}\n")
        park.flush_output()
    finally:
        os._exit(status)


def is_users_child() -> bool:
    """Whether user code has forked this process."""
    return _is_users


def _in_child() -> None:
    global _is_users
    _is_users = not interrupts.forking_ours


os.register_at_fork(after_in_child=_in_child)


class Forker:
    """Forks this process. Keeps a PID namespace ready for the next child.

    The kernel takes a millisecond and more to make one; made beforehand, no fork waits for it.
    """

    def __init__(self) -> None:
        #: Whether this process has one thread, so that nothing of others is to be put right.
        self.alone = False
        self._ready = False
        self._own = -1
        #: What forks copy at once.
        self.pages = OwnPages()

    def prepare(self) -> None:
        """Make the PID namespace of the next isolated child. Raises OSError."""
        if not self._ready:
            namespaces.unshare(namespaces.CLONE_NEWPID)
            self._ready = True

    def release(self) -> None:
        """Let children come into this process's own PID namespace again.

        CRIU refuses a process whose children's namespace is another, a runner's own subprocesses
        belong to it, and no second namespace can be made before.
        """
        if self._ready:
            if self._own < 0:
                self._own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            namespaces.setns(self._own, namespaces.CLONE_NEWPID)
            self._ready = False

    def close(self) -> None:
        """Let go of what it keeps open; children come into this process's own namespace."""
        self.release()
        self._close_own()
        self.pages.let_go()

    def _close_own(self) -> None:
        if self._own >= 0:
            os.close(self._own)
            self._own = -1

    def fork_isolated(self, *, handlers: bool = True) -> int:
        """Fork; the child is PID 1 of a new PID namespace, and leads a session. Returns 0 in the
        child.

        One fork, not two: page tables are copied once. Without ``handlers``, in a process that is
        alone, user code's at fork do not run. Raises OSError.
        """
        self.prepare()
        try:
            pid = fork(alone=self.alone, handlers=handlers)
        except OSError:
            self.release()
            raise
        if pid == 0:
            os.setsid()  # a signal to its process group is not for the template and its others
            self._ready = False  # the child's children are in its own namespace
            self._close_own()
            self.pages.let_go()
        else:
            self.release()
        return pid

    def fork_copy(self) -> int:
        """Fork in place, as leader of a session of its own. Returns 0 in the copy.

        The copy is what is frozen: the template itself goes on forking runners while CRIU writes.
        """
        self.release()
        self._close_own()
        pid = fork(alone=self.alone)
        if pid == 0:
            self.pages.let_go()
            os.setsid()  # CRIU wants the leader of a process's session inside what it dumps
        return pid
