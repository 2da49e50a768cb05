"""Programs whose threads and sockets a library has replaced (gevent, eventlet): refused with words.

A program's connection to its instance is an event loop on a thread of its own, and gRPC has threads
in C. Where a thread is a greenlet, that loop never runs beside the program: its calls would hang,
and so would its end. Looked at where something of that is begun, not at each call.
"""

from __future__ import annotations

import sys
from typing import Any

from rekindle.exception import MonkeyPatchedError

#: What the loop's thread and the connections need as Python has it, by the option that leaves it
#: so, each with the names under which the library says that it is replaced.
_NEEDED: dict[str, dict[str, tuple[str, ...]]] = {
    "gevent.monkey": {
        "thread": ("_thread", "threading"),
        "socket": ("socket",),
        "select": ("select", "selectors"),
        "queue": ("queue",),
    },
    "eventlet.patcher": {"thread": ("thread",), "socket": ("socket",), "select": ("select",)},
}
_PATCHERS = {
    "gevent.monkey": "gevent.monkey.patch_all",
    "eventlet.patcher": "eventlet.monkey_patch",
}


def refuse(what: str) -> None:
    """Raises MonkeyPatchedError for ``what`` ("a call", say) in such a process."""
    modules = sys.modules
    if "gevent.monkey" in modules or "eventlet.patcher" in modules:
        for name in _NEEDED:
            if name in modules and (patched := _patched(name, modules[name])):
                raise MonkeyPatchedError(_explain(what, name, patched))


def _patched(name: str, module: Any) -> list[str]:
    look = "is_module_patched" if name == "gevent.monkey" else "is_monkey_patched"
    is_patched = getattr(module, look, None)
    if is_patched is None:  # it is being loaded
        return []
    return [option for option, names in _NEEDED[name].items() if any(map(is_patched, names))]


def _explain(what: str, name: str, patched: list[str]) -> str:
    library = name.partition(".")[0]
    without = ", ".join(f"{one}=False" for one in _NEEDED[name])
    return (
        f"{what} does not work here: {library} has replaced {', '.join(patched)} in this process, "
        f"and rekindle's own thread and connections would wait for greenlets that never run. Use "
        f"rekindle from a process that is not patched (a subprocess, say), or leave out what it "
        f"needs: {_PATCHERS[name]}({without}). What only a function needs patched, patch where it "
        f"runs: `if not rekindle.is_local():`"
    )
