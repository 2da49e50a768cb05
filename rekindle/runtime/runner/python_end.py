"""What Python does where a program ends, as far as a runner does it: handlers of ``atexit``.

A runner runs those that were registered in it, so that temporary folders of user code, for example,
go with it. Those of a template run in no copy: they would take from the others what they share.
Processes and threads are not waited for: they end with the runner.
"""

from __future__ import annotations

import atexit
import sys
from typing import Any


def forget() -> None:
    """In a template that is about to park: what was registered up to now is nobody's."""
    atexit._clear()
    if (weakref := sys.modules.get("weakref")) is not None:
        finalize: Any = weakref.finalize
        for one in list(finalize._registry):
            one.atexit = False
        finalize._registered_with_atexit = False  # the next one registers itself again
    _take_folder()


def run() -> None:
    """Run them; what one raises is shown, and has no other effect."""
    if (util := sys.modules.get("multiprocessing.util")) is not None:
        atexit.unregister(util._exit_function)  # it waits for processes
    atexit._run_exitfuncs()
    if folder := _take_folder():
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def _take_folder() -> str | None:
    """The folder that multiprocessing has for sockets; the next use makes another one."""
    process: Any = sys.modules.get("multiprocessing.process")
    return process.current_process()._config.pop("tempdir", None) if process is not None else None
