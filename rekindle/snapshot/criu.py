"""Find a CRIU that works on this machine.

Looks at ``$REKINDLE_CRIU``, then at the private prefix that ``rekindle setup criu`` fills, then on
``$PATH``. What works is remembered in a small file keyed by kernel, binary and privileges, because
every start of an agent asks. Knows nothing of snapshots.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from rekindle import paths
from rekindle.exception import CriuNotFoundError, SetupError
from rekindle.linux import capabilities, namespaces, programs
from rekindle.linux.passing import is_passing, says_passing
from rekindle.snapshot import files

log = logging.getLogger(__name__)

MIN_VERSION = (4, 0, 0)
_CAP_SYS_ADMIN = 1 << 21
_CAP_CHECKPOINT_RESTORE = 1 << 40
#: CRIU is installed where users who are not root do not look.
_SYSTEM_PATH = ":/usr/local/sbin:/usr/sbin:/sbin"
_CHECK_TIMEOUT_S = 60.0
#: ``criu check`` by a user who is not root.
FEATURES_OF_A_USER = (
    "--no-default-config",
    "--unprivileged",
    "--feature",
    "clone3_set_tid",
)
#: Names the one to use.
VARIABLE = "REKINDLE_CRIU"
_REMEDY = "run `rekindle setup criu`, or set REKINDLE_CRIU to a working one"
#: What its check says where it is not CRIU that is to be changed, and what is.
_IN_ITS_WAY = {
    "connect a socket: Network is unreachable": "bring the loopback up (ip link set lo up)",
    "on procfs: Read-only file system": "mount /proc so that it can be written to",
    "/tmp/.criu.": "let CRIU make and mount directories in /tmp",
}


class CriuNotAskedError(CriuNotFoundError):
    """Whether a CRIU works could not be found out just now: there was no memory, say."""


@dataclass(frozen=True)
class Criu:
    """A CRIU that can be run: ``argv`` is what comes before CRIU's own arguments."""

    argv: tuple[str, ...]
    version: str  # with the GitID of a build from git: two of one version read each other's images
    binary: str  # the CRIU executable itself
    prefix: str = ""  # where it was unpacked; "" for the machine's own
    #: Run in a user namespace of ours: by a user who is not root, or is that of one alone.
    unprivileged: bool = False


def default_prefix() -> Path:
    """Where ``rekindle setup criu`` unpacks a private CRIU and pycriu: next to the interpreter."""
    return Path(sys.prefix) / "share" / "rekindle" / "criu"


@functools.lru_cache(maxsize=8)
def _find(chosen: str | None, prefix: str, search: str) -> Criu:
    if chosen:
        try:
            return _usable(_candidate(Path(chosen)))
        except CriuNotFoundError as error:
            said = f"REKINDLE_CRIU={chosen}: {error}"
            if remedy := remedy_of_surroundings(said):
                said += f": {remedy}"
            raise type(error)(said) from None
    reasons, kind = [], CriuNotFoundError
    for path in (prefix, shutil.which("criu", path=search + _SYSTEM_PATH)):
        if not path or not os.path.exists(path):
            continue
        try:
            return _usable(_candidate(Path(path)))
        except CriuNotFoundError as error:
            reasons.append(f"{path}: {error}")
            if isinstance(error, CriuNotAskedError):
                kind = CriuNotAskedError
    found = "; ".join(reasons) or f"neither in {prefix} nor on PATH"
    remedy = remedy_of_surroundings(found) or _REMEDY
    raise kind(f"no working CRIU on this machine ({found}): {remedy}")


def remedy_of_surroundings(why_not: str) -> str:
    """What to do where CRIU would work in other surroundings; "" where that is not seen."""
    return next((do for said, do in _IN_ITS_WAY.items() if said in why_not), "")


def find() -> Criu:
    """The CRIU to use on this machine.

    Raises CriuNotFoundError, naming what was looked at and why it does not do; CriuNotAskedError
    where that may be another answer later.
    """
    return _find(
        os.environ.get(VARIABLE), str(default_prefix()), os.environ.get("PATH", os.defpath)
    )


def forget() -> None:
    """Look again at the next ``find``; for set-up, which changes what there is to find."""
    _find.cache_clear()


def at(path: Path) -> Criu:
    """The CRIU that is unpacked in the directory ``path``, or is the file ``path``.

    Raises CriuNotFoundError when it does not work.
    """
    return _usable(_candidate(path))


def unchecked(path: Path) -> Criu:
    """The same without asking the kernel: for set-up by a user who may not run it.

    Raises CriuNotFoundError when it does not start or is too old.
    """
    return _described(_candidate(path))


def may_be_asked() -> bool:
    """Whether CRIU, when installed, can be run to ask the kernel what it can do."""
    return is_privileged() or (_is_unprivileged() and _user_namespaces_work())


def _user_namespaces_work() -> bool:
    try:
        _run((*_in_user_namespace(), sys.executable), "-S", "-c", "")
    except CriuNotFoundError as error:
        log.info("no user namespaces: %s", error)
        return False
    return True


def _in_user_namespace() -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "rekindle.runtime.isolation.privilege")


def _is_unprivileged() -> bool:
    # Root of a user namespace that lives in another one's namespaces is nobody to these.
    return os.geteuid() != 0 or not namespaces.owns_pid_namespace()


