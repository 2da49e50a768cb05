"""PID 1 of its namespaces: freezes ``sleep``, and restores it with CRIU's command line on request.

Started under ``unshare --pid --mount --fork --mount-proc``, with a directory to work in.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rekindle.linux import mounts
from rekindle.snapshot import command, criu

#: CRIU's own processes take the small ids, and a restored process needs the one that it had.
PID = 300


def main() -> None:
    """Dump once, then restore once a line."""
    found = criu.find()
    images, log = Path(sys.argv[1], "images"), Path(sys.argv[1], "restore.log")
    images.mkdir()
    # CRIU keeps its feature cache only where /run is a tmpfs.
    mounts.mount("tmpfs", "/run", "tmpfs")
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(PID - 1))
    sleep = subprocess.Popen(
        ["sleep", "100000"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    subprocess.run(
        command.dump_argv(found, pid=sleep.pid, images_dir=images),
        check=True,
        stdout=sys.stderr,
    )
    sleep.wait(30)  # the dump has ended it
    restore = [*found.argv, "restore", "--images-dir", str(images), "--restore-detached"]
    restore += ["--work-dir", str(log.parent), "--log-file", log.name, "-v0"]
    restore += ["--no-default-config", "--manage-cgroups=ignore"]
    restore += command.plugins(found)
    _restore_once(restore, sleep.pid)  # fills the feature cache
    print("ready", flush=True)
    for _line in sys.stdin:
        print(_restore_once(restore, sleep.pid), flush=True)


def _restore_once(argv: list[str], pid: int) -> float:
    began = time.perf_counter_ns()
    subprocess.run(argv, check=True, stdout=sys.stderr, timeout=60)
    took = (time.perf_counter_ns() - began) / 1e6
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return took


main()
