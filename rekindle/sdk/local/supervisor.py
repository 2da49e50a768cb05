"""``python -m rekindle.sdk.local.supervisor --dir D [...]``: keeps an instance up.

Starts Redis, the controller and the agent at once, and starts again what dies. Prints ``ready``
when all serve, or ``failed: ...``. Ends them in order on SIGTERM, or when its directory is removed.
With ``--parent-pid P`` also when that process ends: the directory is a private one then and goes
too. With ``--users-fd F --stays S`` it goes to the background, says the same to programs that
connect to the socket F, and why it ends, and ends S seconds after the last of them. One thread, so
that the children's die-with-parent signal means this process.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from rekindle import paths
from rekindle.exception import Error, InvalidError
from rekindle.linux import given_signals, inotify
from rekindle.sdk.local import directory as instance
from rekindle.sdk.local import (
    keeper,
    kept_logs,
    leftover_snapshots,
    lingering,
    remains,
    surroundings,
)
from rekindle.sdk.local.services import Child, Service, services
from rekindle.sdk.local.users import Users
from rekindle.wire import logs
from rekindle.wire.ready import AWAY, AWAY_STATUS, INVALID, REFUSED, REFUSED_STATUS

log = logging.getLogger("rekindle.supervisor")

#: A process that lived shorter than this died quickly; REKINDLE_QUICK_DEATH_S sets another time.
QUICK_S = 10.0
#: So many quick deaths in a row, and the instance is given up.
MAX_QUICK_DEATHS = 5
_BACKOFF_S = 0.1
_MAX_BACKOFF_S = 5.0
#: One wait: then it is looked how long the logs have become.
_MAX_WAIT_S = 60.0


class Supervisor:
    """The loop: wait for a signal, the parent's end, a child's output or end, a time to restart."""

    def __init__(
        self,
        directory: Path,
        wanted: Sequence[Service],
        parent_pid: int | None,
        out: IO[str],
        quick_s: float = QUICK_S,
        users: Users | None = None,
    ) -> None:
        self._directory = directory
        self._children = [Child(service, ready=not service.says_ready) for service in wanted]
        self._parent_pid = parent_pid
        self._out = out
        self._quick_s = quick_s
        self._users = users
        self._selector = selectors.DefaultSelector()
        self._stop_reason = ""
        self._failed = ""
        self._announced = False
        self._look_at_logs_at = 0.0

    def run(self) -> int:
        """Keep the instance up until it is to end. Returns the exit status."""
        self._listen_for_signals()
        self._watch_parent()
        self._watch_directory()
        if self._users is not None:
            self._selector.register(self._users.listener, selectors.EVENT_READ, ("users", None))
        try:
            for child in self._children:
                self._start(child)
            while not self._stop_reason:
                self._turn()
        except OSError as error:
            said = paths.unwritable(error)
            self._failed = self._stop_reason = str(said or surroundings.why(error))
            if not self._announced:  # a log of its own goes with its directory
                self._say(f"failed: {self._failed}")
            if said is None:
                raise
        finally:
            log.info("ending", extra=logs.kv(reason=self._stop_reason))
            if self._users is not None:
                with contextlib.suppress(Error, OSError):  # all of the home may have gone
                    lingering.unlink(self._directory)  # first: who is refused finds another
                self._say_farewell(self._users)
                self._users.close()
            for child in reversed(self._children):
                self._end(child)
            remains.clear(self._directory)  # of what was killed and is not yet back
            if any(one.was_killed for one in self._children if one.service.name == "agent"):
                leftover_snapshots.remove()
        return 1 if self._failed else 0

    # ---- events --------------------------------------------------------------------------------

    def _listen_for_signals(self) -> None:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        self._selector.register(reader, selectors.EVENT_READ, ("signal", None))

    def _watch_parent(self) -> None:
        if self._parent_pid is None:
            return
        try:
            fd = os.pidfd_open(self._parent_pid)
        except ProcessLookupError:
            self._stop_reason = "the parent has ended"
            return
        self._selector.register(fd, selectors.EVENT_READ, ("parent", None))
        if os.getppid() != self._parent_pid:
            self._stop_reason = "the parent has ended"

    def _watch_directory(self) -> None:
        try:
            fd = inotify.watch(self._directory, inotify.GONE)
        except OSError as error:  # no more watches for this user
            log.warning("not watched", extra=logs.kv(path=self._directory, reason=error))
        else:
            self._selector.register(fd, selectors.EVENT_READ, ("directory", None))
        self._see_directory()

    def _see_directory(self) -> None:
        """End where nobody finds the instance any more: its directory was removed or moved."""
        if instance.supervisor_pid(self._directory) != os.getpid():
            self._failed = self._stop_reason = f"its directory, {self._directory}, was removed"

    def _say_farewell(self, users: Users) -> None:
        """Tell the programs that use it why it ends."""
        if self._failed and not self._announced:  # they know
            return
        reason = self._failed or self._stop_reason or "its supervisor failed"
        if reason in signal.Signals.__members__:
            down = paths.taken_down_file(self._directory).exists()
            reason = "`rekindle down` took it down" if down else f"it was told to end ({reason})"
        users.say(f"{lingering.ENDED}{reason}")

    def _turn(self) -> None:
        due = [child.restart_at for child in self._children if child.restart_at is not None]
        leave_at = self._users.leave_at() if self._users is not None else None
        if leave_at is not None:
            due.append(leave_at)
        now = time.monotonic()
        timeout = max(0.0, min([now + _MAX_WAIT_S, *due]) - now)
        for key, _ in self._selector.select(timeout):
            what, child = key.data
            if what == "users" and self._users is not None:
                for one in self._users.accept():
                    self._selector.register(one, selectors.EVENT_READ, ("user", one))
            elif what == "user" and self._users is not None:
                self._hear(self._users, child)
            elif what == "signal":
                number = os.read(key.fd, 64)[-1]
                self._stop_reason = signal.Signals(number).name
            elif what == "parent":
                self._stop_reason = "the parent has ended"
            elif what == "directory":
                inotify.forget_events(key.fd)
                self._see_directory()
            elif what == "output":
                self._read_output(child)
            elif what == "ended" and child.pidfd == key.fd:
                self._on_death(child)
        if self._look_at_logs_at <= time.monotonic():
            self._look_at_logs_at = time.monotonic() + _MAX_WAIT_S
            kept_logs.move_aside(instance.logs_dir(self._directory))
        for child in self._children:
            if self._stop_reason:
                break
            if child.restart_at is not None and child.restart_at <= time.monotonic():
                self._start(child)
        if self._users is not None and not self._stop_reason:
            leave_at = self._users.leave_at()
            if leave_at is not None and leave_at <= time.monotonic():
                stayed = lingering.shown(self._users.stays_s)
                self._stop_reason = f"no program has used it for {stayed}"

    def _hear(self, users: Users, one: socket.socket) -> None:
        if not users.hear(one):
            self._selector.unregister(one)
            users.left(one)

    # ---- children ------------------------------------------------------------------------------

    def _start(self, child: Child) -> None:
        process = child.start(instance.logs_dir(self._directory) / f"{child.service.name}.log")
        self._selector.register(child.pidfd, selectors.EVENT_READ, ("ended", child))
        if process.stdout is not None:
            os.set_blocking(process.stdout.fileno(), False)
            self._selector.register(process.stdout, selectors.EVENT_READ, ("output", child))

    def _read_output(self, child: Child) -> None:
        if child.process is None or child.process.stdout is None:
            # Its end was handled in this very turn: its children can hold its pipe open for longer.
            return
        data = child.process.stdout.read()
        if not data:
            if child.process.stdout in self._selector.get_map():
                self._selector.unregister(child.process.stdout)
            return
        child.output = (child.output + data)[-4000:]
        if b"ready\n" in child.output:
            child.ready = True
            self._announce()

    def _announce(self) -> None:
        if not self._announced and all(child.ready for child in self._children):
            self._announced = True
            self._say("ready")

    def _say(self, text: str) -> None:
        if self._users is not None:
            self._users.say(text)
        try:
            self._out.write(text + "\n")
            self._out.flush()
        except OSError:
            log.info("no one reads standard output", extra=logs.kv(text=text))

    def _on_death(self, child: Child) -> None:
        """A child has ended by itself: start it again, later each time, or give up."""
        self._read_output(child)  # its last output may be in the pipe still
        name, status = child.service.name, self._forget(child)
        lived_s = time.monotonic() - child.started_at
        child.was_killed |= status < 0
        child.quick_deaths = child.quick_deaths + 1 if lived_s < self._quick_s else 1
        log.error("died", extra=logs.kv(process=name, status=status, lived_s=lived_s))
        if status == REFUSED_STATUS and (text := child.output.decode(errors="replace")):
            self._failed = text.partition(REFUSED)[2].strip()
            self._stop_reason = f"giving up: the {name} cannot run here"
            log.error("giving up", extra=logs.kv(reason=self._failed))
            if not self._announced:
                self._say(f"{REFUSED}{self._failed}")
            return
        if status == AWAY_STATUS and not self._announced:
            # No start would fare better before that is back; an instance that was up waits for it.
            self._failed = child.output.decode(errors="replace").partition(AWAY)[2].strip()
            self._stop_reason = f"giving up: the {name} lacks what it needs"
            log.error("giving up", extra=logs.kv(reason=self._failed))
            self._say(f"failed: {self._failed}")
            return
        if child.quick_deaths >= MAX_QUICK_DEATHS and status != AWAY_STATUS:
            ended = instance.tail(self._directory, name)
            why = surroundings.why_in(ended) or f"its log, {name}.log, ends:\n{ended}"
            self._failed = (
                f"the {name} died {child.quick_deaths} times within {self._quick_s:g} s of its "
                f"start (exit status {status}); {why}"
            )
            self._stop_reason = f"giving up: the {name} does not stay up"
            log.error("giving up", extra=logs.kv(reason=self._failed))
            if not self._announced:
                self._say(f"failed: {self._failed}")
            return
        delay_s = min(_BACKOFF_S * 2 ** (child.quick_deaths - 1), _MAX_BACKOFF_S)
        child.restart_at = time.monotonic() + delay_s

    def _forget(self, child: Child) -> int:
        assert child.process is not None
        output = child.process.stdout
        if output is not None and output in self._selector.get_map():
            self._selector.unregister(output)
        self._selector.unregister(child.pidfd)
        return child.reap()

    def _end(self, child: Child) -> None:
        if child.process is not None:
            child.end()
            self._forget(child)


def _quick_death_s() -> float:
    text = os.environ.get("REKINDLE_QUICK_DEATH_S") or f"{QUICK_S:g}"
    with contextlib.suppress(ValueError):
        if float(text) >= 0:
            return float(text)
    raise InvalidError(f"REKINDLE_QUICK_DEATH_S={text!r} is no number of seconds; unset it")


def main(argv: list[str] | None = None) -> int:
    """Supervise until the end. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rekindle.sdk.local.supervisor")
    parser.add_argument("--dir", required=True, type=Path, help="instance directory")
    parser.add_argument("--parent-pid", type=int, help="end, and remove the directory, with it")
    parser.add_argument("--users-fd", type=int, help="a socket that programs connect to")
    parser.add_argument("--stays", type=float, default=0.0, help="seconds without a program")
    arguments = parser.parse_args(argv)
    directory: Path = arguments.dir.absolute()
    given_signals.forget()
    parent_pid, users = arguments.parent_pid, None
    if arguments.users_fd is not None:
        parent_pid = keeper.stand_above(arguments.users_fd, lambda: _remove(directory))
        users = Users(socket.socket(fileno=arguments.users_fd), arguments.stays)
    logs.configure("supervisor")
    try:
        instance.prepare(directory)
        logs.check_settings()
        quick_s = _quick_death_s()
        lock = instance.claim(directory)
    except (Error, OSError) as error:
        if isinstance(error, OSError):
            error = paths.unwritable(error) or error
        kind = f"{REFUSED}{INVALID}" if isinstance(error, InvalidError) else "failed: "
        sys.stdout.write(f"{kind}{error}\n")
        if users is not None:
            users.say(f"{kind}{error}")
            list(users.accept())
        return 1
    supervisor = Supervisor(directory, services(directory), parent_pid, sys.stdout, quick_s, users)
    try:
        return supervisor.run()
    finally:
        if parent_pid is not None:
            remains.remove(directory)  # sockets and a queue of no more use
        os.close(lock)


def _remove(directory: Path) -> None:
    """All that a lingering instance has left, if its supervisor was killed."""
    if directory.exists():
        leftover_snapshots.remove()
        with lingering.turn():  # nobody puts another link there meanwhile
            lingering.remove(directory)


if __name__ == "__main__":
    sys.exit(main())
