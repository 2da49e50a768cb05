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

#: The code, with its strings, by lines: place, bytes, and what they are to an assembler.
_X86_64 = """
    000  4889e5              mov rbp, rsp
    003  bf01000000          mov edi, 1
    008  be09000000          mov esi, 9
    00d  b89d000000          mov eax, 0x9d
    012  0f05                syscall  ; prctl(PR_SET_PDEATHSIG, SIGKILL)
    014  488d3dda000000      lea rdi, [rip + 0xda]
    01b  488d35d8000000      lea rsi, [rip + 0xd8]
    022  4889fa              mov rdx, rdi
    025  41ba0e000000        mov r10d, 0xe
    02b  4531c0              xor r8d, r8d
    02e  b8a5000000          mov eax, 0xa5
    033  0f05                syscall  ; mount
    035  85c0                test eax, eax
    037  7530                jne 0x69
    039  488d3dc0000000      lea rdi, [rip + 0xc0]
    040  b850000000          mov eax, 0x50
    045  0f05                syscall  ; chdir
    047  b83a000000          mov eax, 0x3a
    04c  0f05                syscall  ; vfork
    04e  85c0                test eax, eax
    050  7523                jne 0x75
    052  488d7518            lea rsi, [rbp + 0x18]
    056  488b3e              mov rdi, [rsi]
    059  488b4500            mov rax, [rbp]
    05d  488d54c510          lea rdx, [rbp + rax*8 + 0x10]
    062  b83b000000          mov eax, 0x3b
    067  0f05                syscall  ; execve
    069  bf7f000000          mov edi, 0x7f
    06e  b8e7000000          mov eax, 0xe7
    073  0f05                syscall  ; exit_group
    075  89c3                mov ebx, eax
    077  31ff                xor edi, edi
    079  be09000000          mov esi, 9
    07e  31d2                xor edx, edx
    080  b8b4010000          mov eax, 0x1b4
    085  0f05                syscall  ; close_range
    087  bf0b000000          mov edi, 0xb
    08c  beffffffff          mov esi, 0xffffffff
    091  31d2                xor edx, edx
    093  b8b4010000          mov eax, 0x1b4
    098  0f05                syscall  ; close_range
    09a  4883ec10            sub rsp, 0x10
    09e  bfffffffff          mov edi, 0xffffffff
    0a3  488d742404          lea rsi, [rsp + 4]
    0a8  31d2                xor edx, edx
    0aa  4531d2              xor r10d, r10d
    0ad  b83d000000          mov eax, 0x3d
    0b2  0f05                syscall  ; wait4
    0b4  85c0                test eax, eax
    0b6  7834                js 0xec
    0b8  890424              mov [rsp], eax
    0bb  39d8                cmp eax, ebx
    0bd  7517                jne 0xd6
    0bf  488b7d10            mov rdi, [rbp + 0x10]
    0c3  be02000000          mov esi, 2
    0c8  b8a6000000          mov eax, 0xa6
    0cd  0f05                syscall  ; umount2
    0cf  837c240400          cmp [rsp + 4], 0
    0d4  74c8                je 0x9e
    0d6  bf0a000000          mov edi, 0xa
    0db  4889e6              mov rsi, rsp
    0de  ba08000000          mov edx, 8
    0e3  b801000000          mov eax, 1
    0e8  0f05                syscall  ; write
    0ea  ebb2                jmp 0x9e
    0ec  31ff                xor edi, edi
    0ee  b8e7000000          mov eax, 0xe7
    0f3  0f05                syscall  ; exit_group
    0f5  70726f6300          "proc"
    0fa  2f70726f6300        "/proc"
    100  2f00                "/"
"""
_AARCH64 = """
    000  f4030091  mov x20, sp
    004  200080d2  mov x0, #1
    008  210180d2  mov x1, #9
    00c  e81480d2  mov x8, #0xa7
    010  010000d4  svc #0  ; prctl(PR_SET_PDEATHSIG, SIGKILL)
    014  40080010  adr x0, #0x11c
    018  41080030  adr x1, #0x121
    01c  e20300aa  mov x2, x0
    020  c30180d2  mov x3, #0xe
    024  040080d2  mov x4, #0
    028  080580d2  mov x8, #0x28
    02c  010000d4  svc #0  ; mount
    030  600200b5  cbnz x0, #0x7c
    034  80070070  adr x0, #0x127
    038  280680d2  mov x8, #0x31
    03c  010000d4  svc #0  ; chdir
    040  202288d2  mov x0, #0x4111
    044  010080d2  mov x1, #0
    048  020080d2  mov x2, #0
    04c  030080d2  mov x3, #0
    050  040080d2  mov x4, #0
    054  881b80d2  mov x8, #0xdc
    058  010000d4  svc #0  ; clone(CLONE_VM | CLONE_VFORK | SIGCHLD)
    05c  600100b5  cbnz x0, #0x88
    060  800e40f9  ldr x0, [x20, #0x18]
    064  81620091  add x1, x20, #0x18
    068  830240f9  ldr x3, [x20]
    06c  820e038b  add x2, x20, x3, lsl #3
    070  42400091  add x2, x2, #0x10
    074  a81b80d2  mov x8, #0xdd
    078  010000d4  svc #0  ; execve
    07c  e00f80d2  mov x0, #0x7f
    080  c80b80d2  mov x8, #0x5e
    084  010000d4  svc #0  ; exit_group
    088  f30300aa  mov x19, x0
    08c  000080d2  mov x0, #0
    090  210180d2  mov x1, #9
    094  020080d2  mov x2, #0
    098  883680d2  mov x8, #0x1b4
    09c  010000d4  svc #0  ; close_range
    0a0  600180d2  mov x0, #0xb
    0a4  01008012  mov w1, #-1
    0a8  020080d2  mov x2, #0
    0ac  883680d2  mov x8, #0x1b4
    0b0  010000d4  svc #0  ; close_range
    0b4  ff4300d1  sub sp, sp, #0x10
    0b8  00008092  mov x0, #-1
    0bc  e1130091  add x1, sp, #4
    0c0  020080d2  mov x2, #0
    0c4  030080d2  mov x3, #0
    0c8  882080d2  mov x8, #0x104
    0cc  010000d4  svc #0  ; wait4
    0d0  0002f8b7  tbnz x0, #0x3f, #0x110
    0d4  e00300b9  str w0, [sp]
    0d8  1f00136b  cmp w0, w19
    0dc  e1000054  b.ne #0xf8
    0e0  800a40f9  ldr x0, [x20, #0x10]
    0e4  410080d2  mov x1, #2
    0e8  e80480d2  mov x8, #0x27
    0ec  010000d4  svc #0  ; umount2
    0f0  e10740b9  ldr w1, [sp, #4]
    0f4  21feff34  cbz w1, #0xb8
    0f8  400180d2  mov x0, #0xa
    0fc  e1030091  mov x1, sp
    100  020180d2  mov x2, #8
    104  080880d2  mov x8, #0x40
    108  010000d4  svc #0  ; write
    10c  ebffff17  b #0xb8
    110  000080d2  mov x0, #0
    114  c80b80d2  mov x8, #0x5e
    118  010000d4  svc #0  ; exit_group
    11c  70726f6300  "proc"
    121  2f70726f6300  "/proc"
    127  2f00      "/"
"""
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
    return elf(number, assembled(code))


def assembled(listing: str) -> bytes:
    """The bytes of a listing."""
    return bytes.fromhex("".join(line.split()[1] for line in listing.splitlines() if line))


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
    """Make it a file that can be run: whole, or not at all. Raises OSError."""
    made, draft = program(), f"{path}.draft"
    with open(draft, "wb") as file:
        file.write(made)
        os.fchmod(file.fileno(), 0o700)
    os.rename(draft, path)
