"""Where rekindle keeps things on a machine.

One directory, ``$REKINDLE_HOME`` or ``~/.rekindle``, private to its user. Standard library only:
templates import this.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from rekindle.exception import InvalidError, SetupError

#: Unix socket paths longer than this do not fit sockaddr_un (108 bytes with the final NUL).
MAX_SOCKET_PATH = 100


_FULL = (errno.ENOSPC, errno.EDQUOT)
#: Of a place that is another's, read-only, or none at all.
_UNUSABLE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR),
)
#: Less than this on a disk is none: a file takes whole blocks.
_NO_ROOM_BYTES = 1 << 16
#: Names where layers of images are.
IMAGES = "REKINDLE_IMAGES"
#: Where this package is installed.
PACKAGE = Path(__file__).parent
#: Shared memory: each runner has its own there, and sees nothing of the machine's.
SHARED_MEMORY = Path("/dev/shm")


def fitting_socket(path: Path) -> Path:
    """The same path. Raises SetupError for one that is too long for a socket."""
    size = len(os.fsencode(path))
    if size > MAX_SOCKET_PATH:
        raise SetupError(
            f"the socket path {path} has {size} bytes, more than the {MAX_SOCKET_PATH} that fit; "
            "choose a shorter directory (REKINDLE_HOME)"
        )
    return path


def working_directory() -> str:
    """Where this process is. Raises InvalidError where that was deleted meanwhile."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise InvalidError(
            "the working directory was deleted: change (cd) into one that is there"
        ) from None


def is_hidden_from_runners(path: Path) -> bool:
    """Whether a place is in shared memory, where each runner has its own."""
    # Not by Path.resolve(), which raises an error of its own for links that lead in a circle.
    return Path(os.path.realpath(path)).is_relative_to(SHARED_MEMORY)


def _seen_by_runners(path: Path, variable: str) -> Path:
    """The same path. Raises SetupError for one that is not there in a runner."""
    if is_hidden_from_runners(path):
        raise SetupError(_hidden(path, variable))
    return path


def _hidden(path: Path, variable: str) -> str:
    return (
        f"{path} is in {SHARED_MEMORY}, of which each runner has its own, so that none finds what "
        f"rekindle keeps there; set {variable} to a directory elsewhere"
    )


def home_place() -> Path:
    """Where ``home()`` is, or would be: who only looks makes nothing.

    A ``~`` that no shell has replaced is the user's home. Raises InvalidError for one of nobody,
    SetupError for a user who has no home directory, where nothing names another.
    """
    named = os.environ.get("REKINDLE_HOME")
    users = os.environ.get("HOME", "/")
    if not os.path.isabs(users) and (named or "~").partition("/")[0] == "~":
        raise SetupError(  # it would be another directory wherever one is; of "" the root
            f"HOME={users!r} is no path in full: set it, or REKINDLE_HOME, to a directory that can "
            f"be written"
        )
    try:
        path = Path(named or "~/.rekindle").expanduser().absolute()
    except RuntimeError:
        if named:
            raise InvalidError(
                f"this machine knows no home for REKINDLE_HOME={named!r}: set it to a path in full"
            ) from None
        raise SetupError(
            f"this user (uid {os.geteuid()}) has no home directory, and HOME is not set: set "
            f"REKINDLE_HOME to a directory that can be written"
        ) from None
    _refuse_no_text(path)
    return path


def _refuse_no_text(path: Path) -> None:
    # Messages carry paths as UTF-8, and a line of a configuration ends with a newline.
    try:
        is_text = not any(ord(one) < 32 for one in str(path)) and bool(str(path).encode())
    except UnicodeEncodeError:
        is_text = False
    if not is_text:
        raise InvalidError(
            f"{str(path)!r}, where rekindle keeps things, is no line of text in UTF-8: set "
            f"REKINDLE_HOME to another directory"
        )


def home() -> Path:
    """rekindle's own directory on this machine; made with mode 0700 where missing.

    Raises SetupError where it cannot be made, or runners would not find it.
    """
    path = _seen_by_runners(home_place(), "REKINDLE_HOME")
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        reason = "it is no directory" if isinstance(error, FileExistsError) else error.strerror
        raise SetupError(
            f"{path}, where rekindle keeps things, cannot be made ({reason}); "
            f"set REKINDLE_HOME to a directory that can be written"
        ) from error
    return path


def unwritable(error: OSError) -> SetupError | None:
    """What to say of an error of rekindle's own directory, which cannot be written to; None of
    any other."""
    home = home_place()
    if error.errno in _FULL:
        if error.filename is None and not _has_no_room(home):
            return None
        if error.filename is not None and not _is_in(home, error.filename):
            return None
        return SetupError(
            f"the disk of {home}, where rekindle keeps things, is full ({error.strerror}): free "
            f"space there, or set REKINDLE_HOME to a directory on another disk"
        )
    if error.errno not in _UNUSABLE or error.filename is None:
        return None
    if not _is_in(home, error.filename):
        return None
    return SetupError(
        f"{os.fsdecode(error.filename)} cannot be used ({error.strerror}): {home}, where rekindle "
        f"keeps things, is to be this user's (uid {os.geteuid()}) and writable; make it so, or set "
        f"REKINDLE_HOME to another directory"
    )


def _is_in(home: Path, name: str | bytes | int) -> bool:
    return not isinstance(name, int) and Path(os.fsdecode(name)).is_relative_to(home)


def _has_no_room(home: Path) -> bool:
    try:
        found = os.statvfs(home)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _NO_ROOM_BYTES


