"""What a template may have open, kind by kind: what the table says of the real things."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import pty
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rekindle.forkserver import kinds
from rekindle.forkserver.inspection import inspect
from rekindle.forkserver.kinds import Kind
from rekindle.forkserver.mappings import shared_mappings
from rekindle.forkserver.open_files import OpenFile, open_files
from rekindle.forkserver.open_things import OpenThings

_libc = ctypes.CDLL(None, use_errno=True)


def _listed() -> set[int]:
    return {int(fd) for fd in os.listdir("/proc/self/fd")}


def _opened(*fds: int) -> list[OpenFile]:
    """The open files behind `fds`; what other threads of this process open does not count."""
    found = open_files(_listed() - set(fds))
    return [one for one in found if set(one.fds) & set(fds)]


def _kinds(*fds: int) -> set[Kind]:
    return {one.kind for one in _opened(*fds)}


@pytest.fixture
def keep() -> Iterator[ExitStack]:
    """Closes at the end what is put on it."""
    with ExitStack() as stack:
        yield stack


def _unlinked(size: int) -> int:
    fd, path = tempfile.mkstemp()
    os.unlink(path)
    os.posix_fallocate(fd, 0, size)
    return fd


def _gone_directory() -> int:
    path = tempfile.mkdtemp()
    fd = os.open(path, os.O_RDONLY)
    os.rmdir(path)
    return fd


def _socket(family: int, kind: int) -> int:
    return socket.socket(family, kind).detach()


def _call(name: str, *args: int) -> int:
    fd: int = getattr(_libc, name)(*args)
    if fd < 0:
        pytest.skip(f"{name} is not to be had here")
    return fd


def _io_uring() -> int:
    parameters = ctypes.create_string_buffer(120)
    fd: int = _libc.syscall(425, 1, parameters)
    if fd < 0:
        pytest.skip("io_uring is not to be had here")
    return fd


ONE_DESCRIPTOR: dict[str, tuple[Callable[[], int], Kind]] = {
    "a file": (lambda: os.open(__file__, os.O_RDONLY), kinds.FILE),
    "a path": (lambda: os.open(__file__, os.O_PATH), kinds.PATH),
    "a directory": (lambda: os.open("/", os.O_RDONLY), kinds.DIRECTORY),
    "a removed directory": (_gone_directory, kinds.GONE_DIRECTORY),
    "an unlinked file": (lambda: _unlinked(4096), kinds.UNLINKED),
    "a large unlinked file": (
        lambda: _unlinked(kinds.SETTLED_BYTES + 4096),
        kinds.LARGE_UNLINKED,
    ),
    "a memfd": (lambda: os.memfd_create("x"), kinds.MEMORY_FILE),
    "the null device": (lambda: os.open("/dev/null", os.O_RDWR), kinds.STATELESS_DEVICE),
    "random bytes": (lambda: os.open("/dev/urandom", os.O_RDONLY), kinds.STATELESS_DEVICE),
    "an eventfd": (lambda: os.eventfd(0), kinds.EVENTFD),
    "an inotify": (lambda: _call("inotify_init1", 0), kinds.INOTIFY),
    "a timerfd": (lambda: _call("timerfd_create", 1, 0), kinds.TIMERFD),
    "a pidfd": (lambda: os.pidfd_open(os.getpid()), kinds.UNKNOWN),
    "a fanotify": (lambda: _call("fanotify_init", 0, 0), kinds.UNKNOWN),
    "an io_uring": (_io_uring, kinds.UNKNOWN),
    "a namespace": (lambda: os.open("/proc/self/ns/net", os.O_RDONLY), kinds.NAMESPACE),
    "a Unix socket": (lambda: _socket(socket.AF_UNIX, socket.SOCK_STREAM), kinds.SOCKET),
    "a TCP socket": (lambda: _socket(socket.AF_INET, socket.SOCK_STREAM), kinds.SOCKET),
    "a netlink socket": (lambda: _socket(socket.AF_NETLINK, socket.SOCK_RAW), kinds.SOCKET),
}


@pytest.mark.parametrize("name", ONE_DESCRIPTOR)
def test_each_kind_of_descriptor_is_known_for_what_it_is(name: str) -> None:
    make, kind = ONE_DESCRIPTOR[name]
    fd = make()
    try:
        assert _kinds(fd) == {kind}
    finally:
        os.close(fd)


def test_duplicates_are_one_open_file_and_two_opens_are_two() -> None:
    fds = [os.open(__file__, os.O_RDONLY)]
    fds += [os.dup(fds[0]), os.open(__file__, os.O_RDONLY)]
    try:
        assert sorted(one.fds for one in _opened(*fds)) == [(fds[0], fds[1]), (fds[2],)]
    finally:
        for fd in fds:
            os.close(fd)


def test_a_pipe_is_inner_only_when_nobody_else_can_hold_an_end() -> None:
    read_fd, write_fd = os.pipe()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[write_fd]
        ) as holder:
            os.close(write_fd)
            assert _kinds(read_fd) == {kinds.OUTER_PIPE}
            holder.kill()
        assert _kinds(read_fd) == {kinds.INNER_PIPE}  # the other end is gone
    finally:
        os.close(read_fd)


def test_both_ends_of_a_pipe_and_of_a_socket_pair_are_inner() -> None:
    ends = [*os.pipe(), *(end.detach() for end in socket.socketpair())]
    try:
        assert _kinds(*ends) == {kinds.INNER_PIPE, kinds.INNER_SOCKETS}
        os.write(ends[2], b"on its way")
        assert kinds.FILLED_SOCKETS in _kinds(*ends)
    finally:
        for fd in ends:
            os.close(fd)


def test_half_a_socket_pair_is_a_connection() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert _kinds(ours.fileno()) == {kinds.SOCKET}


def test_a_terminal_is_not_shared() -> None:
    fds = pty.openpty()
    try:
        assert _kinds(*fds) == {kinds.TERMINAL}
    finally:
        for fd in fds:
            os.close(fd)


def test_an_epoll_that_watches_a_closed_number_is_not_made_again(keep: ExitStack) -> None:
    epoll = keep.enter_context(select.epoll())
    fd = os.eventfd(0)
    other = os.dup(fd)
    keep.callback(os.close, other)
    epoll.register(fd, select.EPOLLIN)
    assert _kinds(epoll.fileno()) == {kinds.EPOLL}
    os.close(fd)  # still watched: the duplicate keeps it open
    assert _kinds(epoll.fileno()) == {kinds.ODD_EPOLL}


def _mapped(link: str) -> set[Kind]:
    return {kind for area, kind in shared_mappings() if link in area.path}


def test_each_kind_of_shared_mapping_is_known_for_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mapped-file"
    path.write_bytes(bytes(4096))
    with path.open("r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
            assert _mapped("mapped-file") == {kinds.READ_MAP}
        with mmap.mmap(file.fileno(), 0):
            assert _mapped("mapped-file") == {kinds.FILE_MAP}
            path.unlink()
            assert _mapped("mapped-file") == {kinds.UNLINKED_MAP}
    with mmap.mmap(-1, 4096):
        assert kinds.MEMORY_MAP in _mapped("/dev/zero")


def test_only_the_index_of_a_sqlite_log_may_be_mapped_for_writing(tmp_path: Path) -> None:
    path = tmp_path / "some.db-shm"
    path.write_bytes(bytes(4096))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0):
        assert _mapped("some.db-shm") == {kinds.FILE_MAP}
        (tmp_path / "some.db").touch()
        (tmp_path / "some.db-wal").touch()
        assert _mapped("some.db-shm") == {kinds.SQLITE_INDEX}


@pytest.mark.parametrize(
    ("how", "words"),
    [(fcntl.LOCK_EX, "an exclusive flock lock"), (fcntl.LOCK_SH, "")],
)
def test_an_exclusive_lock_is_named_with_its_file(tmp_path: Path, how: int, words: str) -> None:
    path = tmp_path / "locked"
    with path.open("w") as file:
        fcntl.flock(file, how)
        things = OpenThings.look(_listed() - {file.fileno()}, in_sandbox=False)
        found = inspect(things, in_sandbox=False)
    said = [reason for reason in found.dump_unsafe if str(path) in reason]
    assert bool(said) == bool(words)
    assert all(words in reason and "release it" in reason for reason in said)


def test_a_duplicate_of_standard_output_follows_it() -> None:
    """In a child whose output is a pipe, as a template's is."""
    script = (
        "import os\n"
        "from rekindle.forkserver.open_files import OpenFile, open_files\n"
        "os.dup(1)\n"
        "print([one.kind.name for one in open_files({0, 1, 2}) if one.link.startswith('pipe:')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"[{kinds.OUTPUT.name!r}]"
