"""Open things for templates: how each is made, what a runner sees of it, what it does to it.

``probe`` answers what it found first and then changes it, so that a later runner which shares it
would find something else.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import mmap
import multiprocessing
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
import zipfile
from collections.abc import Callable
from multiprocessing import shared_memory
from typing import Any


def _records(n: int) -> Any:
    path = os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"records{n}")
    with open(path, "wb") as file:
        file.write(bytes(range(200)))
    fd = os.open(path, os.O_RDONLY)
    os.read(fd, 7)
    return fd, os.dup(fd)


def _probe_records(fds: Any) -> Any:
    # The duplicate goes on where the first one is: they stay one open file.
    return os.read(fds[0], 3), os.read(fds[1], 3)


def _archive(n: int) -> Any:
    path = os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"a{n}.zip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("member", b"content" * 1000)
    return zipfile.ZipFile(path)


def _spool(_n: int) -> Any:
    spool = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - stays open
    spool.write(b"spooled")
    return spool


def _probe_spool(spool: Any) -> Any:
    at = spool.tell()
    spool.seek(0)
    found = spool.read()
    spool.write(b"+")
    return at, found


def _mapped_spool(_n: int) -> Any:
    spool = _spool(0)
    spool.truncate(4096)
    return spool, mmap.mmap(spool.fileno(), 4096)


def _probe_mapped_spool(things: Any) -> Any:
    spool, area = things
    found = area[:7]
    spool.seek(0)
    spool.write(b"changed")
    return found, area[:7]  # file and mapping are one


def _memory_file(_n: int) -> Any:
    fd = os.memfd_create("things")
    os.write(fd, b"memory")
    return fd


def _probe_memory_file(fd: Any) -> Any:
    found = os.pread(fd, 100, 0), os.lseek(fd, 0, os.SEEK_CUR)
    os.write(fd, b"!")
    return found


def _pipe(_n: int) -> Any:
    ends = os.pipe()
    os.write(ends[1], b"waiting")
    return ends


def _probe_pipe(ends: Any) -> Any:
    found = os.read(ends[0], 4)
    os.write(ends[1], b"more")
    return found, os.read(ends[0], 100)


def _probe_pair(pair: Any) -> Any:
    pair[0].send(b"ping")
    return pair[1].recv(100), select.select([pair[1]], [], [], 0)[0]


def _probe_eventfd(fd: Any) -> Any:
    found = os.eventfd_read(fd)
    os.eventfd_write(fd, 9)
    return found


def _watched(_n: int) -> Any:
    ends = os.pipe()
    epoll = select.epoll()
    epoll.register(ends[0], select.EPOLLIN)
    return ends, epoll


def _probe_watched(things: Any) -> Any:
    ends, epoll = things
    before = len(epoll.poll(0))
    os.write(ends[1], b"x")
    after = [fd == ends[0] for fd, _events in epoll.poll(5)]
    return before, after


def _probe_loop(loop: Any) -> Any:
    async def woken_by_a_thread() -> str:
        event = asyncio.Event()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(event.set,))
        thread.start()
        await asyncio.wait_for(event.wait(), 20)
        thread.join()
        return "woken"

    return loop.run_until_complete(woken_by_a_thread())


def _area(_n: int) -> Any:
    area = mmap.mmap(-1, 1 << 20)
    area[:5] = b"hello"
    return area


def _probe_area(area: Any) -> Any:
    found = area[:5]
    area[:5] = b"spoil"
    return found


def _probe_value(value: Any) -> Any:
    with value.get_lock():
        value.value += 1
        return value.value


def _named_memory(n: int) -> Any:
    memory = shared_memory.SharedMemory(f"things{n}", create=True, size=100)  # starts a tracker
    memory.buf[:5] = b"named"
    return memory


def _probe_named_memory(memory: Any) -> Any:
    found = bytes(memory.buf[:5])
    memory.buf[:5] = b"spoil"
    with open(f"/dev/shm/{memory.name}", "rb") as file:
        return found, file.read(5)  # its name still stands for it


def _shm_file(n: int) -> Any:
    path = f"/dev/shm/left{n}"
    with open(path, "w") as file:
        file.write("left")
    return path


def _probe_shm_file(path: Any) -> Any:
    with open(path, "r+") as file:
        found = file.read()
        file.write("+")
    return found


def _directory(_n: int) -> Any:
    path = tempfile.mkdtemp(prefix="rekindle-things-")
    for name in "abc":
        os.mkdir(os.path.join(path, name))
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def _probe_directory(fd: Any) -> Any:
    return sorted(os.listdir(fd))  # moves the offset that all duplicates share


def _alarm(_n: int) -> Any:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 3600, 60)


def _probe_alarm(_nothing: Any) -> Any:
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    return 3000 < left <= 3600, interval


def _shared_lock(n: int) -> Any:
    fds = _records(n)
    fcntl.lockf(fds[0], fcntl.LOCK_SH, 10, 5)
    return fds


def _probe_shared_lock(fds: Any) -> Any:
    with open(f"/proc/self/fdinfo/{fds[0]}") as info:
        return [line.split()[2:5:2] + line.split()[-2:] for line in info if "lock:" in line]


def _thread(_n: int) -> Any:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, daemon=True)
    thread.start()
    return release, thread


def _probe_thread(things: Any) -> Any:
    release, thread = things
    before = thread.is_alive()
    release.set()
    thread.join(20)
    return before, thread.is_alive()


def _child(_n: int) -> Any:
    return subprocess.Popen(["sleep", "1000"])


def _probe_child(child: Any) -> Any:
    before = child.poll()
    child.kill()
    return before, child.wait()


def _listener(n: int) -> Any:
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"s{n}"))
    server.listen()
    return server


def _probe_listener(server: Any) -> Any:
    with socket.socket(socket.AF_UNIX) as client, contextlib.ExitStack() as stack:
        client.connect(server.getsockname())
        stack.enter_context(server.accept()[0])
    return "accepted"


def _exclusive_lock(n: int) -> Any:
    path = os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"lock{n}")
    file = open(path, "w")  # noqa: SIM115 - stays open
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _probe_exclusive_lock(file: Any) -> Any:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return "held"


def _mapped_file(n: int) -> Any:
    path = os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"m{n}")
    with open(path, "wb") as file:
        file.write(bytes(4096))
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), 4096)


def _probe_mapped_file(area: Any) -> Any:
    area[0] += 1
    return area[0]


Make, Probe = Callable[[int], Any], Callable[[Any], Any]

#: Of these, every copy has its own, forked or restored.
RENEWED: dict[str, tuple[Make, Probe]] = {
    "file": (_records, _probe_records),
    "archive": (_archive, lambda archive: archive.read("member")[:7]),
    "unlinked file": (_spool, _probe_spool),
    "mapped unlinked file": (_mapped_spool, _probe_mapped_spool),
    "memory file": (_memory_file, _probe_memory_file),
    "pipe": (_pipe, _probe_pipe),
    "socket pair": (lambda _n: socket.socketpair(), _probe_pair),
    "eventfd": (lambda _n: os.eventfd(5), _probe_eventfd),
    "epoll": (_watched, _probe_watched),
    "event loop": (lambda _n: asyncio.new_event_loop(), _probe_loop),
    "anonymous memory": (_area, _probe_area),
    "value": (lambda _n: multiprocessing.Value("i", 5), _probe_value),
    "named memory": (_named_memory, _probe_named_memory),
    "file in /dev/shm": (_shm_file, _probe_shm_file),
    "directory": (_directory, _probe_directory),
    "alarm": (_alarm, _probe_alarm),
    "shared lock": (_shared_lock, _probe_shared_lock),
}
#: A restore brings these back, a fork does not.
RESTORED: dict[str, tuple[Make, Probe]] = {"thread": (_thread, _probe_thread)}
#: No copy can have these.
REFUSED: dict[str, tuple[Make, Probe]] = {
    "child": (_child, _probe_child),
    "listening socket": (_listener, _probe_listener),
    "exclusive lock": (_exclusive_lock, _probe_exclusive_lock),
    "file mapped for writing": (_mapped_file, _probe_mapped_file),
}
ALL = {**RENEWED, **RESTORED, **REFUSED}