@contextlib.contextmanager
def at_home() -> Iterator[None]:
    """Within, what fails because ``home()`` cannot be written to raises SetupError."""
    try:
        yield
    except OSError as error:
        if (said := unwritable(error)) is None:
            raise
        raise said from error


def named(variable: str) -> Path | None:
    """The place that a variable names; None where it is not set.

    Raises InvalidError for a relative one, as an instance works in another directory than programs,
    and for one that can never be, as it lies in a file.
    """
    place = named_unseen(variable)
    if place is not None:
        refuse_in_file(place, f"{variable}=")
    return place


def named_folder(variable: str) -> Path | None:
    """The same, of what is a folder, or is to be one. Raises InvalidError for a file."""
    place = named(variable)
    # Whether it is there may not be for this user to see; who wants it says so.
    if place is not None and os.path.exists(place) and not os.path.isdir(place):
        raise InvalidError(f"{variable}={place} is no folder: name another place")
    return place


def named_for_runners(variable: str) -> Path | None:
    """The same, of what runners use by its path. Raises InvalidError where none would find it."""
    place = named_folder(variable)
    if place is not None and is_hidden_from_runners(place):
        raise InvalidError(_hidden(place, variable))
    return place


def named_unseen(variable: str) -> Path | None:
    """As ``named``, without a look at the place, which may be where nothing answers.

    Raises InvalidError for a relative one.
    """
    text = os.environ.get(variable)
    if not text:
        return None
    if not os.path.isabs(text):
        raise InvalidError(f"{variable}={text!r} must be an absolute path")
    return Path(text)


def refuse_in_file(path: Path, what: str) -> None:
    """Raises InvalidError for a path that goes through what is no folder, or is too long for one;
    ``what`` begins that."""
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidError(f"{what}{path}: {error.strerror}") from None
    above = next((one for one in path.parents if os.path.lexists(one)), None)
    if above is not None and not above.is_dir():
        raise InvalidError(f"{what}{path} is in {above}, which is no folder: name another place")


def snapshots_dir() -> Path:
    """The snapshot store: it outlives daemons and reboots."""
    return home() / "snapshots"


def lazy_dir() -> Path:
    """What has arrived of blobs that are read before all of them is here."""
    return home() / "lazy"


def sources_dir() -> Path:
    """Unpacked source bundles by content address."""
    return home() / "sources"


def driver_dir() -> Path:
    """The node's NVIDIA driver, as images are shown it: one directory a version."""
    return home() / "driver"


def runner_code_dir() -> Path:
    """The code that runs beside user code in images: one directory a version."""
    return home() / "runner-code"


def images_dir() -> Path:
    """Layers of images and what they are built with: ``$REKINDLE_IMAGES`` or ``home()``'s own.

    Raises InvalidError.
    """
    return named_folder(IMAGES) or home() / "images"


def images_place() -> Path:
    """Where ``images_dir()`` is, or would be: who only looks makes nothing."""
    return named_folder(IMAGES) or home_place() / "images"


def local_files_dirs() -> list[Path]:
    """Where copies of the local files of images are: beside the layers, and in ``home()`` those of
    a user whose layers are another one's."""
    return list(dict.fromkeys([images_dir() / "files", home() / "images" / "files"]))


def shared_store_url() -> str:
    """``$REKINDLE_STORE_URL``: where nodes share snapshots and layers; "": each has its own."""
    return os.environ.get("REKINDLE_STORE_URL", "").strip()


def daemon_dir() -> Path:
    """Sockets, token, logs and queue of the instance that ``rekindle up`` keeps."""
    return home_place() / "daemon"


def new_session_dir() -> Path:
    """A fresh directory for a private instance (``rekindle run`` without ``rekindle up``).

    Lies under ``home()`` unless the sockets in it would have paths that are too long. Raises
    SetupError where runners would not find it.
    """
    import tempfile  # loads a dozen modules that no runner needs

    base = home() / "run"
    if len(os.fsencode(base)) + len("/rk-xxxxxxxx/controller.sock") > MAX_SOCKET_PATH:
        _seen_by_runners(Path(tempfile.gettempdir()), "TMPDIR")
        return Path(tempfile.mkdtemp(prefix="rekindle-"))
    base.mkdir(exist_ok=True, mode=0o700)
    return Path(tempfile.mkdtemp(prefix="rk-", dir=base))


def controller_socket(instance: Path) -> Path:
    """The controller's gRPC socket of an instance directory."""
    return instance / "controller.sock"


def agent_socket(instance: Path) -> Path:
    """Where the processes of a node connect back to their agent."""
    return instance / "agent.sock"


def direct_socket(instance: Path) -> Path:
    """Where clients take up leases on runners of the node."""
    return instance / "direct.sock"


def objects_socket(instance: Path) -> Path:
    """Where programs and runners reach Dict and Queue."""
    return instance / "objects.sock"


def requests_socket(instance: Path) -> Path:
    """Where short programs make requests of the controller, without gRPC."""
    return instance / "requests.sock"


def terminal_socket(instance: Path, app_id: str) -> Path:
    """Where runners of an app reach the terminal of its program, if that lends it."""
    return instance / f"{app_id}.tty"


def taken_down_file(instance: Path) -> Path:
    """There, where `rekindle down` has ended the instance, until it is up again."""
    return instance / "taken-down"


def after_down_file(instance: Path) -> Path:
    """There from the `rekindle up` after a `rekindle down` until the controller has acted on it."""
    return instance / "after-down"


def token_file(instance: Path) -> Path:
    """The shared secret of an instance (mode 0600)."""
    return instance / "token"
