"""A program of 400 bytes that is PID 1 of the namespaces of one worker: a CRIU that restores.

An init that is a fork of a Python process costs a fork, the pages that it writes to, and its end,
which is more than CRIU takes to start. This one has no memory of its own but a page. It shows its
PID namespace under /proc, starts the worker, and waits: each that ends is reported by a packet of
eight bytes, process id and wait status, except a worker that has ended well. It ends when no one is
left, and with its parent. As a program it is this, with system calls alone:

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0)) _exit(127);
    chdir("/");
    worker = vfork();
    if (!worker) { execve(argv[2], argv + 2, envp); _exit(127); }
    close_range(0, CONTROL_FD - 1, 0); close_range(CONTROL_FD + 1, -1, 0);
    while ((ended.pid = wait4(-1, &ended.status, 0, 0)) >= 0) {
        if (ended.pid == worker) {
            umount2(argv[1], MNT_DETACH);
            if (!ended.status) continue;
        }
        write(CONTROL_FD, &ended, 8);
    }
    _exit(0);

Made by hand, as there is no compiler where rekindle runs. Knows nothing of CRIU.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import struct

#: Where it has its connection; the worker gets all other descriptors.
CONTROL_FD = 10
#: The worker is the second process of its namespace.
WORKER_PID = 2
#: What it reports: a process id, and its status as of wait(2).
ENDED = struct.Struct("=iI")

#: Earlier kernels have no close_range, and what is to be closed would stay open.
_SINCE = (5, 9)

#: By machine, the code with its three strings.
_X86_64 = (
    "4889e5bf01000000be09000000b89d0000000f05488d3dda000000488d35d80000004889fa41ba0e"
    "0000004531c0b8a50000000f0585c07530488d3dc0000000b8500000000f05b83a0000000f0585c0"
    "7523488d7518488b3e488b4500488d54c510b83b0000000f05bf7f000000b8e70000000f0589c331"
    "ffbe0900000031d2b8b40100000f05bf0b000000beffffffff31d2b8b40100000f054883ec10bfff"
    "ffffff488d74240431d24531d2b83d0000000f0585c0783489042439d87517488b7d10be02000000"
    "b8a60000000f05837c24040074c8bf0a0000004889e6ba08000000b8010000000f05ebb231ffb8e7"
    "0000000f0570726f63002f70726f63002f00"
)
_AARCH64 = (
    "f4030091200080d2210180d2e81480d2010000d44008001041080030e20300aac30180d2040080d2"
    "080580d2010000d4600200b580070070280680d2010000d4202288d2010080d2020080d2030080d2"
    "040080d2881b80d2010000d4600100b5800e40f981620091830240f9820e038b42400091a81b80d2"
    "010000d4e00f80d2c80b80d2010000d4f30300aa000080d2210180d2020080d2883680d2010000d4"
    "600180d201008012020080d2883680d2010000d4ff4300d100008092e1130091020080d2030080d2"
    "882080d2010000d40002f8b7e00300b91f00136be1000054800a40f9410080d2e80480d2010000d4"
    "e10740b921feff34400180d2e1030091020180d2080880d2010000d4ebffff17000080d2c80b80d2"
    "010000d470726f63002f70726f63002f00"
)
#: The number that ELF has for a machine, and its code.
_MACHINES = {"x86_64": (62, _X86_64), "aarch64": (183, _AARCH64)}
_ADDRESS = 0x400000
_HEADERS = 64 + 56
_READ_EXECUTE = 5
#: Larger than the pages of any processor that we know.
_ALIGNMENT = 1 << 16


def program() -> bytes:
    """The program for this machine, an ELF file. Raises OSError where there is none."""
    kernel, machine = os.uname().release, platform.machine()
    if tuple(map(int, re.findall(r"\d+", kernel)[:2])) < _SINCE:
        raise OSError(errno.ENOTSUP, f"snapshots are restored by Linux 5.9 or newer, not {kernel}")
    if machine not in _MACHINES:
        known = " and ".join(_MACHINES)
        raise OSError(errno.ENOTSUP, f"snapshots are restored on {known}, not on {machine}")
    number, code = _MACHINES[machine]
    return elf(number, bytes.fromhex(code))


def elf(machine: int, code: bytes) -> bytes:
    """A program that begins with its code, for this number of a machine."""
    size = _HEADERS + len(code)
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header = struct.pack(
        "<HHIQQQIHHHHHH", 2, machine, 1, _ADDRESS + _HEADERS, 64, 0, 0, 64, 56, 1, 64, 0, 0
    )
    segment = struct.pack(
        "<IIQQQQQQ", 1, _READ_EXECUTE, 0, _ADDRESS, _ADDRESS, size, size, _ALIGNMENT
    )
    return ident + header + segment + code


def write(path: str) -> None:
    """Make it a file that can be run. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o700)
    try:
        os.write(fd, program())
    finally:
        os.close(fd)
