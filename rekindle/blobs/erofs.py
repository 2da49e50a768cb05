"""mkfs.erofs, and what the kernel does with EROFS files.

The machine's own program, or the one that ``rekindle setup lazy`` unpacked into a private prefix,
which is run by the C library that it came with.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

from rekindle.exception import LayerError, SetupError
from rekindle.linux import mounts, programs

SET_UP = "run `rekindle setup lazy`, or install the package erofs-utils"
_TIMEOUT_S = 1800.0
_MAKES, _UNPACKS = "mkfs.erofs", "fsck.erofs"
_SYSTEM_PATH = ":/usr/local/sbin:/usr/sbin:/sbin"
#: Of a kernel that mounts EROFS from block devices alone.
_NEEDS_A_DEVICE = (errno.ENOTBLK,)


def default_prefix() -> Path:
    """Where ``rekindle setup lazy`` unpacks a private mkfs.erofs: next to the interpreter."""
    return Path(sys.prefix) / "share" / "rekindle" / "erofs"


def at(prefix: Path, program: str = _MAKES) -> list[str] | None:
    """The command of a prefix; None where it has none."""
    binary = prefix / "usr" / "bin" / program
    if not binary.exists():
        return None
    loaders, libraries = (
        [str(found) for root in (prefix / "usr", prefix) for found in sorted(root.glob(pattern))]
        for pattern in ("lib*/ld-linux*.so.*", "lib/*-linux-gnu*")
    )
    if not loaders or not libraries:
        return None
    return [loaders[0], "--library-path", ":".join(libraries), str(binary)]


def find(program: str = _MAKES) -> list[str]:
    """The command. Raises SetupError where there is none, saying how to get it."""
    if (private := at(default_prefix(), program)) is not None:
        return private
    found = shutil.which(program, path=os.environ.get("PATH", os.defpath) + _SYSTEM_PATH)
    if found is None:
        raise SetupError(f"there is no {program}: {SET_UP}")
    return [found]


def kernel_has_it() -> bool:
    """Whether this kernel knows EROFS, as far as it says: a module may not be loaded yet."""
    try:
        known = Path("/proc/filesystems").read_text().split()
    except OSError:
        return False
    return "erofs" in known or bool(
        list(Path("/lib/modules", os.uname().release).glob("kernel/fs/erofs/*"))
    )


def make(directory: Path, target: Path) -> None:
    """Write a directory as one EROFS file, times of files to the nanosecond.

    Not compressed: the store does that chunk by chunk, and what is mapped needs no second copy. The
    same files make the same bytes, but for the moment at which it was made, in the first chunk.
    Raises SetupError, LayerError.
    """
    argv = [
        *("nice", "-n", "19"),  # nobody waits for it
        *find(),
        "--quiet",
        "--preserve-mtime",
        *("-U", "00000000-0000-0000-0000-000000000000"),
        *(str(target), str(directory)),
    ]
    _run(argv, f"{directory} cannot be made an EROFS file")


def mount(file: Path, directory: Path) -> None:
    """Mount an EROFS file, read-only; from a loop device where this kernel needs one.

    Raises LayerError.
    """
    try:
        mounts.mount(str(file), str(directory), "erofs", mounts.MS_RDONLY | mounts.MS_NODEV)
    except OSError as error:
        if error.errno not in _NEEDS_A_DEVICE:
            none = "; `rekindle doctor` says whether this kernel has EROFS"
            raise LayerError(
                f"{file} cannot be mounted at {directory}: {error.strerror}"
                f"{none if error.errno == errno.ENODEV else ''}"
            ) from error
        argv = ["mount", "-t", "erofs", "-o", "ro,nodev,loop", str(file), str(directory)]
        _run(argv, f"{file} cannot be mounted at {directory} from a loop device")


def unpack(file: Path, directory: Path) -> None:
    """Write what an EROFS file holds to a new directory, without a mount.

    With its extended attributes and owners where this is root. Raises SetupError, LayerError.
    """
    options = ["--xattrs", "--preserve"] if os.geteuid() == 0 else ["--preserve-perms"]
    argv = [*find(_UNPACKS), "-d0", *options, f"--extract={directory}", str(file)]
    _run(argv, f"{file} cannot be unpacked to {directory}")


def unmount(directory: Path) -> None:
    """Take a mount away; who has a file of it open keeps that. Raises LayerError."""
    try:
        mounts.unmount(str(directory))
    except OSError as error:
        raise LayerError(f"{directory} cannot be unmounted: {error.strerror}") from error


def _run(argv: list[str], problem: str) -> None:
    try:
        done = programs.run(argv, _TIMEOUT_S)
    except OSError as error:
        raise LayerError(f"{problem}: {argv[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise LayerError(f"{problem}: {argv[0]} took longer than {_TIMEOUT_S:g} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise LayerError(f"{problem}: {' / '.join(said) or f'exit status {done.returncode}'}")
