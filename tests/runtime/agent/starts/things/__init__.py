"""Open things for templates: how each is made, what a runner sees of it, what it does to it.

A probe answers what it found first and then changes it, so that a later runner which shares it
would find something else.
"""

from __future__ import annotations

from tests.runtime.agent.starts.things import (
    descriptors,
    files,
    libraries,
    processes,
    shared_memory,
)
from tests.runtime.agent.starts.things.kinds import Make, Probe

ALL: dict[str, tuple[Make, Probe]] = {
    **files.THINGS,
    **shared_memory.THINGS,
    **descriptors.THINGS,
    **processes.THINGS,
}
#: A fork has its own of these, and they cannot be frozen.
FORKED = ("removed directory", "removed working directory")
#: A restore brings these back, a fork does not.
RESTORED = ("thread", "POSIX timer", "inotify")
#: Of them, what no user but root can have in a snapshot.
RESTORED_OF_ROOT = ("inotify",)
#: No copy can have these.
REFUSED = (
    "child",
    "listening socket",
    "exclusive lock",
    "file mapped for writing",
    "array mapped for writing",
    "terminal",
    "netlink socket",
    "pidfd",
    "System V memory",
    "System V semaphore",
    "message queue",
    "limit of open files",
)
#: Of all others, every copy has its own, forked or restored.
RENEWED = tuple(name for name in ALL if name not in {*FORKED, *RESTORED, *REFUSED})
#: Copies have their own of these, too. With the module that each needs.
OF_LIBRARIES = libraries.THINGS
#: Of them, what only a restore brings back: it has threads.
THREADED_LIBRARIES = {"ONNX session"}
