"""What an instance must not leave: processes, files, sockets, mounts."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.processes import descendants

if TYPE_CHECKING:
    from tests.e2e.harness import Home

#: Generous: a hang is a failure, a slow machine is not.
_PATIENCE_S = 60.0
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of whatever our descendants leave without one."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def no_processes(before: set[psutil.Process], timeout_s: float = _PATIENCE_S) -> None:
    """No descendants are left but those ``before``; those that are left are killed."""
    left = list(descendants() - before)
    _gone, left = psutil.wait_procs(left, timeout=timeout_s)
    described = []
    for process in left:
        with suppress(psutil.Error):
            described.append((process.pid, process.status(), process.cmdline()[:6]))
            process.kill()
    psutil.wait_procs(left, timeout=timeout_s)
    assert not described, f"processes left: {described}"


def nothing_but_what_is_kept(home: Home) -> None:
    """Files, sockets and mounts: what is left is what the documentation says is kept."""
    left = [str(path) for path in home.temporary.rglob("*")]
    run = home.path / "run"
    left += [str(path) for path in (run.iterdir() if run.exists() else ())]
    left += home.half_made()
    if home.daemon.exists():
        left += [str(path) for path in home.daemon.glob("agent-*")]
        left += [str(path) for path in home.daemon.glob("*.sock")]
    assert not left, f"files left: {left}"
    root = str(home.root)
    for table in ("/proc/self/mountinfo", "/proc/net/unix"):
        lines = [
            line for line in Path(table).read_text(errors="replace").splitlines() if root in line
        ]
        assert not lines, f"{table}: {lines}"
    for base, names, _files in os.walk("/sys/fs/cgroup"):
        assert not [name for name in names if name.startswith(("ru-", "te-", "rekindle"))], base
