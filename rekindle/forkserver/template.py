"""The template's loop: it obeys its agent's orders until one of them makes it a runner.

A forked child and a restored copy leave the same loop at the same place, as ``Become``. Orders:
``prepare``, ``fork``, ``copy``, ``park``, ``start``, ``exit``.
"""

from __future__ import annotations

import os
import select
from dataclasses import dataclass, field

from rekindle.forkserver import interrupts, park, wiped
from rekindle.forkserver.open_things import OpenThings
from rekindle.linux import namespaces
from rekindle.linux.maps import Mapping
from rekindle.wire.frames import FrameSocket, Header
from rekindle.wire.phases import Mark, Phase, now_ns


class Forker:
    """Forks this process. Keeps a PID namespace ready for the next child.

    The kernel takes a millisecond and more to make one; made beforehand, no fork waits for it.
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


@dataclass
class Become:
    """This process is to be a runner now: by which channel, with what orders."""

    channel: FrameSocket
    order: Header
    fds: list[int]
    marks: list[Mark] = field(default_factory=list)


@dataclass
class Template:
    """A parked process and its channel to the agent."""

    channel: FrameSocket
    socket_path: str
    things: OpenThings = field(default_factory=OpenThings)
    _forker: Forker = field(default_factory=Forker)
    _children: dict[int, int] = field(default_factory=dict)  # pidfd -> pid
    #: Marks of what happened to this copy on its way (a fork, a restore).
    _marks: list[Mark] = field(default_factory=list)

    def serve(self) -> Become:
        """Obey orders; returns in the process that is to become a runner.

        Raises FrameError when the agent is gone and SystemExit when ordered to exit.
        """
        while True:
            self._wait()
            order, _body, fds = self.channel.receive()
            operation = order["op"]
            if operation == "fork":
                self._fork_runner(order)
            elif operation == "prepare":
                self._prepare()
            elif operation == "copy":
                self._fork_copy()
            elif operation == "park":
                self.channel.send({"op": "parking"})
                self._park()
            elif operation == "start":
                self._close_children()
                self._forker.release()
                self.things.become_runner()
                return Become(self.channel, order, fds, self._marks)
            elif operation == "exit":
                raise SystemExit(0)
            else:
                raise ValueError(f"an order that a template does not know: {operation}")

    def _wait(self) -> None:
        """Until the agent speaks; meanwhile reap children and report how they ended."""
        poll = select.poll()
        poll.register(self.channel.fileno(), select.POLLIN)
        for pidfd in self._children:
            poll.register(pidfd, select.POLLIN)
        while True:
            for fd, _events in poll.poll():
                if fd == self.channel.fileno():
                    return
                poll.unregister(fd)
                self._reap(fd)

    def _reap(self, pidfd: int) -> None:
        pid = self._children.pop(pidfd)
        os.close(pidfd)
        _pid, status = os.waitpid(pid, 0)
        self.channel.send(
            {"op": "child_exit", "pid": pid, "status": os.waitstatus_to_exitcode(status)}
        )

    def _prepare(self) -> None:
        """More forks are to be expected: get ready for the next one."""
        try:
            self._forker.prepare()
        except OSError:
            return  # the fork itself will meet the same, and report it

    def _fork_runner(self, order: Header) -> None:
        park.flush_output()
        try:
            pid = self._forker.fork_isolated()
        except OSError as error:
            self.channel.send({"op": "fork_failed", "token": order["token"], "reason": str(error)})
            return
        if pid != 0:
            self._children[os.pidfd_open(pid)] = pid
            self.channel.send({"op": "forked", "token": order["token"], "pid": pid})
            self._prepare()
            return
        self._marks = [(Phase.FORK.value, now_ns())]
        self._leave_parent_behind()
        namespaces.isolate(order["hostname"])
        self.things.give_to_runner()
        self._marks.append((Phase.ISOLATE.value, now_ns()))
        self._connect(order["token"])

    def _fork_copy(self) -> None:
        """Make a copy that waits on the control pipe, and report its pid once it does."""
        park.flush_output()
        ready_read, ready_write = os.pipe()
        pid = self._forker.fork_copy()
        if pid != 0:
            os.close(ready_write)
            os.read(ready_read, 1)  # the end: the copy holds nothing but the control pipe
            os.close(ready_read)
            self._children[os.pidfd_open(pid)] = pid
            self.channel.send({"op": "copied", "pid": pid})
            return
        os.close(ready_read)
        self._leave_parent_behind()
        park.let_go_of_output()
        self.things.give_to_copy()
        areas = _empty_areas()
        self.things.unmap_memory()
        os.close(ready_write)
        self._wait_for_orders(areas)

    def _park(self) -> None:
        """Let go of everything but the control pipe: this process itself is to be frozen."""
        self._close_children()
        self._forker.release()
        park.let_go_of_output()
        self.things.release_locks()
        areas = _empty_areas()
        self.things.unmap_memory()
        self.channel.close()
        self._wait_for_orders(areas)

    def _wait_for_orders(self, areas: list[Mapping]) -> None:
        """Frozen here, and woken here in every restored copy."""
        try:
            orders = park.read_orders()
        except EOFError as gone:
            raise SystemExit(0) from gone
        # Before anything else in the copy: all later reseeding draws from what lies there.
        wiped.renew(areas)
        self.things.map_memory()
        self.things.take_locks()
        self.socket_path = orders["socket"]
        self._marks = [(Phase.RESTORE.value, now_ns())]
        self._connect(orders["token"])

    def _connect(self, token: str) -> None:
        self.channel = FrameSocket.connect(self.socket_path)
        self.channel.send({"op": "hello", "token": token})

    def _leave_parent_behind(self) -> None:
        self.channel.close()
        self._close_children()

    def _close_children(self) -> None:
        for pidfd in self._children:
            os.close(pidfd)
        self._children.clear()


def _empty_areas() -> list[Mapping]:
    """Before it is reported that this process may be frozen: what its copies must empty.

    It is emptied here, too: what lies there, keys for the most part, is not for a snapshot.
    """
    areas = wiped.find()
    wiped.renew(areas)
    return areas
