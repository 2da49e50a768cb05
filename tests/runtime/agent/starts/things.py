"""Open things for templates: how each is made, what a runner sees of it, what it does to it.

``probe`` answers what it found first and then changes it, so that a later runner which shares it
would find something else.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import mmap
import multiprocessing
import os
import select
import signal
import socket
import sqlite3
import struct
import subprocess
import tempfile
import threading
import time
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


def _c(name: str, *args: Any) -> int:
    """Call a function of the C library that Python 3.11 lacks."""
    result: int = getattr(ctypes.CDLL(None, use_errno=True), name)(*args)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def _timerfd(_n: int) -> Any:
    fd = _c("timerfd_create", 1, 0)
    _c("timerfd_settime", fd, 0, struct.pack("4q", 60, 0, 3600, 0), None)
    return fd


def _probe_timerfd(fd: Any) -> Any:
    found = ctypes.create_string_buffer(32)
    # Stopped by the first that asks.
    _c("timerfd_settime", fd, 0, bytes(32), found)
    interval, _ns, left, _ns = struct.unpack("4q", found.raw)
    return interval, 3000 < left <= 3600


def _signalfd(_n: int) -> Any:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    mask = (1 << signal.SIGUSR2 - 1).to_bytes(128, "little")
    return _c("signalfd", -1, mask, os.O_NONBLOCK)


def _probe_signalfd(fd: Any) -> Any:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
    return struct.unpack_from("I", os.read(fd, 128))


def _database(n: int) -> Any:
    path = os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"d{n}.sqlite")
    connection = sqlite3.connect(path, check_same_thread=False, timeout=60)
    connection.execute("pragma journal_mode = wal")
    connection.execute("create table t (v)")
    connection.execute("insert into t values (5)")
    connection.commit()
    return connection


def _probe_database(connection: Any) -> Any:
    # Each adds a row to the one database on disk, which none may lose or damage.
    before = connection.execute("select count(*) from t").fetchone()[0]
    with connection:
        connection.execute("insert into t values (5)")
    after = connection.execute("select count(*) from t").fetchone()[0]
    check = connection.execute("pragma integrity_check").fetchone()[0]
    return after > before, check, connection.execute("select v from t").fetchone()[0]


def _arrays(n: int) -> Any:
    import numpy as np

    path = os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"a{n}.npz")
    np.savez(path, first=np.arange(100000), second=np.ones(100000))
    return np.load(path)


def _probe_arrays(arrays: Any) -> Any:
    return int(arrays["first"].sum()), float(arrays["second"].sum())


def _array_in_file(n: int, mode: Any) -> Any:
    import numpy as np

    path = os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"m{n}.npy")
    np.save(path, np.zeros(5000, dtype=np.int64))
    return np.load(path, mmap_mode=mode)


def _probe_array(array: Any) -> Any:
    array[7] += 1
    return int(array[7]), int(array.sum())


def _gone_directory(_n: int) -> Any:
    path = tempfile.mkdtemp(prefix="rekindle-things-")
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir(path)
    return fd


def _gone_working_directory(_n: int) -> Any:
    path = tempfile.mkdtemp(prefix="rekindle-things-")
    os.chdir(path)
    os.rmdir(path)


def _probe_gone_working_directory(_nothing: Any) -> Any:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "gone"


def _posix_timer(_n: int) -> Any:
    timer = ctypes.c_void_p()
    silent = bytes(12) + struct.pack("i", 1) + bytes(48)  # sigev_notify: SIGEV_NONE
    _c("timer_create", time.CLOCK_MONOTONIC, silent, ctypes.byref(timer))
    _c("timer_settime", timer, 0, struct.pack("4q", 60, 0, 3600, 0), None)
    return timer.value


def _probe_posix_timer(timer: Any) -> Any:
    found = ctypes.create_string_buffer(32)
    _c("timer_settime", ctypes.c_void_p(timer), 0, bytes(32), found)
    interval, _ns, left, _ns = struct.unpack("4q", found.raw)
    return interval, 3000 < left <= 3600


def _inotify(_n: int) -> Any:
    path = tempfile.mkdtemp(prefix="rekindle-things-")
    fd = _c("inotify_init1", os.O_NONBLOCK)
    _c("inotify_add_watch", fd, os.fsencode(path), 0x100)  # IN_CREATE
    return fd, path


def _probe_inotify(things: Any) -> Any:
    fd, path = things
    name = f"n{time.monotonic_ns()}"
    os.mkdir(os.path.join(path, name))
    return os.fsencode(name) in os.read(fd, 4096)


def _netlink(_n: int) -> Any:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)


def _terminal(_n: int) -> Any:
    return os.openpty()


def _probe_terminal(ends: Any) -> Any:
    os.write(ends[1], b"line")
    return os.read(ends[0], 100)


def _system_v_memory(_n: int) -> Any:
    return _c("shmget", 0, 4096, 0o1600)  # IPC_PRIVATE, IPC_CREAT


def _probe_system_v_memory(identifier: Any) -> Any:
    _c("shmctl", identifier, 0, None)  # IPC_RMID
    return "removed"


def _system_v_semaphore(_n: int) -> Any:
    return _c("semget", 0, 1, 0o1600)


def _probe_system_v_semaphore(identifier: Any) -> Any:
    _c("semctl", identifier, 0, 0)
    return "removed"


def _message_queue(n: int) -> Any:
    fd = _c("mq_open", f"/things{n}".encode(), os.O_RDWR | os.O_CREAT, 0o600, None)
    _c("mq_send", fd, b"message", 7, 0)
    return fd


def _probe_message_queue(fd: Any) -> Any:
    buffer = ctypes.create_string_buffer(8192)
    return buffer.raw[: _c("mq_receive", fd, buffer, 8192, None)]


def _shared_tensor(_n: int) -> Any:
    import torch

    torch.set_num_threads(1)
    return torch.zeros(1000).share_memory_()


def _probe_shared_tensor(tensor: Any) -> Any:
    tensor[3] += 1
    return float(tensor[3]), float(tensor.sum()), tensor.is_shared()


def _hdf5(n: int) -> Any:
    import h5py

    path = os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"h{n}.h5")
    with h5py.File(path, "w") as file:
        file["numbers"] = list(range(10000))
    return h5py.File(path, "r")  # under a shared lock


def _probe_hdf5(file: Any) -> Any:
    return int(file["numbers"][5]), int(file["numbers"][:].sum())


def _part(number: int, content: bytes) -> bytes:
    """A field of a protobuf message, shorter than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def _onnx_session(_n: int) -> Any:
    os.environ["HOME"] = tempfile.mkdtemp(prefix="rekindle-things-")  # of its telemetry database
    import onnxruntime

    kind = _part(2, _part(1, b"\x08\x01" + _part(2, _part(1, b"\x08\x01"))))  # one float
    graph = (
        _part(1, _part(1, b"x") + _part(2, b"y") + _part(4, b"Neg"))
        + _part(2, b"g")
        + _part(11, _part(1, b"x") + kind)
        + _part(12, _part(1, b"y") + kind)
    )
    model = b"\x08\x08" + _part(7, graph) + _part(8, b"\x10\x0d")
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def _probe_onnx_session(session: Any) -> Any:
    import numpy as np

    return float(session.run(None, {"x": np.array([5], dtype=np.float32)})[0][0])


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
    "timerfd": (_timerfd, _probe_timerfd),
    "signalfd": (_signalfd, _probe_signalfd),
    "SQLite database": (_database, _probe_database),
    "npz archive": (_arrays, _probe_arrays),
    "array mapped privately": (lambda n: _array_in_file(n, "c"), _probe_array),
}
#: A fork has its own of these, and they cannot be frozen.
FORKED: dict[str, tuple[Make, Probe]] = {
    "removed directory": (_gone_directory, lambda fd: os.listdir(fd)),
    "removed working directory": (_gone_working_directory, _probe_gone_working_directory),
}
#: A restore brings these back, a fork does not.
RESTORED: dict[str, tuple[Make, Probe]] = {
    "thread": (_thread, _probe_thread),
    "POSIX timer": (_posix_timer, _probe_posix_timer),
    "inotify": (_inotify, _probe_inotify),
}
#: No copy can have these.
REFUSED: dict[str, tuple[Make, Probe]] = {
    "child": (_child, _probe_child),
    "listening socket": (_listener, _probe_listener),
    "exclusive lock": (_exclusive_lock, _probe_exclusive_lock),
    "file mapped for writing": (_mapped_file, _probe_mapped_file),
    "array mapped for writing": (lambda n: _array_in_file(n, "r+"), _probe_array),
    "terminal": (_terminal, _probe_terminal),
    "netlink socket": (_netlink, lambda netlink: netlink.family),
    "pidfd": (lambda _n: os.pidfd_open(os.getpid()), lambda fd: os.fstat(fd).st_size),
    "System V memory": (_system_v_memory, _probe_system_v_memory),
    "System V semaphore": (_system_v_semaphore, _probe_system_v_semaphore),
    "message queue": (_message_queue, _probe_message_queue),
}
#: Copies have their own of these, too. With the module that each needs.
OF_LIBRARIES: dict[str, tuple[str, Make, Probe]] = {
    "shared tensor": ("torch", _shared_tensor, _probe_shared_tensor),
    "HDF5 file": ("h5py", _hdf5, _probe_hdf5),
    "ONNX session": ("onnxruntime", _onnx_session, _probe_onnx_session),
}
#: Of them, what only a restore brings back: it has threads.
THREADED_LIBRARIES = {"ONNX session"}
ALL = {**RENEWED, **FORKED, **RESTORED, **REFUSED}
