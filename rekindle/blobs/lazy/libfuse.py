"""Whether this machine can serve files by FUSE, and with which library.

libfuse is the machine's own, or the one that ``rekindle setup lazy`` unpacked into a private
prefix. Knows nothing of blobs; does not load the library.
"""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import sys
from pathlib import Path

from rekindle.exception import SetupError

DEVICE = Path("/dev/fuse")
SET_UP = "run `rekindle setup lazy`"


def default_prefix() -> Path:
    """Where ``rekindle setup lazy`` unpacks a private libfuse: next to the interpreter."""
    return Path(sys.prefix) / "share" / "rekindle" / "fuse"


def at(prefix: Path) -> Path | None:
    """The library that is unpacked in a prefix; None where there is none."""
    for root in (prefix / "usr", prefix):
        found = sorted(root.glob("lib/*-linux-gnu*/libfuse3.so.*"))
        if found:
            return found[0]
    return None


def library() -> str | None:
    """The library that would be used; None where there is none."""
    private = at(default_prefix())
    return str(private) if private is not None else ctypes.util.find_library("fuse3")


def find() -> str:
    """The library's path, or its name where the loader finds it.

    Raises SetupError, saying what is missing and what to do.
    """
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        there = "cannot be opened by this user" if DEVICE.exists() else "is not there"
        raise SetupError(
            f"{DEVICE} {there}: load the kernel's module fuse, and give a container --device "
            f"{DEVICE} and the capability CAP_SYS_ADMIN"
        )
    if os.geteuid() != 0:
        raise SetupError("lazy files are mounted by root alone: run the agent as root")
    if importlib.util.find_spec("mfusepy") is None:
        raise SetupError("the package mfusepy is missing: pip install 'rekindle[blobs]'")
    found = library()
    if found is None:
        raise SetupError(f"there is no libfuse3: {SET_UP}, or install the package libfuse3-3")
    return found
