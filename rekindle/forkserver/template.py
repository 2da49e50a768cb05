"""The template's loop: it obeys its agent's orders until one of them makes it a runner.

A forked child and a restored copy leave the same loop at the same place, as ``Become``. Orders:
``prepare``, ``fork``, ``copy``, ``gpu``, ``park``, ``outfit``, ``start``, ``exit``.

Many children are forked by one order, each with a connection to the agent that came with it. A
child does all that needs nothing of its start's own, and then reads its start from the connection:
one that is ordered for a start finds it there, a **spare** waits for it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from rekindle.forkserver import fork_handlers, park, sigchld, wiped
from rekindle.forkserver.forking import Forker
from rekindle.forkserver.open_things import OpenThings
from rekindle.linux import namespaces
from rekindle.linux.maps import Mapping
from rekindle.linux.plain_descriptors import readable
from rekindle.wire.frames import FrameSocket, Header, own_socket
from rekindle.wire.phases import Mark, Phase, now_ns

#: Children that are forked in a row before any of them is told of.
_TOLD_TOGETHER = 4
#: A copy takes milliseconds, and no child is forked meanwhile.
_COPY_TIMEOUT_S = 10.0

# Made once: in a new process each line of Python costs the copies of the pages that it touches.
_FORK, _ISOLATE, _RESTORE = Phase.FORK.value, Phase.ISOLATE.value, Phase.RESTORE.value


@dataclass
class Become:
    """This process is to be a runner now: by which channel, with what orders."""

    channel: FrameSocket
    order: Header
    fds: list[int]
    marks: list[Mark] = field(default_factory=list)
    #: It only tries what it will have to do: nothing of user code is to run.
    rehearses: bool = False


@dataclass
class Template:
    """A parked process and its channel to the agent."""

    channel: FrameSocket
    socket_path: str
    #: What gives a forked child namespaces of its own, by its name.
    isolate: Callable[[str], object] = namespaces.isolate
    #: What a forked child does next to being isolated, before it knows anything of its start.
    renew: Callable[[], object] = bool
    #: Obeys the order ``gpu`` in a process that is never forked any more; what it answers is sent.
    use_gpu: Callable[[Header], Header] = dict
    #: What a spare does before it waits, so that less is left to do once its start has come.
    rehearse: Callable[[], object] = bool
    #: What it does with what it will need as a runner, which comes while it waits.
    dress: Callable[[FrameSocket, Header, list[int]], object] = print
    things: OpenThings = field(default_factory=OpenThings)
    forker: Forker = field(default_factory=Forker)
    #: pidfd -> process id.
    _children: dict[int, int] = field(default_factory=dict)
    #: Of the channel and the children; None until it is waited for.
    _poll: select.poll | None = None
    #: Marks of what happened to this copy on its way (a fork, a restore).
    _marks: list[Mark] = field(default_factory=list)
    _is_spare: bool = False

    def serve(self) -> Become:
        """Obey orders; returns in the process that is to become a runner.

        Raises FrameError when the agent is gone and SystemExit when ordered to exit.
        """
        while True:
            self._wait()
            order, _body, fds = self.channel.receive()
            operation = order["op"]
            if operation == "start":
                if self._is_spare:
                    self._marks = [(_FORK, now_ns())]
                self._close_children()
                self.forker.close()
                self.things.become_runner()
                sigchld.give_back()
                return Become(self.channel, order, fds, self._marks)
            if operation == "fork":
                names = order["names"]
                self._fork_children(names, order["spare"], fds[: len(names)], fds[len(names) :])
            elif operation == "prepare":
                self._prepare()
            elif operation == "copy":
                self._fork_copy()
            elif operation == "gpu":
                # No thread can be begun while the namespace of a next child is kept ready.
                self.forker.close()
                sigchld.give_back()
                self.channel.send(self.use_gpu(order))
            elif operation == "park":
                self.channel.send({"op": "parking"})
                self._park()
            elif operation == "outfit":
                self.dress(self.channel, order, fds)
            elif operation == "exit":
                raise SystemExit(0)
            else:
                raise ValueError(f"an order that a template does not know: {operation}")

    def _wait(self) -> None:
        """Until the agent speaks; meanwhile reap children and report how they ended."""
        if self._poll is None:
            if not self._children:
                return  # whoever receives waits
            self._poll = select.poll()
            self._poll.register(self.channel.fileno(), select.POLLIN)
            for pidfd in self._children:
                self._poll.register(pidfd, select.POLLIN)
        while True:
            woken = {fd for fd, _events in self._poll.poll()}
            if ended := woken & self._children.keys():
                self._reap(ended)
            if self.channel.fileno() in woken:
                return

    def _reap(self, ended: Iterable[int]) -> None:
        """Wait for those that have ended, and report how."""
        assert self._poll is not None
        exits = []
        for pidfd in ended:
            self._poll.unregister(pidfd)
            pid = self._children.pop(pidfd)
            os.close(pidfd)
            _pid, status = os.waitpid(pid, 0)
            exits.append((pid, os.waitstatus_to_exitcode(status)))
        self.channel.send({"op": "ended", "children": exits})

    def _adopt(self, pid: int) -> int:
        """Look after a child; its pidfd."""
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = pid
        if self._poll is not None:
            self._poll.register(pidfd, select.POLLIN)
        return pidfd

    def _prepare(self) -> None:
        """More forks are to be expected: get ready for the next one."""
        pages = self.forker.pages
        pages.pin()
        if pages.reason:
            self.channel.send({"op": "not_pinned", "reason": pages.reason})
            pages.reason = ""
        try:
            self.forker.prepare()
        except OSError:
            return  # the fork itself will meet the same, and report it

    def _fork_children(
        self, names: list[str], spare: bool, fds: list[int], roots: list[int]
    ) -> None:
        """Fork a child for each name and connection; returns in each of them, too. ``roots``: the
        mounts that each is to have, none where those are copies of its own.

        What is told of them waits for a few: each line between two forks writes to pages that the
        child before shares, and so copies them.
        """
        park.flush_output()
        if fork_handlers.change_the_template():
            self.things.note_what_stands()
        told = 0
        pids: list[int] = []
        for at, fd in enumerate(fds):
            try:
                pid = self.forker.fork_isolated()
            except OSError as error:
                self._tell_forked(fds, names, told, pids)
                for left in fds[at:] + roots[at:]:
                    os.close(left)
                self.channel.send({"op": "fork_failed", "names": names[at:], "reason": str(error)})
                return
            if pid == 0:
                root = roots[at] if roots else -1
                others = fds[told:at] + fds[at + 1 :] + roots[at + 1 :]
                self.become_child(names[at], spare, fd, others, root)
                return
            if roots:
                os.close(roots[at])
            pids.append(pid)
            if len(pids) == _TOLD_TOGETHER:
                told, pids = self._tell_forked(fds, names, told, pids)
        self._tell_forked(fds, names, told, pids)
        self._prepare()

    def _tell_forked(
        self, fds: list[int], names: list[str], first: int, pids: list[int]
    ) -> tuple[int, list[int]]:
        """The children of an order from ``first`` on are there; what is next, and a new list."""
        if not pids:
            return first, pids
        end = first + len(pids)
        for fd in fds[first:end]:
            os.close(fd)
        pidfds = [self._adopt(pid) for pid in pids]
        forked = {"op": "forked", "children": list(zip(pids, names[first:end], strict=True))}
        self.channel.send_with_fds(forked, pidfds)
        return end, []

    def become_child(
        self, name: str, spare: bool, fd: int, others: list[int], root: int = -1
    ) -> None:
        """In a forked child: everything that needs nothing of its start."""
        self._marks = [(_FORK, now_ns())]
        self._leave_parent_behind()
        for other in others:
            os.close(other)
        self.things.forget_what_is_gone()
        if root >= 0:
            namespaces.isolate_in_root(root, name)
            os.close(root)
            self.things.give_to_runner(moved=True)
        else:
            self.isolate(name)
            self.things.give_to_runner()
        self._marks.append((_ISOLATE, now_ns()))
        self.channel = FrameSocket(own_socket(fd))
        self.renew()
        self._is_spare = spare
        if spare:
            self.rehearse()
            with contextlib.suppress(OSError):  # it is not wanted any more, as is found next
                self.channel.send({"op": "waiting"})

    def _fork_copy(self) -> None:
        """Make a copy that waits on the control pipe, and report its pid once it does."""
        park.flush_output()
        ready_read, ready_write = os.pipe()
        pid = self.forker.fork_copy()
        if pid != 0:
            os.close(ready_write)
            # Its end: the copy holds nothing but the control pipe.
            is_there = readable([ready_read], _COPY_TIMEOUT_S)
            os.close(ready_read)
            if is_there:
                self.channel.send_with_fds({"op": "copied", "pid": pid}, [self._adopt(pid)])
                return
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            why = f"a copy hung for {_COPY_TIMEOUT_S:g} s (a handler of os.register_at_fork, say)"
            self.channel.send({"op": "copy_failed", "reason": why})
            return
        os.close(ready_read)
        self._leave_parent_behind()
        park.let_go_of_output()
        self.things.forget_what_is_gone()
        self.things.give_to_copy()
        areas = _empty_areas()
        self.things.unmap_memory()
        os.close(ready_write)
        self._wait_for_orders(areas)

    def _park(self) -> None:
        """Let go of everything but the control pipe: this process itself is to be frozen."""
        if self.forker.alone:
            fork_handlers.are_due(of_copy=True)
        self.things.forget_what_is_gone()
        self._close_children()
        self.forker.close()
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
        self._marks = [(_RESTORE, now_ns())]
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
        self._poll = None


def _empty_areas() -> list[Mapping]:
    """Before it is reported that this process may be frozen: what its copies must empty.

    It is emptied here, too: what lies there, keys for the most part, is not for a snapshot.
    """
    areas = wiped.find()
    wiped.renew(areas)
    return areas
