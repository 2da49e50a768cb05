"""CRIU's command line for a dump.

Only puts arguments together: who runs them, and in which namespaces, is the caller's affair. How a
restore is asked for is in worker.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rekindle.snapshot import elsewhere
from rekindle.snapshot.criu import Criu

#: Deleted files that are still mapped (semaphores of multiprocessing, say) travel in the images up
#: to this size; CRIU's own 1 MiB is too small for shared arrays.
GHOST_LIMIT = "64M"


def dump_argv(criu: Criu, *, pid: int, images_dir: Path) -> list[str]:
    """Freeze the process tree under ``pid`` (as numbered where CRIU runs), and end it.

    The images and ``dump.log`` go to ``images_dir``.
    """
    argv = [
        *criu.argv,
        "dump",
        "--tree",
        str(pid),
        "--images-dir",
        str(images_dir),
        "--log-file",
        "dump.log",
        "-v3",  # the least that names file descriptors in the log
        "--ghost-limit",
        GHOST_LIMIT,
        # Our manifest validates files; reading build ids would do that twice.
        "--file-validation=filesize",
        # The machine's CRIU configuration must not change what a snapshot is.
        "--no-default-config",
        # A restored process stays in the control group of what restores it, as a forked one does.
        "--manage-cgroups=ignore",
    ]
    argv += plugins(criu)
    if criu.unprivileged:
        argv.append("--unprivileged")
    return argv


def dump_elsewhere(criu: Criu, *, pid: int, images_dir: Path) -> elsewhere.Carried:
    """The same for a process in a root where the machine's files are not seen."""
    made = elsewhere.carried(criu)
    argv = tuple(made.argv)
    found = plugins(criu)
    images = Path(made.at(str(images_dir)))
    made.argv = dump_argv(replace(criu, argv=argv, prefix=""), pid=pid, images_dir=images)
    if found:
        made.argv += ["--libdir", made.at(found[1])]
    return made


def plugins(criu: Criu) -> list[str]:
    """A private CRIU must not load plugins of another version, the machine's own."""
    path = Path(criu.prefix, "usr", "lib", "criu")
    return ["--libdir", str(path)] if criu.prefix and path.is_dir() else []
