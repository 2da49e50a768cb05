"""CRIU as a worker that waits for its order: ``criu swrk``.

Starting CRIU and linking it takes longer than much of a restore, so it can be started beforehand.
It reads one request from a SOCK_SEQPACKET socket, serves it, answers and ends. Only puts messages
together and takes them apart: who runs the worker, and where, is the caller's affair.
"""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from rekindle.exception import CriuNotFoundError
from rekindle.snapshot import pycriu
from rekindle.snapshot.criu import Criu

#: Descriptors of the worker: its socket, and the one that stands for the control pipe.
CHANNEL_FD = 8
CONTROL_FD = 9
#: Descriptors of whoever sends the request (CRIU finds them through the socket's credentials).
IMAGES_FD = 20
WORK_FD = 21


@dataclass(frozen=True)
class Answer:
    """What the worker said."""

    ok: bool
    error: str


def worker_argv(criu: Criu) -> list[str]:
    """The command line of a waiting CRIU."""
    return [*criu.argv, "swrk", str(CHANNEL_FD)]


def restore_request(
    *, control_pipe: str, log_name: str, verbosity: int = 1, unprivileged: bool = False
) -> bytes:
    """The order to restore the images behind ``IMAGES_FD``, detached.

    ``control_pipe`` is the pipe as it was named in the dump, ``pipe:[1234]``; the worker's
    ``CONTROL_FD`` takes its place. ``unprivileged``: a user who is not root runs the worker. The
    log goes to ``log_name`` in the directory behind ``WORK_FD``. Raises CriuNotFoundError when the
    message classes are missing.
    """
    rpc: Any = _rpc()
    request = rpc.criu_req(type=rpc.RESTORE)
    options = request.opts
    options.images_dir_fd = IMAGES_FD
    options.work_dir_fd = WORK_FD
    options.log_file = log_name
    options.log_level = verbosity
    if unprivileged:
        options.unprivileged = True
    # Cgroups are set by whoever places the runner.
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
    response = _rpc().criu_resp()
    response.ParseFromString(data)
    return Answer(response.success, response.cr_errmsg.strip())


@functools.cache
def _rpc() -> ModuleType:
    """pycriu's ``rpc_pb2``, without the hundred modules that the package would load."""
    site = pycriu.location()
    if site is None:
        raise CriuNotFoundError("pycriu is not on this machine: run `rekindle setup criu`")
    path = site / "pycriu" / "rpc_pb2.py"
    spec = importlib.util.spec_from_file_location("rekindle_criu_rpc_pb2", path)
    if spec is None or spec.loader is None:
        raise CriuNotFoundError(f"{path} cannot be loaded: run `rekindle setup criu --force`")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
