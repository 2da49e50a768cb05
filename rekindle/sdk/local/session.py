"""A session: the instance that a program uses.

What is up; else one that lingers, brought up where there is none yet; else a private one.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rekindle import lazily, paths
from rekindle.exception import ConnectionError, InvalidError, IsolationError, SetupError
from rekindle.linux.plain_descriptors import readable
from rekindle.sdk import monkey_patched
from rekindle.sdk.local import choosing, lingering, surroundings
from rekindle.sdk.local import directory as instance
from rekindle.sdk.local.announcing import say
from rekindle.wire.ready import INVALID, REFUSED

if TYPE_CHECKING:
    import subprocess
else:
    subprocess = lazily.module("subprocess")

#: A private instance has so long to come up.
START_S = 60.0
#: From asking a supervisor to end to killing it; longer than it takes to kill its children.
END_S = 70.0
#: So often another one is looked for when the instance that was found is just ending.
_TRIES = 10


@dataclass(eq=False)
class _Place:
    """A connection to the supervisor of an instance that lingers."""

    directory: Path
    connection: socket.socket
    #: Of one that we brought up: it ends as soon as it has forked the supervisor.
    launcher: subprocess.Popen[bytes] | None = None

    def leave(self) -> None:
        """Use it no more."""
        self.connection.close()
        self.reap()

    def reap(self) -> None:
        """Leave no child that has ended to the program."""
        if self.launcher is not None:
            self.launcher.wait()


class Session:
    """An instance in use. A private one ends with ``end``, or with this process at the latest.

    Of one that lingers, ``place`` says to its supervisor that it is in use.
    """

    def __init__(
        self,
        directory: Path,
        process: subprocess.Popen[bytes] | None = None,
        place: _Place | None = None,
    ) -> None:
        self.directory = directory
        self._process = process
        self._place = place
        self._heard = b""  # from the supervisor of one that lingers
        self._owner = os.getpid()
        if place is not None:
            _connected.add(self)

    @property
    def private(self) -> bool:
        """Whether the instance is this session's own."""
        return self._process is not None

    def alive(self) -> bool:
        """Whether its supervisor lives; of what ``rekindle up`` keeps: True, unchecked."""
        watched = self.private or self._place is not None
        return not watched or instance.supervisor_pid(self.directory) is not None

    def why_ended(self) -> str:
        """Why an instance that is not alive has ended, in words; empty where it was not said."""
        if (place := self._place) is not None:
            try:
                while data := place.connection.recv(65536, socket.MSG_DONTWAIT):
                    self._heard += data
            except OSError:  # that was all
                pass
        return self._heard.decode(errors="replace").partition(lingering.ENDED)[2].strip()

    def serves(self) -> bool:
        """Whether ``wait`` has nothing to wait for: the instance was up already."""
        if self._place is None:
            return self._process is None
        return bool(readable([self._place.connection.fileno()], 0))

    @paths.at_home()
    def wait(self, timeout_s: float = START_S) -> Path:
        """The instance directory, once the instance serves. Raises ConnectionError."""
        deadline = time.monotonic() + timeout_s
        if self._process is not None:
            wait_ready(self._process, self.directory, timeout_s)
        for attempt in range(_TRIES):
            if (place := self._place) is None:
                break
            try:
                left_s = max(0.0, deadline - time.monotonic())
                self._heard = _hear_ready(place.connection.fileno(), self.directory, left_s)
                place.reap()
                break
            except _SaidNothingError as error:
                # It was just ending when we came. Not so one that is ours, or one after another.
                if place.launcher is not None or attempt == _TRIES - 1:
                    raise ConnectionError(str(error)) from None
                place.leave()
                self._place = _one_that_lingers(lingering.linger_s())
                self.directory = self._place.directory
        return self.directory

    def end(self, *, at_once: bool = False) -> None:
        """Take a private instance down and remove its directory; leave any other as it is.

        ``at_once``: without waiting for exit hooks and snapshots.
        """
        process, self._process = self._process, None
        place, self._place = self._place, None
        if os.getpid() != self._owner:  # a forked child owns nothing
            return
        if process is None and place is None:
            return
        try:
            if process is not None:
                end_process(process, 0.0 if at_once else END_S)
        finally:
            if place is not None:
                place.leave()
            if process is not None:
                if process.stdout is not None:
                    process.stdout.close()
                from rekindle.sdk.local import remains

                remains.remove(self.directory)
            from rekindle.sdk.connection import client

            client.forget(self.directory)
            if (objects := sys.modules.get("rekindle.sdk.objects.link")) is not None:
                objects.forget(self.directory)

    def let_go(self) -> None:
        """In a forked child: the instance is in use for as long as its parent uses it."""
        if self._place is not None:
            self._place.connection.close()


