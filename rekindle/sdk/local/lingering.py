"""An instance that stays after its last program: for how long, for whom, and where it is found.

``$REKINDLE_HOME/run/lingering-NAME`` is a link to its directory, in which its supervisor listens;
a program uses it for as long as it is connected there. NAME is made of all that another program
must have in common with the one that brought it up. Knows nothing of processes.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from rekindle import paths
from rekindle.digests import blake2b
from rekindle.exception import InvalidError
from rekindle.sdk.local import directory as instance
from rekindle.wire.environment import ENVIRONMENT_VARIABLE, passed_on_environment
from rekindle.wire.usercode import came_by_signal
from rekindle.wire.version import PROTOCOL, __version__

VARIABLE = "REKINDLE_LINGER"
#: What a supervisor says to its programs when it ends, before the reason.
ENDED = "ended: "
DEFAULT_S = 600.0

#: Settings of programs and of other instances: they change nothing in the one that lingers.
_NOT_ITS_OWN = frozenset(
    {
        *(VARIABLE, "REKINDLE_DIR", "REKINDLE_HOME", "REKINDLE_METRICS"),
        *("REKINDLE_CONNECT_TIMEOUT_S", "REKINDLE_TRACEBACK", "REKINDLE_FORCE_BUILD"),
        ENVIRONMENT_VARIABLE,
    }
)
#: Of what runners get to see, what differs from one login to the next.
_OF_A_LOGIN = frozenset({"XDG_SESSION_ID", "XDG_VTNR", "XDG_SEAT", "XDG_SESSION_TYPE"})
_PREFIX = "lingering-"
_TIME = re.compile(r"(\d+(?:\.\d+)?)(s|m|min|h|d)?")
_UNITS = {None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def linger_s(environ: Mapping[str, str] | None = None) -> float:
    """How long an instance stays after its last program, seconds; 0 where it does not.

    ``$REKINDLE_LINGER``, ten minutes unless set; 0 in continuous integration, where ``CI`` is set.
    Raises InvalidError for what is no time.
    """
    env = os.environ if environ is None else environ
    text = env.get(VARIABLE, "").strip()
    stays_s = time_s(text, f"{VARIABLE}=") if text else DEFAULT_S
    return 0.0 if in_ci(env) else stays_s


def time_s(text: str, given_as: str) -> float:
    """A time that a user gave, seconds; ``given_as``: the setting's name, for who reads the error.

    Raises InvalidError for what is no time.
    """
    found = _TIME.fullmatch(text.strip())
    seconds = float(found[1]) * _UNITS[found[2]] if found else math.inf
    if not math.isfinite(seconds):
        raise InvalidError(f"{given_as}{text!r} is no time; say 10m, 90s, 2h or 0")
    return seconds


def in_ci(environ: Mapping[str, str]) -> bool:
    """Whether this is continuous integration, as its services say it."""
    return environ.get("CI", "").strip().lower() not in ("", "0", "false")


def shown(seconds: float) -> str:
    """A time in words, in the largest unit that gives a whole number: ``10 min``, ``90 s``."""
    for unit in ("d", "h", "min"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f} {unit}"
    return f"{seconds:g} s" if seconds < 1000 else f"{seconds:.0f} s"


# ---- for whom ----------------------------------------------------------------------------------


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """What an instance takes of the environment that it is started with."""
    return {
        key: value
        for key, value in environ.items()
        if key.startswith("REKINDLE_") and key not in _NOT_ITS_OWN
    }


def must_be_the_same(environ: Mapping[str, str]) -> dict[str, str]:
    """What programs that share an instance have in common of their environments."""
    passed_on = passed_on_environment(environ)
    return settings(environ) | {k: v for k, v in passed_on.items() if k not in _OF_A_LOGIN}


def name() -> str:
    """The name of the instance that may serve this program: a digest of what must be the same.

    rekindle and its files, Python, the settings of the environment and what runners get of it, the
    user, the machine since it was started, and the namespaces: a container has its own.
    """
    environ = must_be_the_same(os.environ)
    digest = blake2b(digest_size=6)
    for part in (
        *(__version__, str(PROTOCOL), *_files(Path(paths.__file__).parent)),
        *(sys.executable, sys.prefix, sys.version),
        *(f"{key}={value}" for key, value in sorted(environ.items())),
        *(str(os.geteuid()), str(os.getegid())),
        *(os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "net", "pid", "user")),
        Path("/proc/sys/kernel/random/boot_id").read_text(),
    ):
        digest.update(part.encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()


def _files(package: Path) -> tuple[str, ...]:
    """Where rekindle lies, how many files it has, and the sum of the times of their last change.

    Not the newest time alone: who puts an older file back changes that of no other.
    """
    count, times_ns, left = 0, 0, [str(package)]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                if entry.name.endswith((".py", ".lua")):
                    count, times_ns = count + 1, times_ns + entry.stat().st_mtime_ns
                elif entry.name != "__pycache__" and entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
    return (str(package), str(count), str(times_ns))


# ---- where -------------------------------------------------------------------------------------


def socket_of(directory: Path) -> Path:
    """Where the supervisor of a lingering instance listens for programs."""
    return directory / "supervisor.sock"


def _place() -> Path:
    """Of the links and of the directories; it may not be there."""
    return paths.home_place() / "run"


def _links() -> Path:
    paths.home()
    made = _place()
    made.mkdir(exist_ok=True, mode=0o700)
    return made


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """Held by the one program that brings an instance up; others wait."""
    fd = os.open(_links(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def join(who: str, stays_s: float) -> tuple[Path, socket.socket] | None:
    """Connect to the instance of a name: its directory, and a connection; None where none is."""
    link = _place() / f"{_PREFIX}{who}"
    try:
        directory = Path(os.readlink(link))
    except OSError:
        return None
    connection = connect(directory, stays_s) if _is_here(directory) else None
    return None if connection is None else (directory, connection)


def connect(directory: Path, stays_s: float) -> socket.socket | None:
    """A connection to a supervisor, which is told how long to stay; None where it does not listen.

    The answer is what a supervisor says: ``ready``, or why not. None at all: it is ending.
    """
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(socket_of(directory)))
        connection.sendall(f"{stays_s}\n".encode())
    except OSError as error:
        connection.close()
        if came_by_signal(error):
            raise
        return None
    return connection


def listen(who: str, directory: Path) -> socket.socket:
    """Make an instance directory the one of a name; programs may connect from now on."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(paths.fitting_socket(socket_of(directory))))
        socket_of(directory).chmod(0o600)
        listener.listen(128)
        link, draft = _links() / f"{_PREFIX}{who}", directory / "link"
        draft.symlink_to(directory)
        draft.replace(link)
    except BaseException:
        listener.close()
        raise
    return listener


