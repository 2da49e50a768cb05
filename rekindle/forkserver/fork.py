"""The two forks of a template: into namespaces of its own (a runner), and in place (a copy)."""

from __future__ import annotations

import os

from rekindle.forkserver import interrupts
from rekindle.linux import namespaces


class Forker:
    """Forks this process. Keeps a PID namespace ready for the next child.

    The kernel takes a millisecond and more to make one; made beforehand, nobody waits for it.
    """

    def __init__(self) -> None:
        self._ready = False

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
            own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            try:
                namespaces.setns(own, namespaces.CLONE_NEWPID)
            finally:
                os.close(own)
            self._ready = False

    def fork_isolated(self) -> int:
        """Fork; the child is PID 1 of a new PID namespace. Returns 0 in the child.

        One fork, not two: page tables are copied once. Raises OSError.
        """
        self.prepare()
        try:
            with interrupts.for_copies():
                pid = os.fork()
        except OSError:
            self.release()
            raise
        if pid == 0:
            self._ready = False  # the child's children are in its own namespace
        else:
            self.release()
        return pid

    def fork_copy(self) -> int:
        """Fork in place, as leader of a session of its own. Returns 0 in the copy.

        The copy is what is frozen: the template itself goes on forking runners while CRIU writes.
        """
        self.release()
        with interrupts.for_copies():
            pid = os.fork()
        if pid == 0:
            os.setsid()  # CRIU wants the leader of a process's session inside what it dumps
        return pid