_connected: weakref.WeakSet[Session] = weakref.WeakSet()


def _forget_in_child() -> None:
    for one in _connected:
        one.let_go()


os.register_at_fork(after_in_child=_forget_in_child)


@paths.at_home()
def begin() -> Session:
    """Use ``$REKINDLE_DIR``, else what ``rekindle up`` keeps, else an instance that lingers.

    Where none may linger: start a private one. Returns at once; ``wait`` returns when it serves.
    Raises ConnectionError, InvalidError for a wrong setting, MonkeyPatchedError, SetupError.
    """
    monkey_patched.refuse("a rekindle app")
    if (named := choosing.named()) is not None:
        say_unused(named)
        return Session(named)
    if (kept := choosing.kept()) is not None:
        if instance.answers(kept):
            say_unused(kept)
            return Session(kept)
        say("the instance of `rekindle up` does not answer; another one is used")
    surroundings.check()
    stays_s = lingering.linger_s()
    if stays_s > 0:
        place = _one_that_lingers(stays_s)
        return Session(place.directory, place=place)
    surroundings.check_file_size()
    say("no instance is up (`rekindle up` keeps one): using a private one")
    instance.sweep()
    directory = paths.new_session_dir()
    try:
        process = start_supervisor(directory, parent_pid=os.getpid())
    except BaseException:
        lingering.remove(directory)
        raise
    return Session(directory, process)


def _one_that_lingers(stays_s: float) -> _Place:
    """A place in one that is there or coming up, else in one that we bring up."""
    who = lingering.name()
    found = lingering.join(who, stays_s)
    if found is None:
        with lingering.turn():
            found = lingering.join(who, stays_s)
            if found is None:
                return _bring_up(who, stays_s)
    return _Place(*found)


def _bring_up(who: str, stays_s: float) -> _Place:
    surroundings.check_file_size()
    why = "no instance is up: starting one"
    if (other := lingering.newest()) is not None:
        from rekindle.sdk.local import unused_settings  # most programs do without

        why = f"what is up has {unused_settings.other_than(other)}: starting an instance"
    say(
        f"{why}, which stays for {lingering.shown(stays_s)} after its "
        f"last program (`rekindle down` ends it, {lingering.VARIABLE}=0 keeps it from staying)",
        stays=True,
    )
    instance.sweep()
    lingering.sweep()
    directory = paths.new_session_dir()
    try:
        instance.prepare(directory)
        with lingering.listen(who, directory) as listener:
            launcher = start_lingering(directory, listener, stays_s)
        connection = lingering.connect(directory, stays_s)
        if connection is None:
            raise ConnectionError(
                f"a rekindle instance could not be started: {_log_ends(directory)}"
            )
    except BaseException:
        lingering.remove(directory)
        raise
    return _Place(directory, connection, launcher)


def start_supervisor(directory: Path, parent_pid: int | None) -> subprocess.Popen[bytes]:
    """Start a supervisor, which says on its standard output when the instance serves.

    ``parent_pid``: of a private instance; without, it stays when this process ends.
    """
    instance.prepare(directory)
    if parent_pid is None:
        return _start(directory, [], subprocess.PIPE, stays=True)
    return _start(directory, ["--parent-pid", str(parent_pid)], subprocess.PIPE, stays=False)


def start_lingering(
    directory: Path, listener: socket.socket, stays_s: float
) -> subprocess.Popen[bytes]:
    """Start the supervisor of an instance that lingers: what is returned forks it, and ends."""
    options = ["--users-fd", str(listener.fileno()), "--stays", str(stays_s)]
    return _start(directory, options, subprocess.DEVNULL, stays=True, pass_fd=listener.fileno())


