"""What ends user code in a thread that others run beside: an exception raised in that thread."""

from __future__ import annotations

import ctypes
import threading

from rekindle.exception import InputCancellation


class Interrupt:
    """Raises InputCancellation in the thread that made it, while it is armed.

    Where that waits in the kernel, or in C code, it is raised when it comes back from there.
    """

    def __init__(self) -> None:
        self._thread = ctypes.c_ulong(threading.get_ident())
        self._lock = threading.RLock()
        self._armed = True
        self._raised = False

    def __call__(self) -> None:
        with self._lock:
            if self._armed:
                self._armed, self._raised = False, True
                _raise_in(self._thread, ctypes.py_object(InputCancellation))

    def arm(self) -> None:
        """From here on it is raised."""
        with self._lock:
            self._armed = True

    def disarm(self) -> None:
        """From here on nothing is raised."""
        with self._lock:
            self._armed = False
            if self._raised:
                self._raised = False
                self._take()

    def _take(self) -> None:
        """Have what may not have come yet come here.

        Taken back (with NULL), it would leave Python 3.11 looking for it for ever, and code
        that is traced (by a debugger, a measure of coverage) is begun anew each time it looks.
        """
        try:
            _raise_in(self._thread, ctypes.py_object(InputCancellation))  # in place of the first
            while True:
                pass
        except InputCancellation:
            pass


# A handle of its own: what user code says of the function's types is its own.
_raise_in = ctypes.PyDLL(None).PyThreadState_SetAsyncExc