def is_privileged() -> bool:
    """Whether this process has the capabilities that CRIU asks for, whatever is installed."""
    return bool(capabilities.current()[0] & (_CAP_SYS_ADMIN | _CAP_CHECKPOINT_RESTORE))


def _candidate(path: Path) -> Criu:
    """What an executable or a prefix directory has to offer; its version is not known yet."""
    path = path.absolute()
    if not path.is_dir():
        if not path.exists():
            raise CriuNotFoundError("no such file")
        if not os.access(path, os.X_OK):
            raise CriuNotFoundError("not executable")
        return Criu((str(path),), "", str(path), unprivileged=_is_unprivileged())
    binary = path / "usr" / "sbin" / "criu"
    if not binary.exists():
        raise CriuNotFoundError("holds no usr/sbin/criu")
    # The C library in the prefix is newer than the machine's may be: start through its own loader.
    loaders, libraries = (
        [str(found) for root in (path / "usr", path) for found in sorted(root.glob(pattern))]
        for pattern in ("lib*/ld-linux*.so.*", "lib/*-linux-gnu*")
    )
    if not loaders or not libraries:
        raise CriuNotFoundError("holds no dynamic loader or no libraries; fetch it again")
    argv = (loaders[0], "--library-path", ":".join(libraries), str(binary))
    return Criu(argv, "", str(binary), str(path), _is_unprivileged())


def _usable(candidate: Criu) -> Criu:
    key = _verdict_key(candidate)
    remembered = files.recall(_verdict_file()).get(candidate.binary)
    if isinstance(remembered, dict) and remembered.get("key") == key:
        return replace(candidate, version=str(remembered["version"]))
    found = _described(candidate)
    if found.unprivileged:
        # As it will run: with every capability, but of a user namespace only. It cannot be asked
        # for all of `check`, which looks at what root alone has and what we do without.
        _run((*_in_user_namespace(), *found.argv), "check", *FEATURES_OF_A_USER)
    elif not is_privileged():
        raise CriuNotFoundError(
            "needs the capability CAP_SYS_ADMIN, which this root lacks: run the container with it, "
            "or as a user who is not root"
        )
    else:
        _run(found.argv, "check", "--no-default-config")
    verdict = {"key": key, "version": found.version}
    with contextlib.suppress(SetupError):  # who needs more of the home than a note says so
        if not os.access(paths.home(), os.W_OK):
            return found
        files.remember(_verdict_file(), files.recall(_verdict_file()) | {found.binary: verdict})
    return found


def _described(candidate: Criu) -> Criu:
    text = _run(candidate.argv, "--version")
    version = parse_version(text)
    if version < MIN_VERSION:
        wanted = ".".join(map(str, MIN_VERSION[:2]))
        raise CriuNotFoundError(f"is version {'.'.join(map(str, version))}, {wanted} is needed")
    return replace(candidate, version=_version_text(text))


def _run(argv: tuple[str, ...], *arguments: str) -> str:
    try:
        done = programs.run([*argv, *arguments], _CHECK_TIMEOUT_S)
    except OSError as error:
        kind = CriuNotAskedError if is_passing(error) else CriuNotFoundError
        raise kind(f"cannot be started: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise CriuNotAskedError(
            f"`criu {arguments[0]}` did not end in {_CHECK_TIMEOUT_S:g} s"
        ) from None
    if done.returncode < 0:  # by whoever makes room, or an operator
        killed_by = signal.Signals(-done.returncode).name
        raise CriuNotAskedError(f"`criu {arguments[0]}` was ended by {killed_by}")
    if done.returncode != 0:
        text = done.stderr + done.stdout
        kind = CriuNotAskedError if says_passing(text) else CriuNotFoundError
        raise kind(f"`criu {arguments[0]}` fails: {_last_errors(text)}")
    return done.stdout


def _last_errors(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line] or lines
    return " / ".join(errors[-3:]) or "no output"


def parse_version(text: str) -> tuple[int, int, int]:
    """(major, minor, patch) of CRIU's ``--version`` output. Raises CriuNotFoundError."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if found is None:
        raise CriuNotFoundError(f"reports no version: {text.strip()[:80]!r}")
    return int(found[1]), int(found[2]), int(found[3] or 0)


def _version_text(text: str) -> str:
    """Version and, for a build from git, its GitID: images may differ between such builds."""
    fields = dict(re.findall(r"^(Version|GitID):\s*(\S+)", text, flags=re.MULTILINE))
    version = fields.get("Version") or ".".join(map(str, parse_version(text)))
    git = fields.get("GitID", "")
    return f"{version} ({git})" if git not in ("", "0", f"v{version}") else version


def _verdict_key(candidate: Criu) -> str:
    kernel = os.uname()
    capable = f"{capabilities.current()[0]:x}"
    parts = [kernel.release, kernel.version, str(os.geteuid()), capable]
    parts.append(str(candidate.unprivileged))
    for path in (candidate.binary, candidate.argv[0]):
        info = os.stat(path)
        parts.append(f"{info.st_ino}:{info.st_size}:{info.st_mtime_ns}")
    return " ".join(parts)


def _verdict_file() -> Path:
    return paths.home_place() / "criu-verdict.json"
