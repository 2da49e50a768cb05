"""The open files of this process, each with the descriptors that stand for it and its kind.

Reads /proc; changes nothing, and opens none of the files (closing one again would drop the POSIX
locks on it).
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import socket
import stat
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from rekindle.forkserver import kinds, sockets
from rekindle.forkserver.kinds import Kind
from rekindle.linux import descriptors

_MQUEUE, _TMPFS, _PROC = 0x19800202, 0x01021994, 0x9FA0
#: Major and minor numbers of null, zero, full, random and urandom.
_STATELESS_DEVICES = frozenset((1, minor) for minor in (3, 5, 7, 8, 9))
_TERMINAL_MAJORS = frozenset({4, 5, *range(136, 144)})
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_ANONYMOUS = {
    "eventpoll": kinds.EPOLL,
    "eventfd": kinds.EVENTFD,
    "timerfd": kinds.TIMERFD,
    "signalfd": kinds.SIGNALFD,
    "inotify": kinds.INOTIFY,
}


@dataclass
class OpenFile:
    """One open file description of this process."""

    fds: tuple[int, ...]
    kind: Kind
    link: str  # what /proc says it is
    inode: tuple[int, int]  # device, inode
    flags: int
    position: int
    info: str  # its fdinfo
    size: int = 0  # bytes of content, for what is copied
    peer_fd: int = -1  # of a socket pair: the other end

    @property
    def fd(self) -> int:
        """One that stands for it."""
        return self.fds[0]

    def field(self, name: str) -> str:
        """One line of its fdinfo. Raises OSError where the kernel does not report it."""
        found = re.search(rf"^{name}:\s*(.*)$", self.info, re.M)
        if found is None:
            raise OSError(f"/proc does not report {name} of descriptor {self.fd}")
        return found[1]


def open_files(own_fds: Collection[int]) -> list[OpenFile]:
    """All but rekindle's own."""
    found: dict[tuple[int, int, str], list[OpenFile]] = defaultdict(list)
    for entry in sorted(os.listdir("/proc/self/fd"), key=int):
        fd = int(entry)
        if fd in own_fds:
            continue
        try:
            one = _look_at(fd)
        except FileNotFoundError:
            continue  # the listing's own descriptor
        alike = found[(*one.inode, one.link)]
        twin = next((other for other in alike if _are_one(fd, other)), None)
        if twin is None:
            alike.append(one)
        else:
            twin.fds = (*twin.fds, fd)
    everything = [one for alike in found.values() for one in alike]
    _find_inner_ends(everything)
    for one in everything:
        if one.kind is kinds.EPOLL and not _watches_what_is_open(one):
            one.kind = kinds.ODD_EPOLL
    return everything


def _look_at(fd: int) -> OpenFile:
    link = os.readlink(f"/proc/self/fd/{fd}")
    with open(f"/proc/self/fdinfo/{fd}") as file:
        info = file.read()
    status = os.fstat(fd)
    one = OpenFile((fd,), kinds.UNKNOWN, link, (status.st_dev, status.st_ino), 0, 0, info)
    one.position, one.flags = int(one.field("pos")), int(one.field("flags"), 8)
    one.kind = _kind_of(fd, one, status)
    if one.kind in (kinds.UNLINKED, kinds.MEMORY_FILE):
        one.size = status.st_blocks * 512
        if one.kind is kinds.UNLINKED and one.size > kinds.SETTLED_BYTES:
            one.kind = kinds.LARGE_UNLINKED
    return one


def _kind_of(fd: int, one: OpenFile, status: os.stat_result) -> Kind:
    mode, link = status.st_mode, one.link
    if link.startswith("/proc/") and descriptors.filesystem_type(fd) == _PROC:
        return kinds.PROC_FILE
    if one.flags & os.O_PATH:
        return kinds.PATH
    if stat.S_ISREG(mode):
        return _kind_of_regular(fd, link)
    if stat.S_ISDIR(mode):
        return kinds.GONE_DIRECTORY if link.endswith(" (deleted)") else kinds.DIRECTORY
    if stat.S_ISCHR(mode):
        major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
        if link.startswith(("/dev/nvidia", "/dev/dri")):
            return kinds.GPU
        if (major, minor) in _STATELESS_DEVICES:
            return kinds.STATELESS_DEVICE
        return kinds.TERMINAL if major in _TERMINAL_MAJORS else kinds.DEVICE
    if stat.S_ISBLK(mode):
        return kinds.DEVICE
    if stat.S_ISFIFO(mode):
        return kinds.OUTER_PIPE if link.startswith("pipe:[") else kinds.NAMED_PIPE
    if stat.S_ISSOCK(mode):
        return kinds.SOCKET
    if link.startswith("anon_inode:"):
        kind = _ANONYMOUS.get(link.removeprefix("anon_inode:").strip("[]"), kinds.UNKNOWN)
        if kind is kinds.EVENTFD and "eventfd-semaphore:" not in one.info:
            return kinds.UNTOLD_EVENTFD
        return kind
    return kinds.UNKNOWN


