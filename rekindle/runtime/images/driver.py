"""The node's NVIDIA driver, as a directory that functions with ``gpu=`` are shown in an image.

Its libraries belong to the kernel's module, so no image can bring them. Found where ldconfig names
them and at known places; what of them computing needs is linked, or copied, into a directory of its
own, once a version. Knows nothing of mounts, devices and processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from rekindle import paths
from rekindle.exception import InvalidError
from rekindle.linux.kept_directories import use
from rekindle.linux.whole_directory import whole_directory

#: Where its libraries and programs are, where that is none of the places below.
VARIABLE = "REKINDLE_DRIVER_DIR"
#: In the directory.
LIBRARIES, PROGRAMS = "lib", "bin"

_FIRST = "libcuda.so.1"
_NAMES = (
    *("cuda", "cudadebugger", "nvcuvid", "nvidia-ml", "nvidia-cfg", "nvidia-nvvm"),
    *("nvidia-ptxjitcompiler", "nvidia-gpucomp", "nvidia-allocator", "nvidia-opencl"),
    *("nvidia-encode", "nvidia-opticalflow", "nvidia-pkcs11", "nvidia-pkcs11-openssl3"),
    "nvidia-sandboxutils",
)
_LIBRARY = re.compile(rf"lib({'|'.join(_NAMES)})\.so(\.[0-9]+)*")
_SMI = "nvidia-smi"
_MACHINE = platform.machine()
_KNOWN = (
    *(f"/usr/lib/{_MACHINE}-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/nvidia/lib64"),
    *(f"/usr/lib/{_MACHINE}-linux-gnu/nvidia/current", "/usr/lib/wsl/lib"),
    *("/run/opengl-driver/lib", "/run/nvidia/driver/usr/lib/x86_64-linux-gnu"),
)
_LDCONFIG = ("/sbin/ldconfig", "/usr/sbin/ldconfig", "/sbin/ldconfig.real")
_ARCHITECTURES = {"x86_64": "x86-64", "aarch64": "AArch64"}


def provide(into: Path) -> Path | None:
    """The directory, below ``into``: made where it is missing; None where the node has no driver.
    Raises OSError, and InvalidError where the environment names a place that has none."""
    found = _found()
    if found is None:
        return None
    files = dict(sorted(_files(*found)))
    digest = hashlib.sha256()
    for name, path in files.items():
        info = path.stat()
        digest.update(f"{name} {path.name} {info.st_size} {info.st_mtime_ns}\n".encode())
    target = into / digest.hexdigest()[:16]
    if use(target):
        return target
    with whole_directory(target) as draft:
        draft.chmod(0o755)
        for name, path in files.items():
            place = draft / name
            place.parent.mkdir(exist_ok=True)
            real = place.with_name(path.name)
            if not real.exists():
                _put(path, real)
            if place.name != path.name:
                place.symlink_to(path.name)
    return target


def _put(path: Path, place: Path) -> None:
    with contextlib.suppress(OSError):  # on another disk, say
        os.link(path, place)
        return
    shutil.copy2(path, place)


def check() -> None:
    """Raises InvalidError where ``$REKINDLE_DRIVER_DIR`` names a directory without a driver."""
    if paths.named(VARIABLE) is not None:
        _found()


def _found() -> tuple[Path, Path | None] | None:
    """Where the libraries are, and nvidia-smi where there is one."""
    named = os.environ.get(VARIABLE, "")
    if named:
        root = Path(named)
        for folder in (root, root / "lib", *(root / one.lstrip("/") for one in _KNOWN)):
            if (folder / _FIRST).exists():
                programs = (root / _SMI, root / "bin" / _SMI, root / "usr/bin" / _SMI)
                return folder, next((one for one in programs if one.exists()), None)
        raise InvalidError(f"{VARIABLE}={named!r}: there is no {_FIRST} in it, nor in its lib")
    for folder in (*_of_ldconfig(), *map(Path, _KNOWN)):
        if (folder / _FIRST).exists():
            program = shutil.which(_SMI) or str(folder / _SMI)
            return folder, Path(program) if os.path.exists(program) else None
    return None


def _of_ldconfig() -> Iterator[Path]:
    program = next((one for one in _LDCONFIG if os.path.exists(one)), None)
    if program is None:
        return
    listed = subprocess.run(
        [program, "-p"], capture_output=True, text=True, errors="replace", check=False
    ).stdout
    yield from of_cache(listed, _ARCHITECTURES.get(_MACHINE, ""))


def of_cache(listed: str, architecture: str) -> Iterator[Path]:
    """The folders that the loader's cache (``ldconfig -p``) has the driver in, for a machine."""
    for line in listed.splitlines():
        name, arrow, path = line.strip().partition(" => ")
        if arrow and name.startswith(f"{_FIRST} ") and architecture in name:
            yield Path(path).parent


def _files(libraries: Path, smi: Path | None) -> Iterator[tuple[str, Path]]:
    """Names in the directory, and the file of each."""
    for entry in os.scandir(libraries):
        if _LIBRARY.fullmatch(entry.name) and os.path.exists(entry.path):
            yield f"{LIBRARIES}/{entry.name}", Path(os.path.realpath(entry.path))
    if smi is not None:
        yield f"{PROGRAMS}/{_SMI}", Path(os.path.realpath(smi))
