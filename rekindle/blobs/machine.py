"""What this machine can do for lazy files and layers. Asks the machine; changes nothing."""

from __future__ import annotations

from rekindle.blobs import erofs
from rekindle.blobs.lazy import libfuse
from rekindle.exception import SetupError
from rekindle.linux.ability import Ability


def findings() -> list[Ability]:
    """All of them."""
    return [_fuse(), _erofs()]


def _fuse() -> Ability:
    try:
        library = libfuse.find()
    except SetupError as error:
        detail, _, remedy = str(error).partition(": ")
        whole = f"{detail}; what comes from a store is fetched whole first"
        return Ability("FUSE", False, whole, remedy)
    return Ability("FUSE", True, f"lazy files, by {library}")


def _erofs() -> Ability:
    if not erofs.kernel_has_it():
        return Ability(
            "EROFS",
            False,
            "this kernel does not have it: layers are archives, unpacked before they are used",
            "boot a kernel with CONFIG_EROFS_FS",
        )
    try:
        command = erofs.find()
    except SetupError as error:
        detail, _, remedy = str(error).partition(": ")
        return Ability("EROFS", False, f"{detail}; layers are packed as archives", remedy)
    return Ability("EROFS", True, f"in the kernel, and {command[-1]}")
