"""Descriptors: whether two are one, what they lie on, and new ones in a given state."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

from rekindle.linux.libc import check, libc

_KCMP = {"x86_64": 312, "aarch64": 272}.get(os.uname().machine)
_KCMP_FILE = 0
_EPOLL_CTL_ADD = 1
_TFD_IOC_SET_TICKS = 0x40085400
_SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, _UDIAG_SHOW_PEER, _UNIX_DIAG_PEER = 20, 1, 4, 2
_NETLINK_SOCK_DIAG = 4


def share_description(one: int, other: int) -> bool:
    """Whether two descriptors of this process are one open file (one offset, one set of flags).

    Raises OSError where the kernel does not say.
    """
    if _KCMP is None:
        raise OSError("kcmp is not known on this processor")
    pid = os.getpid()
    return check(libc.syscall(_KCMP, pid, pid, _KCMP_FILE, one, other), "kcmp") == 0


def filesystem_type(fd: int) -> int:
    """The magic number of the file system that ``fd`` lies on."""
    answer = ctypes.create_string_buffer(256)
    check(libc.fstatfs(fd, answer), "fstatfs")
    return int(struct.unpack_from("l", answer)[0]) & 0xFFFFFFFF


def new_epoll() -> int:
    """An epoll that watches nothing."""
    return check(libc.epoll_create1(os.O_CLOEXEC), "epoll_create1")


class _EpollEvent(ctypes.Structure):
    # The kernel packs it on x86-64 alone.
    _pack_ = 1 if os.uname().machine == "x86_64" else 8
    _fields_ = (("events", ctypes.c_uint32), ("data", ctypes.c_uint64))


def epoll_add(epoll_fd: int, fd: int, events: int, data: int) -> None:
    """Watch ``fd``; all 64 bits of ``data`` are the watcher's, as ``select.epoll`` cannot say."""
    event = _EpollEvent(events, data)
    check(libc.epoll_ctl(epoll_fd, _EPOLL_CTL_ADD, fd, ctypes.byref(event)), "epoll_ctl")


def new_signalfd(mask: int, flags: int) -> int:
    """A signalfd for the signals in ``mask``: bit n-1 is signal n."""
    raw = (ctypes.c_ubyte * 128)(*mask.to_bytes(8, "little"))
    return check(libc.signalfd(-1, raw, flags), "signalfd")


def new_timerfd(clock: int, flags: int) -> int:
    """A timerfd that is not set."""
    return check(libc.timerfd_create(clock, flags), "timerfd_create")


def set_timerfd(fd: int, left: tuple[int, int], interval: tuple[int, int], ticks: int) -> None:
    """Let a timerfd fire after ``left`` and then each ``interval`` (seconds, nanoseconds).

    ``ticks``: how often it has fired already without being read.
    """
    value = (ctypes.c_long * 4)(*interval, *left)
    check(libc.timerfd_settime(fd, 0, value, None), "timerfd_settime")
    if ticks:
        fcntl.ioctl(fd, _TFD_IOC_SET_TICKS, struct.pack("Q", ticks))


def copy_pipe_content(read_fd: int, write_fd: int, size: int) -> None:
    """What waits in one pipe also into another, of the same capacity; nothing is taken out."""
    if size and check(libc.tee(read_fd, write_fd, ctypes.c_size_t(size), 0), "tee") != size:
        raise OSError("tee: a part of what is in the pipe was not copied")


def unix_peer(inode: int) -> int:
    """Inode of the socket that a Unix socket is connected to; 0 where there is none.

    Raises OSError where the kernel does not say.
    """
    family, anything = socket.AF_UNIX, 0xFFFFFFFF  # in any state, with any cookie
    body = struct.pack(
        "=BBHIIIII", family, 0, 0, anything, inode, _UDIAG_SHOW_PEER, anything, anything
    )
    head = struct.pack("=IHHII", 16 + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asking:
        asking.send(head + body)
        answer = asking.recv(4096)
    if struct.unpack_from("=H", answer, 4)[0] != _SOCK_DIAG_BY_FAMILY:
        raise OSError("the kernel does not report the peer of a Unix socket")
    at, end = 16 + 16, struct.unpack_from("=I", answer)[0]
    while at + 4 <= end:
        size, kind = struct.unpack_from("=HH", answer, at)
        if kind == _UNIX_DIAG_PEER:
            return int(struct.unpack_from("=I", answer, at + 4)[0])
        at += max(4, (size + 3) & ~3)
    return 0
