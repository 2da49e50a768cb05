"""``python -m rekindle.runtime.images.inside``: one step of a build, in namespaces of its own.

The order is JSON on standard input: a ``program``, to run with the node's files; or a root
(``lowers``, ``upper``, ``work``, all below ``store``) in which ``commands`` run and ``copies`` are
made. What it prints goes to standard output, and at the end, on the descriptor ``result_fd``, what
was found of the root's Python.

It ends with its parent, and all that it started with it: by the kernel, however the parent ends.
Commands run as root without what could reach the machine: no devices, no mounts, no settings of the
kernel. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import posixpath
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rekindle.blobs import erofs
from rekindle.exception import LayerError
from rekindle.linux import device_files, files, holes, limits, mounts, namespaces, processes
from rekindle.linux.libc import libc
from rekindle.linux.mount_points import pivot

#: What commands keep, as in containers elsewhere: files and owners, ports, chroot.
_KEPT = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31})
_PR_CAPBSET_DROP = 24
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
#: Where what is in no layer is shown to commands.
RUN = "/run/rekindle"


def main(order: Mapping[str, Any]) -> int:
    """The exit status of the step."""
    processes.die_with_parent()
    limits.give_open_files(order["open_files"])
    namespaces.unshare(namespaces.CLONE_OWN | namespaces.CLONE_NEWPID)
    mounts.make_private()
    pid = os.fork()
    if pid != 0:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF
    processes.die_with_parent()
    status = 1
    try:
        status = _first(order)
    except (OSError, subprocess.SubprocessError, LayerError) as error:
        _say(f"the build's sandbox: {error}")
    finally:
        sys.stdout.flush()
        os._exit(status)


def _first(order: Mapping[str, Any]) -> int:
    """As the first process of the namespaces."""
    if order.get("program"):
        mounts.mount_proc()
        return _run(order["program"], order["env"], "/", drop=False)
    _enter(order)
    sys.path.clear()  # nothing of the root is imported by this process
    for source, target, name in order.get("copies", ()):
        _copy(source, target, name)
    env = dict(order["env"])
    workdir = order.get("workdir") or "/"
    os.makedirs(workdir, exist_ok=True)
    python = _python(env)
    if python and "python" not in {name for name, _ in _on_path(env, "python")}:
        os.makedirs(f"{RUN}/bin", exist_ok=True)
        os.symlink(python, f"{RUN}/bin/python")
    for command in order.get("commands", ()):
        _say(f"$ {command}")
        if status := _run([*order["shell"], command], env, workdir):
            return status
    if order.get("argv"):
        if not python:
            _say("there is no Python in the image to call a function with")
            return 127
        if status := _run([python, *order["argv"]], env, workdir):
            return status
    found = _version(env, _python(env))
    os.write(order["result_fd"], json.dumps(found).encode())
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


# ---- the root ----------------------------------------------------------------------------------


def _enter(order: Mapping[str, Any]) -> None:
    """Make the root of this process the layers and what is above them."""
    os.chdir(order["store"])  # so that paths are short: the kernel takes a page of them
    merged = order["merged"]
    for file, place in order.get("packed", ()):
        erofs.mount(Path(file), Path(place))
    if order["lowers"]:
        options = ["redirect_dir=off", "metacopy=off", "index=off"]
        options += [f"lowerdir={':'.join(order['lowers'])}"]
        options += [f"upperdir={order['upper']}", f"workdir={order['work']}"]
        mounts.mount("overlay", merged, "overlay", mounts.MS_NODEV, ",".join(options))
    else:
        mounts.mount(order["upper"], merged, flags=mounts.MS_BIND)
    binds = [(os.open(one[0], os.O_PATH | os.O_CLOEXEC), *one[1:]) for one in order["binds"]]
    root = os.path.abspath(merged)
    mounts.mount("tmpfs", f"{root}/run", "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV, "mode=755")
    mounts.mount("tmpfs", f"{root}/dev", "tmpfs", mounts.MS_NOSUID, "mode=755")
    for name in _DEVICES:
        _touch(f"{root}/dev/{name}")
        mounts.mount(f"/dev/{name}", f"{root}/dev/{name}", flags=mounts.MS_BIND)
    os.mkdir(f"{root}/dev/shm", 0o1777)
    os.chmod(f"{root}/dev/shm", 0o1777)
    device_files.make_links(f"{root}/dev")
    os.mkdir(f"{root}/dev/pts")
    device_files.mount_pts(f"{root}/dev/pts")  # apt writes its log through a terminal
    mounts.mount("/sys", f"{root}/sys", flags=mounts.MS_BIND | mounts.MS_REC)
    flags = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
    mounts.mount("proc", f"{root}/proc", "proc", flags)
    with pivot(root):
        for fd, target, read_only in binds:
            _bind(fd, target, read_only=read_only)
    for path in ("/proc/sys", "/sys", "/proc/sysrq-trigger"):
        with contextlib.suppress(FileNotFoundError):
            mounts.make_read_only(path)
    os.umask(0o022)
    socket.sethostname("build")


def _bind(fd: int, target: str, *, read_only: bool) -> None:
    """Show an open file or folder at a path of the root, whose links are followed in it."""
    is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
    place = os.path.realpath(target)
    if not os.path.exists(place):
        os.makedirs(place if is_folder else posixpath.dirname(place), exist_ok=True)
        if not is_folder:
            _touch(place)
    mounts.mount(f"/proc/self/fd/{fd}", place, flags=mounts.MS_BIND)
    os.close(fd)
    if read_only:
        mounts.make_read_only(place, bound=True)


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))


def _copy(source: str, target: str, name: str) -> None:
    """Put a file or folder into the root: root's, over what is there; a file that has a ``name``
    into a folder that is there."""
    _say(f"copy {target}")
    place = os.path.realpath(target)
    if name and os.path.isdir(place):
        place = os.path.realpath(os.path.join(place, name))
    os.makedirs(posixpath.dirname(place), exist_ok=True)
    if not os.path.isdir(source):
        if os.path.isdir(place):
            raise OSError(f"{target} is a folder already, and a file is to be put there")
        holes.copy(source, place)
        return
    for folder, folders, names in os.walk(source, onerror=files.not_listed):
        into = os.path.join(place, os.path.relpath(folder, source))
        os.makedirs(into, exist_ok=True)
        for name in [*names, *(one for one in folders if os.path.islink(f"{folder}/{one}"))]:
            there = os.path.join(into, name)
            if os.path.islink(there) or os.path.isfile(there):
                os.unlink(there)
            holes.copy(os.path.join(folder, name), there)


# ---- commands ----------------------------------------------------------------------------------


def _confine() -> None:
    """In a process that is about to execute a program of the root."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for number in range(64):
        if number not in _KEPT:
            libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0)


