"""Memory and System V objects that processes share by a name, a descriptor or a fork."""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import os
from multiprocessing import shared_memory
from typing import Any

from tests.runtime.agent.starts.things.kinds import Make, Probe, libc


def _memory_file(_n: int) -> Any:
    fd = os.memfd_create("things")
    os.write(fd, b"memory")
    return fd


def _probe_memory_file(fd: Any) -> Any:
    found = os.pread(fd, 100, 0), os.lseek(fd, 0, os.SEEK_CUR)
    os.write(fd, b"!")
    return found


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


def _system_v_memory(_n: int) -> Any:
    return libc("shmget", 0, 4096, 0o1600)  # IPC_PRIVATE, IPC_CREAT


def _probe_system_v_memory(identifier: Any) -> Any:
    libc("shmctl", identifier, 0, None)  # IPC_RMID
    return "removed"


def _system_v_semaphore(_n: int) -> Any:
    return libc("semget", 0, 1, 0o1600)


def _probe_system_v_semaphore(identifier: Any) -> Any:
    libc("semctl", identifier, 0, 0)
    return "removed"


def _message_queue(n: int) -> Any:
    fd = libc("mq_open", f"/things{n}".encode(), os.O_RDWR | os.O_CREAT, 0o600, None)
    libc("mq_send", fd, b"message", 7, 0)
    return fd


def _probe_message_queue(fd: Any) -> Any:
    buffer = ctypes.create_string_buffer(8192)
    return buffer.raw[: libc("mq_receive", fd, buffer, 8192, None)]


THINGS: dict[str, tuple[Make, Probe]] = {
    "memory file": (_memory_file, _probe_memory_file),
    "anonymous memory": (_area, _probe_area),
    "value": (lambda _n: multiprocessing.Value("i", 5), _probe_value),
    "named memory": (_named_memory, _probe_named_memory),
    "file in /dev/shm": (_shm_file, _probe_shm_file),
    "System V memory": (_system_v_memory, _probe_system_v_memory),
    "System V semaphore": (_system_v_semaphore, _probe_system_v_semaphore),
    "message queue": (_message_queue, _probe_message_queue),
}
