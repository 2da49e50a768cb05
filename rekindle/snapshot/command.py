"""CRIU's command lines for dump and restore.

Only puts arguments together: who runs them, and in which namespaces, is the caller's affair.
"""

from __future__ import annotations

from pathlib import Path

from rekindle.snapshot.criu import Criu

#: Deleted files that are still mapped (semaphores of multiprocessing, say) travel in the images up
#: to this size; CRIU's own 1 MiB is too small for shared arrays.
GHOST_LIMIT = "64M"

# The machine's CRIU configuration must not change what a snapshot is; cgroups are set by whoever
# places the runner; files are validated by our manifest, so reading build ids would be done twice.
_COMMON = ("--no-default-config", "--manage-cgroups=ignore")


def _user(criu: Criu) -> list[str]:
    return ["--unprivileged"] if criu.unprivileged else []


def _plugins(criu: Criu) -> list[str]:
    # A private CRIU must not load plugins that belong to another version, the machine's own.
    plugins = Path(criu.prefix, "usr", "lib", "criu")
    return ["--libdir", str(plugins)] if criu.prefix and plugins.is_dir() else []


def dump_argv(
    criu: Criu,
    *,
    pid: int,
    images_dir: Path,
    log: str = "dump.log",
    leave_running: bool,
    verbosity: int = 3,  # the least that names file descriptors in the log
) -> list[str]:
    """Freeze the process tree under ``pid`` (as numbered where CRIU runs) into ``images_dir``.

    ``log`` is relative to ``images_dir`` or absolute. With ``leave_running`` the tree goes on
    after the dump, otherwise CRIU kills it.
    """
    argv = [
        *criu.argv,
        "dump",
        "--tree",
        str(pid),
        "--images-dir",
        str(images_dir),
        "--log-file",
        log,
        f"-v{verbosity}",
        "--file-validation=filesize",
        "--ghost-limit",
        GHOST_LIMIT,
        *_COMMON,
        *_plugins(criu),
        *_user(criu),
    ]
    if leave_running:
        argv.append("--leave-running")
    return argv


def restore_argv(
    criu: Criu,
    *,
    images_dir: Path,
    log: Path,
    inherit: dict[int, str],
    verbosity: int = 2,
) -> list[str]:
    """Bring ``images_dir`` back, detached: CRIU ends when the restored process runs.

    ``inherit`` maps file descriptors open in CRIU to the resources that they stand for, as in
    ``{9: "pipe:[1234]"}``. ``log`` is absolute, and CRIU's other by-products (statistics) go beside
    it: the images are not written to.
    """
    argv = [
        *criu.argv,
        "restore",
        "--images-dir",
        str(images_dir),
        "--work-dir",
        str(log.parent),
        "--log-file",
        log.name,
        f"-v{verbosity}",
        "--restore-detached",
        *_COMMON,
        *_plugins(criu),
        *_user(criu),
    ]
    for fd, resource in sorted(inherit.items()):
        argv += ["--inherit-fd", f"fd[{fd}]:{resource}"]
    return argv
