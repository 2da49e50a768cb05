"""A session: the instance that a program uses. What is up, or a private one for its duration."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rekindle import paths
from rekindle.exception import ConnectionError, InvalidError, IsolationError
from rekindle.sdk.local import directory as instance
from rekindle.wire.ready import INVALID, REFUSED

#: A private instance has so long to come up.
START_S = 60.0
#: From asking a supervisor to end to killing it; longer than it takes to kill its children.
END_S = 70.0

#: Gets, in words, which instance is used; the command line shows it.
announce: Callable[[str], None] | None = None


class Session:
    """An instance in use. A private one ends with ``end``, or with this process at the latest."""

    def __init__(self, directory: Path, process: subprocess.Popen[bytes] | None) -> None:
        self.directory = directory
        self._process = process
        self._owner = os.getpid()

    @property
    def private(self) -> bool:
        """Whether the instance is this session's own."""
        return self._process is not None

    def alive(self) -> bool:
        """Whether its supervisor lives; of an instance that is not its own: True, unchecked."""
        return not self.private or instance.supervisor_pid(self.directory) is not None

    def wait(self, timeout_s: float = START_S) -> Path:
        """The instance directory, once the instance serves. Raises ConnectionError."""
        if self._process is not None:
            wait_ready(self._process, self.directory, timeout_s)
        return self.directory

    def end(self, *, at_once: bool = False) -> None:
        """Take a private instance down and remove its directory; leave any other as it is.

        ``at_once``: without waiting for exit hooks and snapshots.
        """
        process, self._process = self._process, None
        if process is None or os.getpid() != self._owner:  # a forked child owns nothing
            return
        try:
            end_process(process, 0.0 if at_once else END_S)
        finally:
            if process.stdout is not None:
                process.stdout.close()
            shutil.rmtree(self.directory, ignore_errors=True)
            from rekindle.sdk.connection import client

            client.forget(self.directory)


def begin() -> Session:
    """Use ``$REKINDLE_DIR``, else what ``rekindle up`` keeps, else start a private instance.

    Returns at once; ``wait`` returns when it serves. Raises ConnectionError.
    """
    named = os.environ.get("REKINDLE_DIR")
    if named:
        chosen = Path(named).absolute()
        if not paths.token_file(chosen).exists():
            raise ConnectionError(
                f"REKINDLE_DIR={named} is no instance directory (it has no token); "
                f"unset it, or point it at the directory that `rekindle up` prints"
            )
        return Session(chosen, None)
    daemon = paths.daemon_dir()
    if instance.supervisor_pid(daemon) is not None:
        if instance.answers(daemon):
            return Session(daemon, None)
        _announce("the instance of `rekindle up` does not answer; using a private one")
    else:
        _announce("no instance is up (`rekindle up` keeps one): using a private one")
    instance.sweep()
    directory = paths.new_session_dir()
    try:
        process = start_supervisor(directory, parent_pid=os.getpid())
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return Session(directory, process)


def start_supervisor(directory: Path, parent_pid: int | None) -> subprocess.Popen[bytes]:
    """Start a supervisor in a session of its own, so that Ctrl-C reaches the caller alone."""
    instance.prepare(directory)
    environ = dict(os.environ)
    if parent_pid is None:  # a daemon keeps no directory busy, and finds its home from anywhere
        environ["REKINDLE_HOME"] = str(paths.home())
    command = [sys.executable, "-P", "-m", "rekindle.sdk.local.supervisor", "--dir", str(directory)]
    if parent_pid is not None:
        command += ["--parent-pid", str(parent_pid)]
        environ.pop("REKINDLE_METRICS", None)  # that address is for the one that is up
    with open(instance.logs_dir(directory) / "supervisor.log", "ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            env=environ,
            cwd="/" if parent_pid is None else None,
        )


def wait_ready(process: subprocess.Popen[bytes], directory: Path, timeout_s: float) -> None:
    """Return when the supervisor says ``ready``.

    Raises ConnectionError with its reason, IsolationError where this user may make no namespaces,
    InvalidError for a setting.
    """
    assert process.stdout is not None
    deadline = time.monotonic() + timeout_s
    output = b""
    while b"ready\n" not in output:
        readable, _, _ = select.select([process.stdout], [], [], deadline - time.monotonic())
        data = os.read(process.stdout.fileno(), 65536) if readable else b""
        output += data
        if data:
            continue
        text = output.decode(errors="replace").strip().removeprefix("failed: ")
        if text.startswith(REFUSED + INVALID):
            raise InvalidError(text.removeprefix(REFUSED + INVALID))
        if text.startswith(REFUSED):
            raise IsolationError(text.removeprefix(REFUSED))
        reason = text or _log_ends(directory)
        if not readable:
            reason = f"it is not ready after {timeout_s:g} s. {reason}"
        raise ConnectionError(f"a rekindle instance could not be started: {reason}")


def _log_ends(directory: Path) -> str:
    found = [
        f"{name}.log ends:\n{text}"
        for name in ("supervisor", "redis", "controller", "agent")
        if (text := instance.tail(directory, name))
    ]
    return "\n".join(found) or "it left no log"


def end_process(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """SIGTERM, wait, SIGKILL; a second Ctrl-C while waiting kills at once."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(timeout_s)
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        process.kill()  # its children get SIGKILL with it
        process.wait()
        if isinstance(error, KeyboardInterrupt):
            raise


def _announce(text: str) -> None:
    if announce is not None:
        announce(text)
