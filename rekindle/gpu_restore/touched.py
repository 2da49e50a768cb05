"""Which line of a program was the first to touch the GPU's driver in a process.

CUDA is initialised deep in C, by whoever needs it first, and cannot be undone: a template that has
done so is neither forked nor frozen, and its owner wants to know where. The kernel says when one of
the driver's device files is opened (inotify, with a signal); Python runs the signal's handler as
soon as the call into C returns, so the frame that it interrupts is the line that made the call.
Until then it costs nothing. What is looked at in the end is this process alone, as other processes
open the same files. Standard library only.
"""

from __future__ import annotations

import ctypes
import fcntl
import glob
import os
import signal
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from rekindle.linux import maps
from rekindle.linux.libc import libc

DEVICES = "/dev/nvidia"
_SIGNAL = signal.SIGRTMAX - 1
_F_SETSIG = 10
_IN_OPEN = 0x20
_NOT_THE_USERS = (sys.base_prefix, sys.prefix, "<frozen")
_RTLD_NOLOAD = 4
_NOT_INITIALIZED = 3


@dataclass
class Watch:
    """From ``begin`` to ``end``: the line that opened a device file, once one did.

    ``prefix``: what the names of the files begin with.
    """

    prefix: str = DEVICES
    #: ``file:line in function``, with the import that was going on; "" as long as nothing is known.
    where: str = ""
    #: Whether a library's own entry point said that it asks CUDA: its answer is kept, whatever is
    #: closed again. An open alone may have been NVML's.
    is_asked: bool = False
    _is_cuda: bool = False
    _fd: int = -1
    _former: Any = None
    _files: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """In the main thread. Does nothing where there are no such files, or nothing more can be
        watched (the system has a limit for each user): then the line is not known."""
        self._files = [path for path in glob.glob(f"{self.prefix}*") if not os.path.isdir(path)]
        if not self._files:
            return
        self._fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            return
        for path in self._files:
            libc.inotify_add_watch(self._fd, os.fsencode(path), _IN_OPEN)
        self._former = signal.signal(_SIGNAL, self._opened)
        signal.siginterrupt(_SIGNAL, False)
        fcntl.fcntl(self._fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(self._fd, _F_SETSIG, int(_SIGNAL))
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        fcntl.fcntl(self._fd, fcntl.F_SETFL, flags | os.O_ASYNC)

    def end(self) -> None:
        """Stop, and leave nothing open; what was found stays."""
        if self._fd < 0:
            return
        # A child that user code forked may have it still: no signal is to come that nobody handles.
        fcntl.fcntl(self._fd, fcntl.F_SETFL, fcntl.fcntl(self._fd, fcntl.F_GETFL) & ~os.O_ASYNC)
        os.close(self._fd)
        self._fd = -1
        signal.signal(_SIGNAL, self._former if self._former is not None else signal.SIG_DFL)

    def note(self, depth: int = 1) -> None:
        """The caller's caller is about to touch it: said by a library's own entry point."""
        if not (self.is_asked or self._is_cuda):
            self.where = in_words(sys._getframe(depth))
        self.is_asked = True

    def _opened(self, _number: int, frame: FrameType | None) -> None:
        try:
            os.read(self._fd, 1 << 16)
        except OSError:
            return
        # Other processes open them, too; NVML, for a moment, before CUDA does for good.
        opened = open_files(self.prefix)
        if frame is not None and opened and not (self.is_asked or self._is_cuda):
            self.where = in_words(frame)
            self._is_cuda = any("-uvm" in file for file in opened)


def in_words(frame: FrameType) -> str:
    """``app.py:12 in load, at the import of kernels``: the user's line, and whose import it is."""
    nearest = user = ""
    imported = ""
    for one, line in traceback.walk_stack(frame):
        file, function = one.f_code.co_filename, one.f_code.co_name
        if file.startswith("<frozen"):
            continue
        where = f"{file}:{line} in {function}"
        nearest = nearest or where
        if file.startswith(_NOT_THE_USERS) or "/rekindle/" in file:
            if function == "<module>" and not user:
                imported = str(one.f_globals.get("__name__", "")).partition(".")[0] or imported
            continue
        user = where
        break
    if not user:
        return nearest
    return f"{user}, at the import of {imported}" if imported else user


def open_files(prefix: str = DEVICES) -> list[str]:
    """The driver's device files that this process has open, each once."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:
            continue
        if link.startswith(prefix):
            found.add(link)
    return sorted(found)


def library_state(paths: Iterable[str] | None = None) -> int | None:
    """What the CUDA library says of itself, where it is loaded: 0 initialised, or its error.

    None: it is not loaded, or was not initialised. Loads and initialises nothing. ``paths``: files
    that are mapped.
    """
    mapped = paths if paths is not None else {one.path for one in maps.mappings()}
    for path in mapped:
        if not os.path.basename(path).startswith("libcuda.so"):
            continue
        try:
            library = ctypes.CDLL(path, mode=_RTLD_NOLOAD)
            code = int(library.cuDeviceGetCount(ctypes.byref(ctypes.c_int())))
        except (OSError, AttributeError):
            continue
        return None if code == _NOT_INITIALIZED else code
    return None


def reasons(watch: Watch, *, expects_gpu: bool) -> list[str]:
    """Why this process can be neither forked nor frozen for what it did with the GPU; [] if not.

    Where no GPU is expected, a CUDA that was asked and found none does no harm.
    """
    files, state = open_files(watch.prefix), library_state()
    at = f" at {watch.where}" if watch.where else ""
    remedy = "use the GPU in @enter(snap=False) only"
    if any("-uvm" in file for file in files) or state == 0:
        return [f"CUDA was initialised{at}; {remedy}"]
    if files:
        opened = f"the GPU's driver was opened{at} ({', '.join(files)}), by NVML most likely"
        close = "close it before the hook returns (nvmlShutdown), or ask in @enter(snap=False)"
        return [f"{opened}; {close}"]
    if expects_gpu and state is not None:
        return [f"CUDA was asked for its devices{at} and keeps the answer, error {state}; {remedy}"]
    if expects_gpu and watch.is_asked:
        return [f"CUDA was asked for its devices{at} and keeps the answer; {remedy}"]
    return []


def condense(given: list[str], found: list[str]) -> list[str]:
    """``given`` reasons with those of single device files and mappings replaced by ``found``."""
    if not found:
        return given
    return [*found, *(one for one in given if DEVICES not in one)]
