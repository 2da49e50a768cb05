"""What this machine can do for lazy files and layers. Asks the machine; changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from rekindle.blobs import erofs
from rekindle.blobs.lazy import libfuse
from rekindle.exception import SetupError


@dataclass(frozen=True)
class Finding:
    """One ability: whether it is there, what was found, and what to do where it is not."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def findings() -> list[Finding]:
    """All of them."""
    return [_fuse(), _erofs()]


def _fuse() -> Finding:
    try:
        library = libfuse.find()
    except SetupError as error:
        detail, _, remedy = str(error).partition(": ")
        whole = f"{detail}; what comes from a store is fetched whole first"
        return Finding("FUSE", False, whole, remedy)
    return Finding("FUSE", True, f"lazy files, by {library}")


def _erofs() -> Finding:
    if not erofs.kernel_has_it():
        return Finding(
            "EROFS",
            False,
            "this kernel does not have it: layers are archives, unpacked before they are used",
            "boot a kernel with CONFIG_EROFS_FS",
        )
    try:
        command = erofs.find()
    except SetupError as error:
        detail, _, remedy = str(error).partition(": ")
        return Finding("EROFS", False, f"{detail}; layers are packed as archives", remedy)
    return Finding("EROFS", True, f"in the kernel, and {command[-1]}")
