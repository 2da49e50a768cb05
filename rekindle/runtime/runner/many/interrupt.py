"""What ends user code in a thread that others run beside: an exception raised in that thread."""

from __future__ import annotations

import ctypes
import threading

from rekindle.exception import InputCancellation


class _Came(BaseException):
    """In place of what has been raised and may not have come yet."""


class Interrupt:
    """Raises InputCancellation in the thread that made it, while it is armed.

    Where that waits in the kernel, or in C code, it is raised when it comes back from there. That
    thread alone arms and disarms it.
    """

    def __init__(self) -> None:
        self._thread = ctypes.c_ulong(threading.get_ident())
        self._lock = threading.RLock()
        self._armed, self._raised = True, False

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
            if not self._raised:
                return
            # Not taken back by raising None: Python 3.11 looks for that for ever, and the next
            # function that is traced (by a debugger, say) never begins.
            try:
                _raise_in(self._thread, ctypes.py_object(_Came))
                while True:
                    pass
            except _Came:
                self._raised = False


# A handle of its own: what user code says of the function's types is its own.
_raise_in = ctypes.PyDLL(None).PyThreadState_SetAsyncExc
