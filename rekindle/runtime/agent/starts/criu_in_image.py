"""CRIU in the root of an image: its feature cache there, and namespaces in which it waits."""

from __future__ import annotations

import contextlib
import logging
import shutil
from pathlib import Path

from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.runtime.isolation.sandbox import Sandbox
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: The file that CRIU keeps what it knows of the kernel in, in /run.
FEATURE_CACHE = "criu.kdat"


def put_feature_cache(context: NodeContext, sandbox: Sandbox) -> Path:
    """Give CRIU its feature cache in a root that a job has run in: /run is a tmpfs there, as CRIU
    asks for. The file."""
    there = Path(f"/proc/{sandbox.pid}/root/run/{FEATURE_CACHE}")
    try:
        shutil.copyfile(context.criu_files / FEATURE_CACHE, there)
    except OSError as error:  # it looks for features then, which takes 20 ms
        log.debug("no feature cache in a root", extra=kv(reason=error))
    return there


def remove_feature_cache(sandbox: Sandbox) -> None:
    """It is nothing that a program there expects."""
    with contextlib.suppress(OSError):  # gone with its namespaces
        Path(f"/proc/{sandbox.pid}/root/run/{FEATURE_CACHE}").unlink()
