"""The instance directory: private, with a token, and with a lock that says who serves it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from pathlib import Path

from rekindle import paths
from rekindle.exception import SetupError
from rekindle.linux import files
from rekindle.wire.usercode import came_by_signal

_PID_FILE = "supervisor.pid"
#: Whoever looks whether the lock is held holds it for a moment.
_LOCK_PATIENCE_S = 2.0


def prepare(directory: Path) -> None:
    """Make the directory what it must be: mode 0700, with logs/ and a token (0600)."""
    paths.home()  # its own mode
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)
    logs_dir(directory).mkdir(exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError):  # it was not taken down
        # For its controller: programs that were told of it do not come back.
        paths.taken_down_file(directory).replace(paths.after_down_file(directory))
    token = paths.token_file(directory)
    if not token.exists() or not token.read_text().strip():  # empty after a power cut
        draft = token.with_name(f"token.{os.getpid()}")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(os.urandom(32).hex() + "\n")
        draft.replace(token)


def note_taken_down(directory: Path) -> None:
    """To be called before its supervisor is told to end: programs that wait hear of it by this."""
    with contextlib.suppress(OSError):  # it is just being removed
        paths.taken_down_file(directory).touch()


def logs_dir(directory: Path) -> Path:
    """Where the processes of an instance log."""
    return directory / "logs"


def claim(directory: Path) -> int:
    """Become the one supervisor; the lock to keep open. Raises SetupError where there is one."""
    fd = os.open(directory / _PID_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while not files.try_lock(fd):
        if time.monotonic() > deadline:
            os.close(fd)
            raise SetupError(
                f"an instance runs in {directory} already (pid {supervisor_pid(directory)}); "
                f"end it with `rekindle down`"
            )
        time.sleep(0.02)  # a lock gives no event
    os.ftruncate(fd, 0)
    os.write(fd, f"{os.getpid()}\n".encode())
    return fd


def supervisor_pid(directory: Path) -> int | None:
    """The pid of the supervisor that serves the directory; None where none does."""
    try:
        fd = os.open(directory / _PID_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(fd, 32).strip()
            return int(text) if text.isdigit() else None
        return None
    finally:
        os.close(fd)


def answers(directory: Path) -> bool:
    """Whether something accepts connections at the controller's socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(paths.controller_socket(directory)))
        except OSError as error:
            if came_by_signal(error):
                raise
            return False
    return True


def tail(directory: Path, name: str, lines: int = 5) -> str:
    """The end of a process's log, indented; empty where there is none."""
    file = logs_dir(directory) / f"{name}.log"
    try:
        text = file.read_text(errors="replace").strip()
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])


def sweep() -> None:
    """Remove private directories whose supervisor was killed before it could."""
    for directory in (*(paths.home_place() / "run").glob("rk-*"), *_elsewhere()):
        if _was_claimed(directory) and supervisor_pid(directory) is None:
            from rekindle.sdk.local import remains  # a run that finds its instance does without

            remains.remove(directory)


def _elsewhere() -> list[Path]:
    """Directories of this user's, where the home's path is too long for sockets."""
    import tempfile  # a run that finds its instance does without

    found = []
    for directory in Path(tempfile.gettempdir()).glob("rekindle-*"):
        with contextlib.suppress(OSError):
            if directory.stat().st_uid == os.geteuid():
                found.append(directory)
    return found


def clear_kept() -> None:
    """Remove what `rekindle up`'s instance has left, where it was killed."""
    directory = paths.daemon_dir()
    if not _was_claimed(directory) or supervisor_pid(directory) is not None:
        return
    from rekindle.sdk.local import remains

    with contextlib.suppress(SetupError):  # it is just being brought up
        lock = claim(directory)
        remains.clear(directory)
        os.close(lock)


def _was_claimed(directory: Path) -> bool:
    """Whether a supervisor has written its pid; one that is coming up makes the file before."""
    try:
        return (directory / _PID_FILE).stat().st_size > 0
    except OSError:
        return False