def _linked() -> list[tuple[Path, Path]]:
    """The links that there are, and the directories that they lead to, the newest first."""
    return [(link, directory) for link, directory in _all_linked() if _is_here(directory)]


def _all_linked() -> list[tuple[Path, Path]]:
    found = []
    for link in _place().glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # it has just gone
            found.append((link.lstat().st_mtime_ns, link, Path(os.readlink(link))))
    return [(link, directory) for _, link, directory in sorted(found, reverse=True)]


def _is_here(directory: Path) -> bool:
    """Whether it is of this home: a copy that was made while one was up has the link, too."""
    if not directory.name.startswith("rk-"):  # the home's path was too long for sockets
        return True
    with contextlib.suppress(OSError):  # by whichever of its paths
        return os.path.samefile(directory.parent, _place())
    return False


def unlink(directory: Path) -> None:
    """Let no other program find an instance."""
    for link, leads_to in _linked():
        if leads_to == directory:
            link.unlink(missing_ok=True)


def sweep() -> None:
    """Remove what is left of instances of which all processes were killed at once.

    To be called in one's ``turn``: what another program is just bringing up looks much the same.
    """
    for link, leads_to in _all_linked():
        if not leads_to.exists() or not _is_here(leads_to):
            link.unlink(missing_ok=True)
    for directory in all_here():
        if instance.supervisor_pid(directory) is None and not _listens(directory):
            remove(directory)


def _listens(directory: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(socket_of(directory)))
        except OSError:
            return False
    return True


def remove(directory: Path) -> None:
    """Remove all files of an instance that has ended."""
    from rekindle.sdk.local import remains

    unlink(directory)
    remains.remove(directory)


def is_one(directory: Path) -> bool:
    """Whether an instance directory is one of an instance that lingers, or that is just ending."""
    return socket_of(directory).exists()


def all_here() -> list[Path]:
    """The directories of the lingering instances of this home, also those that are ending."""
    linked = [directory for _, directory in _linked()]
    beside = [directory for directory in _place().glob("rk-*") if is_one(directory)]
    return list(dict.fromkeys([*linked, *beside]))


def newest() -> Path | None:
    """The directory of the one that was brought up last of those that serve."""
    for _, directory in _linked():
        if instance.supervisor_pid(directory) is not None:
            return directory
    return None
