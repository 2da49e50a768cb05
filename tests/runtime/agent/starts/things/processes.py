"""What belongs to the process itself: timers, threads, children."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import subprocess
import threading
import time
from typing import Any

from tests.runtime.agent.starts.things.kinds import Make, Probe, libc


def _alarm(_n: int) -> Any:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 3600, 60)


def _probe_alarm(_nothing: Any) -> Any:
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    return 3000 < left <= 3600, interval


def _thread(_n: int) -> Any:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, daemon=True)
    thread.start()
    return release, thread


def _probe_thread(things: Any) -> Any:
    release, thread = things
    before = thread.is_alive()
    release.set()
    thread.join(60)
    return before, thread.is_alive()


def _child(_n: int) -> Any:
    return subprocess.Popen(["sleep", "1000"])


def _probe_child(child: Any) -> Any:
    before = child.poll()
    child.kill()
    return before, child.wait()


def _posix_timer(_n: int) -> Any:
    timer = ctypes.c_void_p()
    silent = bytes(12) + struct.pack("i", 1) + bytes(48)  # sigev_notify: SIGEV_NONE
    libc("timer_create", time.CLOCK_MONOTONIC, silent, ctypes.byref(timer))
    libc("timer_settime", timer, 0, struct.pack("4q", 60, 0, 3600, 0), None)
    return timer.value


def _probe_posix_timer(timer: Any) -> Any:
    found = ctypes.create_string_buffer(32)
    libc("timer_settime", ctypes.c_void_p(timer), 0, bytes(32), found)
    interval, _ns, left, _ns = struct.unpack("4q", found.raw)
    return interval, 3000 < left <= 3600


def _few_files(_n: int) -> Any:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def _probe_few_files(_nothing: Any) -> Any:
    return resource.getrlimit(resource.RLIMIT_NOFILE)


THINGS: dict[str, tuple[Make, Probe]] = {
    "alarm": (_alarm, _probe_alarm),
    "thread": (_thread, _probe_thread),
    "POSIX timer": (_posix_timer, _probe_posix_timer),
    "child": (_child, _probe_child),
    "limit of open files": (_few_files, _probe_few_files),
    "pidfd": (lambda _n: os.pidfd_open(os.getpid()), lambda fd: os.fstat(fd).st_size),
}
