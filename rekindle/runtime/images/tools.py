"""Programs of the node that building needs: found, or fetched into a private prefix.

uv comes as a wheel by the node's own pip; mmdebstrap, skopeo and umoci as Debian packages, whose
signatures apt verifies.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rekindle.debian import mmdebstrap
from rekindle.debian.prefix import command, replace, unpacked
from rekindle.exception import ImageError, SetupError
from rekindle.linux import programs
from rekindle.linux.whole_directory import whole_directory
from rekindle.wire.images import UV

_TOOLS = "tools"
_RELEASE = "trixie"
#: What OCI images are fetched and unpacked by.
OCI = ("skopeo", "umoci")
ALL = ("mmdebstrap", *OCI)
_OTHERWISE = "or install skopeo and umoci (apt-get install skopeo umoci)"
#: How to get what nothing here fetches.
_HOW = {
    "micromamba": "curl -Ls https://micro.mamba.pm/api/micromamba/linux-64/latest | "
    "tar -xj -C /usr/local bin/micromamba (linux-aarch64 on Arm)"
}
_PIP_TIMEOUT_S = 600.0
_ASK_TIMEOUT_S = 10.0


def prefix(store: Path, name: str) -> Path:
    """Where a tool is unpacked."""
    return store / _TOOLS / name


def find_mmdebstrap(store: Path, say: Callable[[str], None]) -> str:
    """Fetched where it is missing. Raises ImageError."""
    try:
        return mmdebstrap.find(prefix(store, "mmdebstrap"), lambda step, *_: say(step))
    except SetupError as error:
        raise ImageError(f"a Debian base needs mmdebstrap: {error}") from error


def find(name: str, store: Path, say: Callable[[str], None]) -> Path:
    """A program that commands of steps use. Raises ImageError, which says how to get it."""
    if command_of(name) == UV:
        return find_uv(store, say, name.partition("==")[2])
    found = shutil.which(name)
    if found is None:
        how = _HOW.get(name, f"install {name}")
        raise ImageError(
            f"the image needs {name}, which is not on PATH where layers are built; there: {how}"
        )
    return Path(found).resolve()


def command_of(name: str) -> str:
    """The command that a tool is called by, whichever version of it is wanted."""
    return name.partition("==")[0]


def check(names: Sequence[str]) -> None:
    """Raises ImageError for a program that is missing and that nothing here fetches."""
    for name in names:
        if name in _HOW:
            find(name, Path(), lambda _: None)


def find_uv(store: Path, say: Callable[[str], None], version: str = "") -> Path:
    """The uv of this node, or one of a version; fetched by pip where it is missing.

    Raises ImageError.
    """
    found = shutil.which(UV)
    if found and version in ("", _version_of(found)):
        return Path(found).resolve()
    wanted = f"{UV}=={version}" if version else UV
    target = prefix(store, wanted)
    program = target / "bin" / "uv"
    if program.exists():
        return program
    say(f"fetching {wanted}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_directory(target) as draft:
            _fetch_uv(draft, wanted)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageError(f"uv could not be fetched: {error}; install uv") from error
    return program


def _version_of(uv: str) -> str:
    """What it says; nothing where it does not run."""
    try:
        said = programs.run([uv, "--version"], _ASK_TIMEOUT_S).stdout.split()
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said[1] if len(said) > 1 else ""


def _fetch_uv(into: Path, wanted: str) -> None:
    """Raises ImageError, OSError, TimeoutExpired."""
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-deps"]
    argv += ["--disable-pip-version-check", "--target", str(into), wanted]
    done = programs.run(argv, _PIP_TIMEOUT_S)
    if done.returncode != 0 or not (into / "bin" / "uv").exists():
        said = (done.stderr.strip().splitlines() or ["pip put no bin/uv there"])[-1]
        raise ImageError(
            f"the image needs {wanted}, which is not on PATH, and pip could not get it: {said}; "
            f"install {wanted} where the node's agent finds it"
        )


def find_oci(store: Path, name: str) -> list[str]:
    """The command that is skopeo or umoci. Raises ImageError, which says how to get it."""
    found = shutil.which(name)
    fetched = prefix(store, "oci") / "usr" / "bin" / name
    if found is None and not fetched.exists():
        raise ImageError(
            f"an image of a registry or an archive needs {name}, which this machine lacks: "
            f"`rekindle setup images` fetches it, {_OTHERWISE}"
        )
    return [found] if found else command(prefix(store, "oci"), fetched)


def has(store: Path, name: str) -> bool:
    """Whether skopeo, or umoci, is there."""
    fetched = prefix(store, "oci") / "usr" / "bin" / name
    return shutil.which(name) is not None or fetched.exists()


def forget(store: Path) -> None:
    """Remove what was fetched."""
    shutil.rmtree(store / _TOOLS, ignore_errors=True)


def fetch_oci(store: Path, progress: Callable[[str, int, int], None]) -> Path:
    """Fetch skopeo and umoci with what they need; the prefix. Raises SetupError."""
    target = prefix(store, "oci")
    with unpacked(
        *(target, _RELEASE, OCI, (), progress), what="skopeo and umoci", otherwise=_OTHERWISE
    ) as tree:
        replace(target, tree)
    return target
