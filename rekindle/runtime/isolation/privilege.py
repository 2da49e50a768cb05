"""``python -m rekindle.runtime.isolation.privilege COMMAND...`` runs a command as CRIU is run.

How a process comes to its first namespaces, and why it cannot where it cannot.

With CAP_SYS_ADMIN (root) it makes them outright. Without, it makes a user namespace first, in which
it has every capability and which needs none: that is what users who are not root run by. The one
place that knows the settings by which systems forbid this.

Standard library only; knows nothing of what the namespaces are for.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from rekindle.linux import capabilities, mounts, namespaces, processes

_AS_ROOT = "or run as root"
#: Between the reason and the remedy in ``explain``.
TO_DO = ". To do: "


def is_root_like() -> bool:
    """Whether namespaces can be made without a user namespace."""
    effective, _permitted = capabilities.current()
    if not effective >> capabilities.CAP_SYS_ADMIN & 1:
        return False
    # Root of a user namespace that still lives in the PID namespace of an outer one may make
    # others, but not let its children come into its own again.
    return namespaces.owns_pid_namespace()


def enter(left: Callable[[], object] | None = None) -> int | None:
    """Leave for mounts of our own, by way of a user namespace where that is needed.

    None in the process that goes on; the exit status of that process in the one that called, where
    they are two: that one calls ``left``, if given, before it waits. Raises OSError in either;
    ``explain`` puts it in words.
    """
    if is_root_like():
        namespaces.unshare(namespaces.CLONE_NEWNS)
        mounts.make_private()
        return None
    if (status := _enter_user_namespace(left)) is None:
        _try_all()
    return status


def _enter_user_namespace(left: Callable[[], object] | None = None) -> int | None:
    """Leave for user, mount and PID namespaces of our own; returns as ``enter`` does."""
    namespaces.enter_user_namespace(namespaces.CLONE_NEWNS | namespaces.CLONE_NEWPID)
    mounts.make_private()
    capabilities.hand_down()
    # Only into a PID namespace that our user namespace owns may a process let its children come
    # again after it made another, so who makes them has to live in such a one.
    pid = os.fork()
    if pid != 0:
        if left is not None:
            left()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    processes.die_with_parent()
    return None


def _try_all() -> None:
    """Make what every runner will need, once: what is forbidden is known before a call waits."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    namespaces.unshare(namespaces.CLONE_NEWPID)
    pid = os.fork()
    if pid == 0:
        try:
            namespaces.unshare(namespaces.CLONE_OWN)
            mounts.mount_proc()
        except OSError as error:
            os.write(write_fd, f"{error.errno} {error.strerror}".encode())
        finally:
            os._exit(0)
    namespaces.setns(own, namespaces.CLONE_NEWPID)
    os.close(own)
    os.close(write_fd)
    os.waitpid(pid, 0)
    said = os.read(read_fd, 4096).decode(errors="replace")
    os.close(read_fd)
    if said:
        number, _, text = said.partition(" ")
        raise OSError(int(number), text)


def explain(error: OSError) -> str:
    """Why namespaces cannot be made, and what to do, on one line."""
    reason, remedy = _why(error)
    who = "root" if os.geteuid() == 0 else f"a user who is not root (uid {os.geteuid()})"
    return f"functions cannot be isolated by {who} on this machine: {reason}{TO_DO}{remedy}"


def _why(error: OSError) -> tuple[str, str]:
    said = error.strerror or str(error)
    if is_root_like() and os.geteuid() == 0 and not os.path.exists("/proc/self/ns/mnt"):
        return "this kernel has no namespaces", "boot a kernel of a current distribution"
    if not os.path.exists("/proc/self/ns/user"):
        return (
            "this kernel has no user namespaces (CONFIG_USER_NS)",
            f"boot a kernel of a current distribution, {_AS_ROOT}",
        )
    if _setting("user/max_user_namespaces") == "0":
        return (
            "user namespaces are switched off (user.max_user_namespaces is 0)",
            f"sudo sysctl -w user.max_user_namespaces=15000, {_AS_ROOT}",
        )
    if _setting("kernel/unprivileged_userns_clone") == "0":
        return (
            "user namespaces are for root alone (kernel.unprivileged_userns_clone is 0)",
            f"sudo sysctl -w kernel.unprivileged_userns_clone=1, {_AS_ROOT}",
        )
    if _setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        python = os.path.realpath(sys.executable)
        setting = "kernel.apparmor_restrict_unprivileged_userns"
        return (
            f"AppArmor lets {python} make no user namespace ({setting} is 1)",
            f"give it the AppArmor profile of docs/privileges.md, or sudo sysctl -w {setting}=0, "
            + _AS_ROOT,
        )
    if error.errno == errno.EAGAIN:
        return (
            f"no more processes can be started ({said})",
            "raise the limit on processes (ulimit -u, or pids.max of the cgroup)",
        )
    if error.errno == errno.ENOSPC:
        return (
            f"there are too many namespaces, or namespaces in namespaces ({said})",
            "raise the limits under /proc/sys/user, or end what holds namespaces",
        )
    if _in_container():
        return (
            f"this container forbids it ({said})",
            "run it with --privileged, or with seccomp, AppArmor and systempaths unconfined",
        )
    return f"the kernel refuses: {said}", "`rekindle doctor` says more; run as root"


def _setting(name: str) -> str:
    try:
        with open(f"/proc/sys/{name}") as setting:
            return setting.read().strip()
    except OSError:
        return ""  # this kernel does not have it


def _in_container() -> bool:
    """A filter of system calls, or the files that container engines leave."""
    if any(os.path.exists(mark) for mark in ("/.dockerenv", "/run/.containerenv")):
        return True
    return processes.status().get("Seccomp") == "2"


def main(argv: list[str]) -> int:
    """Run a command in namespaces of its own; its exit status. Ends by the signal that ended it."""
    try:
        status = _enter_user_namespace()
        if status is None:
            mounts.mount_proc()
            os.execv(argv[0], argv)
    except OSError as error:
        sys.stderr.write(f"Error: {explain(error)}\n")
        return 1
    if status < 0:  # who asks for CRIU tells one that was killed from one that does not work
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