def _kind_of_regular(fd: int, link: str) -> Kind:
    if link.startswith("/memfd:"):
        # Huge pages are not in shmem, and secret memory cannot be read at all.
        is_plain = descriptors.filesystem_type(fd) == _TMPFS
        return kinds.MEMORY_FILE if is_plain else kinds.UNKNOWN
    if link.partition(":[")[0] in _NAMESPACES:
        return kinds.NAMESPACE
    if not link.startswith("/") or descriptors.filesystem_type(fd) == _MQUEUE:
        return kinds.QUEUE if link.startswith("/") else kinds.UNKNOWN
    if link.endswith(" (deleted)"):
        return kinds.UNLINKED
    # The sandbox has a /dev/shm of its own, so a file in it is the template's memory.
    if link.startswith("/dev/shm/"):
        return kinds.MEMORY_FILE
    return kinds.FILE if _can_be_opened_again(fd) else kinds.BARRED_FILE


def _can_be_opened_again(fd: int) -> bool:
    way = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    wanted = {os.O_RDONLY: os.R_OK, os.O_WRONLY: os.W_OK}.get(way, os.R_OK | os.W_OK)
    return os.access(f"/proc/self/fd/{fd}", wanted, effective_ids=True)


def _are_one(fd: int, other: OpenFile) -> bool:
    try:
        return descriptors.share_description(fd, other.fd)
    except OSError:
        # Not known: neither is safe then.
        other.kind = kinds.UNKNOWN
        return True


def _find_inner_ends(everything: list[OpenFile]) -> None:
    """Pipes and socket pairs whose two ends are both here."""
    pipes: dict[tuple[int, int], list[OpenFile]] = defaultdict(list)
    unix = {one.inode[1]: one for one in everything if one.link.startswith("socket:[")}
    for one in everything:
        if one.kind is kinds.OUTER_PIPE:
            pipes[one.inode].append(one)
        elif one.kind is kinds.SOCKET:
            one.kind = _kind_of_socket(one, unix)
    outputs = [os.fstat(fd) for fd in (1, 2)]
    for inode, ends in pipes.items():
        if any(inode == (output.st_dev, output.st_ino) for output in outputs):
            for end in ends:
                end.kind = kinds.OUTPUT
            continue
        ways = {end.flags & os.O_ACCMODE for end in ends}
        if os.O_RDWR not in ways and (len(ways) == 2 or _other_end_is_gone(ends[0])):
            packets = any(end.flags & os.O_DIRECT for end in ends)
            for end in ends:
                end.kind = kinds.PACKET_PIPE if packets else kinds.INNER_PIPE


def _other_end_is_gone(end: OpenFile) -> bool:
    poll = select.poll()
    poll.register(end.fd, 0)  # hang-ups and errors are reported unasked
    return any(events & (select.POLLHUP | select.POLLERR) for _fd, events in poll.poll(0))


def _kind_of_socket(one: OpenFile, here: dict[int, OpenFile]) -> Kind:
    with sockets.look_at(one.fd) as end:
        if end.family != socket.AF_UNIX:
            return kinds.SOCKET
        try:
            peer = here.get(descriptors.unix_peer(one.inode[1]))
            if peer is None or end.getsockname() or end.getpeername():
                return kinds.SOCKET
        except OSError:
            return kinds.SOCKET
    poll = select.poll()
    ended = select.POLLIN | select.POLLHUP | select.POLLRDHUP | select.POLLERR
    for fd in (one.fd, peer.fd):
        poll.register(fd, ended)
    if poll.poll(0):  # data, or one way is shut down
        return kinds.FILLED_SOCKETS
    one.peer_fd = peer.fd
    return kinds.INNER_SOCKETS


class Watch(NamedTuple):
    """What an epoll watches."""

    fd: int
    events: int
    data: int
    inode: int


def watches(epoll: OpenFile) -> list[Watch]:
    """From its fdinfo."""
    found = re.findall(
        r"^tfd:\s*(\d+) events:\s*(\w+) data:\s*(\w+)\b.* ino:\s*(\w+)", epoll.info, re.M
    )
    return [Watch(int(fd), *(int(one, 16) for one in rest)) for fd, *rest in found]


def _watches_what_is_open(epoll: OpenFile) -> bool:
    """Whether each watched number still stands for what is watched."""
    for watch in watches(epoll):
        try:
            if os.fstat(watch.fd).st_ino != watch.inode:
                return False
        except OSError:
            return False
    return True


def is_inheritable(fd: int) -> bool:
    """Whether it stays open over an exec."""
    return not fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
