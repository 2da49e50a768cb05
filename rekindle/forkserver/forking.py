"""Forking: children with a PID namespace of their own, and copies in place, at little cost.

``os.fork`` runs, in every child, what Python and its standard library do about other threads:
hundreds of objects written to, each on a page of its own that the kernel then copies, which is more
than half of what a small child costs. A parked template has no other thread, so its children come
from the C library's fork, as a restored copy comes from CRIU: without any of that. What was given
to ``os.register_at_fork`` is run by ``fork_handlers.py``.

A child that user code forks itself ends where that code does: what called it here is its parent's.

Knows nothing of agents, and nothing of what the children are for.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

from rekindle.forkserver import exception_hooks, fork_handlers, interrupts, park
from rekindle.forkserver.fork_handlers import of_users, ours
from rekindle.forkserver.own_pages import OwnPages
from rekindle.linux import namespaces, processes
from rekindle.linux.libc import check

#: Whether user code has forked this process.
is_users_child = False

# A handle of its own: what user code says of the function's type is its own. PyDLL, as the
# interpreter's lock has to be held: it is the child's, too.
_c_fork = ctypes.PyDLL(None, use_errno=True).fork


def fork(*, alone: bool, handlers: bool = True, of_copy: bool = False) -> int:
    """Fork this process; 0 in the child. ``alone``: it has one thread, and without ``handlers``
    none run. ``of_copy``: the child is to be frozen. Raises OSError."""
    if not alone:
        with interrupts.for_copies():  # what threads there are has been looked at (inspection.py)
            return processes.fork_beside_threads()
    if handlers:
        _before(of_copy)
    pid: int = _c_fork()
    if pid:
        try:
            if pid < 0:
                check(pid, "fork")
        finally:
            if handlers:
                _after_in_parent(of_copy)
        return pid
    threading: Any = sys.modules.get("threading")
    if threading is not None and hasattr(main := threading.main_thread(), "_set_native_id"):
        main._set_native_id()  # eventlet's threads have none
    if handlers:
        if ours.after_in_child:
            fork_handlers.run(ours.after_in_child)
        fork_handlers.are_due(of_copy=of_copy)
    return 0


def _before(of_copy: bool) -> None:
    if of_users.before and not of_copy:
        fork_handlers.run(reversed(of_users.before))
    if ours.before:
        fork_handlers.run(reversed(ours.before))


def _after_in_parent(of_copy: bool) -> None:
    if ours.after_in_parent:
        fork_handlers.run(ours.after_in_parent)
    if of_users.after_in_parent and not of_copy:
        fork_handlers.run(of_users.after_in_parent)


def end_users_child(failure: BaseException | None = None) -> None:
    """User code is back in ours, with ``failure`` or without: where it has forked this process,
    that ends here, as a program of its own would. Where it has not, nothing is done."""
    if not is_users_child:
        return
    status = 1
    try:
        if failure is None:
            status = 0
        elif not isinstance(failure, SystemExit):
            exception_hooks.show(failure)
        elif failure.code is None or isinstance(failure.code, int):
            status = (failure.code or 0) & 0xFF
        else:
            sys.stderr.write(f"{failure.code}\n")
        park.flush_output()
    finally:
        os._exit(status)


def _in_child() -> None:
    global is_users_child
    is_users_child = not interrupts.forking_ours


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
        pid = fork(alone=self.alone, of_copy=True)
        if pid == 0:
            self.pages.let_go()
            os.setsid()  # CRIU wants the leader of a process's session inside what it dumps
        return pid
