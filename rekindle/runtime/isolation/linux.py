"""Linux calls that the standard library of Python 3.11 lacks, each with one named purpose.

ctypes only, so that templates, runners and the spawner can afford it.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Collection

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

CAP_SETUID = 7
CAP_SYS_ADMIN = 21

MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the namespaces named by ``flags`` for new ones."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, kind: int) -> None:
    """Enter the namespace that ``fd`` names; ``kind`` is the CLONE_NEW* flag it must have."""
    _check(_libc.setns(fd, kind), "setns")


#: ioctl on a namespace: a descriptor of the user namespace that owns it.
_NS_GET_USERNS = 0xB701


def owns_pid_namespace() -> bool:
    """Whether this process's user namespace is the one that owns its PID namespace.

    Where the kernel cannot be asked it has but one user namespace, or says so when it is used.
    """
    import fcntl

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


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    _check(
        _libc.mount(
            source.encode(),
            target.encode(),
            fstype.encode() or None,
            ctypes.c_ulong(flags),
            data.encode() or None,
        ),
        f"mount {target}",
    )


def unmount(target: str) -> None:
    """Detach the mount at ``target`` even while something in it is open."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def make_mounts_private() -> None:
    """Keep this namespace's mounts from propagating to the machine, and the reverse."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def mount_proc() -> None:
    """Show this PID namespace's own processes under /proc."""
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def mount_shm() -> None:
    """Give this mount namespace a /dev/shm of its own: what is in it is a process's memory."""
    if os.path.isdir("/dev/shm"):
        mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")


def set_hostname(name: str) -> None:
    """Set the host name of this UTS namespace."""
    raw = name.encode()
    _check(_libc.sethostname(raw, len(raw)), "sethostname")


def die_with_parent(expected_parent: int | None = None) -> None:
    """Get SIGKILL when the thread that forked this process ends.

    ``expected_parent`` closes the race with a parent that was gone before the call.
    """
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
    if expected_parent is not None and os.getppid() != expected_parent:
        os._exit(1)


def return_freed_memory() -> None:
    """Give the allocator's free pages back, so that they are not frozen into a snapshot."""
    trim = getattr(_libc, "malloc_trim", None)  # absent in musl
    if trim is not None:
        trim(0)


_PROT = {"r": 1, "w": 2, "x": 4}
_MAP_PRIVATE = 0x02
_MAP_DROPPABLE = 0x08  # a type of mapping of its own, from Linux 6.11 on
_MAP_FIXED = 0x10
_MAP_ANONYMOUS = 0x20
_MAP_NORESERVE = 0x4000
_MAP_FAILED = ctypes.c_void_p(-1).value

#: Advice by the name that its flag has in /proc/PID/smaps (``VmFlags``).
_ADVICE = {"wf": 18, "dd": 16, "dc": 10, "hg": 14, "nh": 15, "mg": 12}

_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.mlock.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def empty_area(start: int, length: int, permissions: str, vm_flags: Collection[str]) -> None:
    """Put an empty anonymous area at ``start``, with these permissions and flags.

    Whatever was mapped there is gone: MAP_FIXED replaces it in one step, so that no other thread
    meets a hole. ``permissions`` and ``vm_flags`` are as in /proc/PID/smaps. Raises OSError.
    """
    droppable = "dp" in vm_flags
    prot = sum(bit for letter, bit in _PROT.items() if letter in permissions)
    # A droppable mapping is wiped on fork and left out of core dumps by itself.
    flags = _MAP_FIXED | _MAP_ANONYMOUS | (_MAP_DROPPABLE if droppable else _MAP_PRIVATE)
    if "nr" in vm_flags and not droppable:
        flags |= _MAP_NORESERVE
    if _libc.mmap(start, length, prot, flags, -1, 0) == _MAP_FAILED:
        _check(-1, f"mmap of {length} bytes at {start:#x}")
    for name, advice in _ADVICE.items():
        if name in vm_flags and not (droppable and name in ("wf", "dd")):
            _check(_libc.madvise(start, length, advice), f"madvise({advice}) at {start:#x}")
    if "lo" in vm_flags:
        _check(_libc.mlock(start, length), f"mlock at {start:#x}")


# ---- user namespaces and capabilities ------------------------------------------------------


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapSets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def capabilities() -> tuple[int, int]:
    """This thread's effective and permitted capabilities, as masks."""
    header, sets = _CapHeader(_CAPABILITY_VERSION_3, 0), (_CapSets * 2)()
    _check(_libc.capget(ctypes.byref(header), sets), "capget")
    low, high = sets
    return low.effective | high.effective << 32, low.permitted | high.permitted << 32


def _set_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    header, sets = _CapHeader(_CAPABILITY_VERSION_3, 0), (_CapSets * 2)()
    for half, shift in zip(sets, (0, 32), strict=True):
        half.effective = effective >> shift & 0xFFFFFFFF
        half.permitted = permitted >> shift & 0xFFFFFFFF
        half.inheritable = inheritable >> shift & 0xFFFFFFFF
    _check(_libc.capset(ctypes.byref(header), sets), "capset")


def enter_user_namespace(more: int = 0) -> None:
    """Leave for a new user namespace, and for those in ``more``; all capabilities hold in there.

    Only this user is mapped, to the same ids as outside: user code sees its own uid, its files keep
    their owners, and no other user's can be taken on. The process must have one thread.
    """
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | more)
    # The kernel lets an unprivileged user map a group only once nobody can drop groups any more:
    # a group can be what keeps somebody from a file.
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def hand_down_capabilities() -> None:
    """Keep, across ``exec`` by a user who is not root, what this process may do in its namespace.

    All but CAP_SETUID: with it CRIU becomes user 0 before it restores, whom nobody has mapped.
    """
    _effective, permitted = capabilities()
    kept = permitted & ~(1 << CAP_SETUID)
    _set_capabilities(permitted, permitted, kept)
    for number in range(kept.bit_length()):
        if kept >> number & 1:
            _ambient(_PR_CAP_AMBIENT_RAISE, number)


def set_capabilities_aside() -> None:
    """Keep what making namespaces takes within reach of this process alone; nothing uses it, and
    what it executes does not get it, before ``take_capabilities_up``."""
    _ambient(_PR_CAP_AMBIENT_CLEAR_ALL, 0)
    _effective, permitted = capabilities()
    _set_capabilities(0, permitted & 1 << CAP_SYS_ADMIN, 0)


def take_capabilities_up() -> None:
    """Use again what was set aside."""
    _effective, permitted = capabilities()
    _set_capabilities(permitted, permitted, 0)


def drop_capabilities() -> None:
    """Give up every capability for good, in this thread and all that it starts."""
    _ambient(_PR_CAP_AMBIENT_CLEAR_ALL, 0)
    _set_capabilities(0, 0, 0)


def _ambient(operation: int, number: int) -> None:
    zero = ctypes.c_ulong(0)
    _check(
        _libc.prctl(_PR_CAP_AMBIENT, ctypes.c_ulong(operation), ctypes.c_ulong(number), zero, zero),
        "prctl(PR_CAP_AMBIENT)",
    )
