"""overlayfs: directories stacked into one, with one on top that takes what is written."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack

from rekindle.linux import mounts

#: mount(2) takes no more than a page of options.
_MAX_OPTIONS_BYTES = 4095
#: What needs no care in them.
_PLAIN = re.compile(r"[\w/.-]+")
#: The mark of a directory that hides those below it, and that in a user namespace.
OPAQUE = "trusted.overlay.opaque"
OPAQUE_OF_A_USER = "user.overlay.opaque"


def mount_overlay(
    lowers: Sequence[str],
    upper: str,
    work: str,
    target: str,
    *,
    named_from: str,
    user_namespace: bool,
) -> None:
    """Show ``lowers``, the topmost first, at ``target``; what is written goes to ``upper``.

    ``upper`` and ``work`` are empty directories of one file system. Nothing is synced to its disk:
    what is in ``upper`` is for as long as the mount. Lowers below ``named_from``, which becomes the
    working directory, are named as from there in the list of mounts; no other path is shown in it.
    ``user_namespace``: the marks of what was removed are such as need no privilege on the machine.
    Raises OSError.
    """
    os.chdir(named_from)
    with ExitStack() as stack:

        def name(path: str) -> str:
            below = path.removeprefix(f"{named_from}/")
            if below != path and _PLAIN.fullmatch(below):
                return below
            # By descriptor: a path may hold what options cannot.
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            return f"/proc/self/fd/{fd}"

        options = [
            f"lowerdir={':'.join(map(name, lowers))}",
            f"upperdir={name(upper)}",
            f"workdir={name(work)}",
            *(("userxattr",) if user_namespace else ("volatile",)),
        ]
        data = ",".join(options)
        if len(data) > _MAX_OPTIONS_BYTES:
            raise OSError(errno.E2BIG, f"{len(lowers)} layers are more than overlayfs takes")
        mounts.mount("overlay", target, "overlay", data=data)


def is_marked(folder: str, mark: str) -> bool:
    """Whether a directory of a layer has a mark. Raises OSError where that cannot be seen."""
    try:
        return os.getxattr(folder, mark, follow_symlinks=False) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOENT):
            return False  # it has none, its file system has none, or it is gone
        raise


def why_no_overlay(error: OSError, upper: str) -> str:
    """Why an overlay could not be mounted, and what to do, in words."""
    if error.errno == errno.ENODEV:
        return "this kernel has no overlayfs; load it (modprobe overlay)"
    if error.errno == errno.EPERM:
        return (
            "this user may not mount an overlayfs: that takes root, or Linux 5.11 and user "
            "namespaces"
        )
    if error.errno == errno.EINVAL:
        return (
            f"overlayfs does not take {upper} as the place of what is written (itself an overlay, "
            "or a network disk); set REKINDLE_HOME to a directory on ext4, xfs, btrfs or tmpfs"
        )
    return error.strerror or str(error)
