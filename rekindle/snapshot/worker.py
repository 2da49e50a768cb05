"""CRIU as a worker that waits for its order: ``criu swrk``.

Starting CRIU and linking it takes longer than much of a restore, so it can be started beforehand.
It reads one request from a SOCK_SEQPACKET socket, serves it, answers and ends. Only puts messages
together and takes them apart: who runs the worker, and where, is the caller's affair.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rekindle.snapshot import pycriu
from rekindle.snapshot.criu import Criu
from rekindle.snapshot.elsewhere import Carried, carried

#: Descriptors of the worker: its socket, the one that stands for the control pipe, and the
#: directory that it works in.
CHANNEL_FD = 8
CONTROL_FD = 9
WORK_FD = 21
_WORK_DIR = f"/proc/self/fd/{WORK_FD}"
_ARGUMENTS = ("--work-dir", _WORK_DIR, "swrk", str(CHANNEL_FD))


@dataclass(frozen=True)
class Answer:
    """What the worker said."""

    ok: bool
    error: str


def worker_argv(criu: Criu) -> list[str]:
    """The command line of a waiting CRIU."""
    return [*criu.argv, *_ARGUMENTS]


def worker_elsewhere(criu: Criu) -> Carried:
    """The same in a root where the machine's files are not seen."""
    made = carried(criu)
    made.argv += _ARGUMENTS
    return made


def link_to(images: Path, work_dir: Path, seen_at: Path) -> str:
    """The name of a link to the images in the directory behind ``WORK_FD``; it is made where it is
    not there. CRIU takes no path of images that is no link. ``work_dir`` is that directory as it is
    seen here, ``seen_at`` the images as CRIU sees them. Raises OSError."""
    name = _link_name(images, seen_at)
    with contextlib.suppress(FileExistsError):
        os.symlink(seen_at, os.path.join(work_dir, name))
    return name


@functools.lru_cache(maxsize=64)
def _link_name(images: Path, seen_at: Path) -> str:
    # By all of the path: a snapshot that arrives has the same name where it stays afterwards. One
    # for both could only be replaced, under a CRIU that is about to follow it.
    place = hashlib.sha256(os.fsencode(seen_at)).hexdigest()[:16]
    return f"{images.parent.name}-{images.name}-{place}"


def restore_request(*, images: str, control_pipe: str, log_name: str, unprivileged: bool) -> bytes:
    """The order to restore the images that ``images`` leads to (see ``link_to``), detached.

    ``control_pipe`` is the pipe as it was named in the dump, ``pipe:[1234]``; the worker's
    ``CONTROL_FD`` takes its place. ``unprivileged``: a user who is not root runs the worker. The
    log goes to ``log_name`` in the directory behind ``WORK_FD``. Raises CriuNotFoundError when the
    message classes are missing.
    """
    rpc: Any = pycriu.rpc()
    request = rpc.criu_req(type=rpc.RESTORE)
    options = request.opts
    options.images_dir_fd = -1
    options.images_dir = f"{_WORK_DIR}/{images}"
    options.log_file = log_name
    options.log_level = 1
    options.unprivileged = unprivileged
    # A restored process stays in the control group of what restores it, as a forked one does.
    options.manage_cgroups = True
    options.manage_cgroups_mode = rpc.IGNORE
    inherited = options.inherit_fd.add()
    inherited.key, inherited.fd = control_pipe, CONTROL_FD
    data: bytes = request.SerializeToString()
    return data


def read_answer(data: bytes) -> Answer:
    """The worker's answer; an empty one means that it died."""
    if not data:
        return Answer(False, "CRIU died")
    response = pycriu.rpc().criu_resp()
    response.ParseFromString(data)
    return Answer(response.success, response.cr_errmsg.strip())