def _run(argv: Sequence[str], env: Mapping[str, str], cwd: str, *, drop: bool = True) -> int:
    """Run a program; its exit status, 128 and more for a signal's."""

    before = _confine if drop else os.setsid
    try:
        child = subprocess.Popen(
            argv, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, preexec_fn=before
        )
    except OSError as error:
        _say(f"{argv[0]}: {error.strerror}")
        return 127
    while True:  # the first process of a PID namespace reaps what others left
        pid, status = os.wait()
        if pid == child.pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _on_path(env: Mapping[str, str], *names: str) -> list[tuple[str, str]]:
    """Programs of these names in the root, by name and path."""
    found = []
    for name in names:
        path = shutil.which(name, path=env.get("PATH", ""))
        if path:
            found.append((name, path))
    return found


def _python(env: Mapping[str, str]) -> str:
    """The root's interpreter; "" where it has none."""
    found = _on_path(env, "python3", "python")
    return found[0][1] if found else ""


def _version(env: Mapping[str, str], python: str) -> dict[str, str]:
    """Path and version of the interpreter, as it says itself."""
    if not python:
        return {"python": "", "python_version": ""}
    said = "import sys; print(sys.executable, *sys.version_info[:2])"
    done = subprocess.run(
        [python, "-I", "-S", "-c", said],
        env=dict(env),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_confine,
    )
    words = done.stdout.split()
    if done.returncode != 0 or len(words) != 3:
        return {"python": "", "python_version": ""}
    return {"python": words[0], "python_version": f"{words[1]}.{words[2]}"}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the builder's
    sys.exit(main(json.load(sys.stdin)))
