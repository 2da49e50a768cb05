"""Namespaces of this process: left, entered, made, and who owns them."""

from __future__ import annotations

import fcntl
import os
import socket

from rekindle.linux import mounts
from rekindle.linux.libc import check, libc

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
#: Mounts, host name and System V IPC.
CLONE_OWN = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC

#: The same without mounts, for who enters those of a root.
_OF_A_ROOT = CLONE_NEWUTS | CLONE_NEWIPC

#: ioctl on a namespace: a descriptor of the user namespace that owns it.
_NS_GET_USERNS = 0xB701


# Looked up once, as each forked runner calls them: ctypes asks the linker at the first use. Words
# for an error are made only where there is one.
_unshare, _setns = libc.unshare, libc.setns


def unshare(flags: int) -> None:
    """Leave the namespaces named by ``flags`` for new ones."""
    if _unshare(flags) < 0:
        check(-1, f"unshare({flags:#x})")


def setns(fd: int, kind: int) -> None:
    """Enter the namespace that ``fd`` names; ``kind`` is the CLONE_NEW* flag it must have."""
    if _setns(fd, kind) < 0:
        check(-1, "setns")


def owns_pid_namespace() -> bool:
    """Whether this process's user namespace is the one that owns its PID namespace.

    Where the kernel cannot be asked it has but one user namespace, or says so when it is used.
    """
    try:
        with open("/proc/self/ns/pid") as own:
            owner = fcntl.ioctl(own.fileno(), _NS_GET_USERNS)
    except PermissionError:
        return False  # it lies outside of ours
    except OSError:
        return True
    try:
        return os.path.samestat(os.fstat(owner), os.stat("/proc/self/ns/user"))
    finally:
        os.close(owner)


def in_user_namespace() -> bool:
    """Whether this process is in another user namespace than the machine's first."""
    try:
        with open("/proc/self/uid_map") as file:
            return file.read().split() != ["0", "0", "4294967295"]
    except FileNotFoundError:
        return False  # this kernel has none


def isolate(hostname: str) -> None:
    """Leave for mounts, host name and IPC of one's own; for PID 1 of a PID namespace.

    /proc shows that PID namespace alone, /dev/shm is empty. Mounts must be private already.
    """
    leave(hostname)
    mounts.mount_proc()


def isolate_in_root(root_fd: int, hostname: str) -> None:
    """The same with the mounts of a root that was made before, the mount namespace behind
    ``root_fd``. The working directory stays, where the root has one of that name. Raises OSError.
    """
    try:
        directory = os.getcwd()
    except FileNotFoundError:
        directory = "/"
    leave(hostname, root_fd)
    mounts.mount_proc()
    if directory != "/":
        try:
            os.chdir(directory)
        except OSError:
            return  # it is in the root's own then


def leave(hostname: str, root_fd: int = -1, more: int = 0) -> None:
    """Leave for mounts, host name and IPC of one's own, and for those in ``more``; mounts are those
    of ``root_fd``, where that is given. /proc and the working directory stay. Raises OSError."""
    if root_fd >= 0:
        unshare(_OF_A_ROOT | more)
        setns(root_fd, CLONE_NEWNS)
    else:
        unshare(CLONE_OWN | more)
        mounts.mount_shm()
    socket.sethostname(hostname)


class Home:
    """Where this process is, to go elsewhere and come back: its namespaces, root and directory.

    The process must have one thread.
    """

    def __init__(self) -> None:
        """Mounts must be its own already. Raises OSError."""
        # No one may come back to namespaces that another user owns: those of the machine, for a
        # user who is not root.
        unshare(_OF_A_ROOT)
        flags = os.O_RDONLY | os.O_CLOEXEC
        self._namespaces = [
            (os.open(f"/proc/self/ns/{name}", flags), kind)
            for name, kind in (
                ("mnt", CLONE_NEWNS),
                ("uts", CLONE_NEWUTS),
                ("ipc", CLONE_NEWIPC),
                ("pid", CLONE_NEWPID),
            )
        ]
        self._root = os.open("/", flags | os.O_DIRECTORY)
        self._directory = os.open(".", flags | os.O_DIRECTORY)

    def leave(self, hostname: str, root_fd: int = -1) -> None:
        """As the function ``leave``, and the next child is in a new PID namespace."""
        leave(hostname, root_fd, CLONE_NEWPID)

    def fork_first(self) -> int:
        """As os.fork(), for a child that is the first of a new PID namespace. Raises OSError."""
        unshare(CLONE_NEWPID)  # for the next child only: we stay where we are
        pid = -1
        try:
            pid = os.fork()
        finally:
            if pid != 0:
                # Without this a second unshare fails: children must come from our own again.
                namespace, kind = self._namespaces[-1]
                setns(namespace, kind)
        return pid

    def close(self) -> None:
        """In a copy of this process, which is not to come here."""
        for fd in (*(fd for fd, _kind in self._namespaces), self._root, self._directory):
            os.close(fd)

    def come_back(self) -> None:
        """Raises OSError."""
        for fd, kind in self._namespaces:
            setns(fd, kind)
        os.fchdir(self._root)
        os.chroot(".")
        os.fchdir(self._directory)


def enter_user_namespace(more: int = 0) -> None:
    """Leave for a new user namespace, and for those in ``more``; all capabilities hold in there.

    Only this user is mapped, to the same ids as outside: user code sees its own uid, its files keep
    their owners, and no other user's can be taken on. The process must have one thread.
    """
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | more)
    # The kernel lets an unprivileged user map a group only once no one can drop groups any more:
    # a group can be what keeps a process from a file.
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")


def _write(path: str, text: str) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(text.encode())
