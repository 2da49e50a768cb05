"""Open files of a forked copy made again, so that nothing in them is shared with its template.

Works from what was found when the template parked: it has moved nothing since. Each new file takes
the numbers of the old one. Locks are in ``locks.py``, memory in ``shared_memory.py``.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections import defaultdict

from rekindle.forkserver import kinds, sockets
from rekindle.forkserver.open_files import OpenFile, watches
from rekindle.forkserver.shared_memory import put_in_place
from rekindle.linux import descriptors, plain_descriptors

#: What an open of a file keeps of the flags that it was opened with.
_FLAGS = (
    os.O_ACCMODE
    | os.O_APPEND
    | os.O_NONBLOCK
    | os.O_SYNC
    | os.O_DIRECT
    | os.O_NOATIME
    | os.O_DIRECTORY
)
#: The same of a file without a name: an eventfd, say.
_OF_ANONYMOUS = os.O_NONBLOCK | os.O_CLOEXEC
_F_SETPIPE_SZ, _F_GETPIPE_SZ = 1031, 1032
#: Set on sockets as pairs of option and whether its value reads back doubled.
_SO_SNDBUF, _SO_RCVBUF, _SO_PASSCRED = 7, 8, 16
_SO_RCVTIMEO, _SO_SNDTIMEO = 20, 21


def renew(files: list[OpenFile], *, moved: bool = False) -> None:
    """Give this process open files of its own; their timers do not run yet. ``moved``: those of the
    root that it is in now. Raises OSError."""
    for one in files:
        if one.kind in (kinds.FILE, kinds.DIRECTORY, kinds.GONE_DIRECTORY):
            _open_again(one, by_name=moved and one.kind is not kinds.GONE_DIRECTORY)
        elif one.kind is kinds.EVENTFD:
            _renew_eventfd(one)
        elif one.kind is kinds.TIMERFD:
            flags = one.flags & _OF_ANONYMOUS
            put_in_place(descriptors.new_timerfd(int(one.field("clockid")), flags), one.fds)
        elif one.kind is kinds.SIGNALFD:
            mask = int(one.field("sigmask"), 16)
            put_in_place(descriptors.new_signalfd(mask, one.flags & _OF_ANONYMOUS), one.fds)
    _renew_pipes(files)
    _renew_sockets(files)
    _renew_epolls([one for one in files if one.kind is kinds.EPOLL])


def _open_again(one: OpenFile, *, by_name: bool) -> None:
    path = one.link if by_name else f"/proc/self/fd/{one.fd}"
    opened = os.open(path, one.flags & _FLAGS)
    if one.position:
        os.lseek(opened, one.position, os.SEEK_SET)
    put_in_place(opened, one.fds)


def _renew_eventfd(one: OpenFile) -> None:
    count = int(one.field("eventfd-count"), 16)
    flags = one.flags & _OF_ANONYMOUS
    if one.field("eventfd-semaphore") == "1":
        flags |= os.EFD_SEMAPHORE
    fresh = os.eventfd(0, flags)
    if count:
        os.eventfd_write(fresh, count)  # the initial value has 32 bits only
    put_in_place(fresh, one.fds)


def start_timers(files: list[OpenFile]) -> None:
    """Let the timers of a copy go on from where they stood when its template parked.

    Raises OSError.
    """
    for one in files:
        if one.kind is kinds.TIMERFD:
            left, interval = (_pair(one.field(name)) for name in ("it_value", "it_interval"))
            descriptors.set_timerfd(one.fd, left, interval, int(one.field("ticks")))


def _pair(text: str) -> tuple[int, int]:
    seconds, nanoseconds = text.strip("()").split(",")
    return int(seconds), int(nanoseconds)


def _renew_pipes(files: list[OpenFile]) -> None:
    pipes: dict[tuple[int, int], list[OpenFile]] = defaultdict(list)
    for one in files:
        if one.kind is kinds.INNER_PIPE:
            pipes[one.inode].append(one)
    for ends in pipes.values():
        _renew_pipe(ends)


def _renew_pipe(ends: list[OpenFile]) -> None:
    fresh = dict(zip((os.O_RDONLY, os.O_WRONLY), os.pipe(), strict=True))
    capacity = fcntl.fcntl(ends[0].fd, _F_GETPIPE_SZ)
    if capacity != fcntl.fcntl(fresh[os.O_RDONLY], _F_GETPIPE_SZ):
        fcntl.fcntl(fresh[os.O_RDONLY], _F_SETPIPE_SZ, capacity)
    for end in ends:
        if end.flags & os.O_ACCMODE == os.O_RDONLY:
            waiting = plain_descriptors.bytes_waiting(end.fd)
            descriptors.copy_pipe_content(end.fd, fresh[os.O_WRONLY], waiting)
            break
    for end in ends:
        way = end.flags & os.O_ACCMODE
        opened = os.open(f"/proc/self/fd/{fresh[way]}", way | end.flags & os.O_NONBLOCK)
        put_in_place(opened, end.fds)
    for fd in fresh.values():
        os.close(fd)


def _renew_sockets(files: list[OpenFile]) -> None:
    inner = {one.fd: one for one in files if one.kind is kinds.INNER_SOCKETS}
    while inner:
        _fd, one = inner.popitem()
        other = inner.pop(one.peer_fd)
        _renew_socket_pair(one, other)


def _renew_socket_pair(one: OpenFile, other: OpenFile) -> None:
    with sockets.look_at(one.fd) as old:
        kind = old.type
    for end, fresh in zip((one, other), socket.socketpair(socket.AF_UNIX, kind), strict=True):
        with sockets.look_at(end.fd) as old:
            for option in (_SO_SNDBUF, _SO_RCVBUF):
                had = old.getsockopt(socket.SOL_SOCKET, option)
                if had != fresh.getsockopt(socket.SOL_SOCKET, option):
                    # The kernel doubles what it is given.
                    fresh.setsockopt(socket.SOL_SOCKET, option, had // 2)
            if old.getsockopt(socket.SOL_SOCKET, _SO_PASSCRED):
                fresh.setsockopt(socket.SOL_SOCKET, _SO_PASSCRED, 1)
            for option in (_SO_RCVTIMEO, _SO_SNDTIMEO):
                fresh.setsockopt(
                    socket.SOL_SOCKET, option, old.getsockopt(socket.SOL_SOCKET, option, 16)
                )
        fd = fresh.detach()
        os.set_blocking(fd, not end.flags & os.O_NONBLOCK)
        put_in_place(fd, end.fds)


def _renew_epolls(epolls: list[OpenFile]) -> None:
    """First all of them, then what they watch: one may watch another."""
    for one in epolls:
        put_in_place(descriptors.new_epoll(), one.fds)
    for one in epolls:
        for watch in watches(one):
            descriptors.epoll_add(one.fd, watch.fd, watch.events, watch.data)