def _start(
    directory: Path, options: list[str], stdout: int, *, stays: bool, pass_fd: int | None = None
) -> subprocess.Popen[bytes]:
    """A session of its own, so that Ctrl-C reaches the caller alone."""
    environ = dict(os.environ)
    if stays:  # a daemon keeps no directory busy, and finds its home from anywhere
        environ["REKINDLE_HOME"] = str(paths.home())
    if "--parent-pid" in options or pass_fd is not None:
        environ.pop("REKINDLE_METRICS", None)  # that address is for the one that is up
    command = [sys.executable, "-P", "-m", "rekindle.sdk.local.supervisor", "--dir", str(directory)]
    try:
        with open(instance.logs_dir(directory) / "supervisor.log", "ab") as log:
            return subprocess.Popen(
                command + options,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=log,
                start_new_session=True,
                env=environ,
                cwd="/" if stays else None,
                pass_fds=() if pass_fd is None else (pass_fd,),
            )
    except BlockingIOError as error:
        raise SetupError(f"no instance can be started: {surroundings.why(error)}") from error


class _SaidNothingError(ConnectionError):
    """The supervisor ended before it said whether the instance serves."""


def wait_ready(process: subprocess.Popen[bytes], directory: Path, timeout_s: float) -> None:
    """Return when a supervisor says ``ready`` on its standard output. Raises as ``_hear_ready``."""
    assert process.stdout is not None
    try:
        _hear_ready(process.stdout.fileno(), directory, timeout_s)
    except _SaidNothingError as error:
        raise ConnectionError(str(error)) from None


def _hear_ready(said: int, directory: Path, timeout_s: float) -> bytes:
    """Return when a supervisor says ``ready``; ``said``: what it is to be read from.

    All that it has said is returned: it can be ending already.

    Raises ConnectionError with its reason, IsolationError where this user may make no namespaces,
    InvalidError for a setting.
    """
    deadline = time.monotonic() + timeout_s
    output = b""
    while b"ready\n" not in output:
        heard = readable([said], deadline - time.monotonic())
        try:
            data = os.read(said, 65536) if heard else b""
        except ConnectionResetError:
            data = b""
        output += data
        if data:
            continue
        text = output.decode(errors="replace").strip().removeprefix("failed: ")
        if text.startswith(REFUSED + INVALID):
            raise InvalidError(text.removeprefix(REFUSED + INVALID))
        if text.startswith(REFUSED):
            raise IsolationError(text.removeprefix(REFUSED))
        just_ending = text.startswith(lingering.ENDED)
        reason = text.removeprefix(lingering.ENDED) or _log_ends(directory)
        if not heard:
            reason = f"it is not ready after {timeout_s:g} s. {reason}"
        silent = heard and (not text or just_ending)
        kind = _SaidNothingError if silent else ConnectionError
        raise kind(f"a rekindle instance could not be started: {reason}")
    return output


def _log_ends(directory: Path) -> str:
    found = [
        f"{name}.log ends:\n{text}"
        for name in ("supervisor", "redis", "controller", "agent")
        if (text := instance.tail(directory, name))
    ]
    said = "\n".join(found) or "it left no log"
    if "No module named 'rekindle'" in said:  # the program has changed its own sys.path
        said += (
            f"\nrekindle is found by this program alone: put {paths.PACKAGE.parent} into "
            f"PYTHONPATH, or install it for {sys.executable}"
        )
    return said


def end_process(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """SIGTERM, wait, SIGKILL; a second Ctrl-C while waiting, or an alarm, kills at once."""
    try:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout_s)
    except BaseException as error:
        process.kill()  # its children get SIGKILL with it
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


def say_unused(directory: Path) -> None:
    """Say which settings of this program do nothing, as it uses this instance."""
    if lingering.settings(os.environ):
        from rekindle.sdk.local import unused_settings  # most programs do without

        if note := unused_settings.note(directory):
            say(note, stays=True)
