"""What is open and alive in a template when it parks, and what follows from it.

The choice between fork and restore is made from what is seen here, not from what the user
promised. ``kinds.py`` says what each kind means.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from dataclasses import dataclass, field

from rekindle.forkserver import kinds, process_state, python_processes, sockets
from rekindle.forkserver.kinds import Kind, OnFork, OnFreeze
from rekindle.forkserver.mappings import kind_of
from rekindle.forkserver.open_files import OpenFile
from rekindle.forkserver.open_things import OpenThings

#: Python threads that do no harm when they are missing in a forked child: each is started again
#: by its library when it is next needed.
HARMLESS_THREADS = frozenset(
    {
        "tqdm_monitor",  # tqdm checks is_alive() at each new bar
    }
)


@dataclass
class Inspection:
    """What was found. Empty lists of reasons mean that the step is safe."""

    threads: list[str]  # besides the main one
    fork_unsafe: list[str] = field(default_factory=list)  # why it may not be forked
    dump_unsafe: list[str] = field(default_factory=list)  # why it cannot be frozen

    def add(self, kind: Kind, text: str) -> None:
        """What the table says of ``kind``; ``text`` names the thing."""
        if kind.on_fork is OnFork.REFUSE:
            self.fork_unsafe.append(text)
        if kind.on_freeze is OnFreeze.REFUSE:
            self.dump_unsafe.append(f"{text}; {kind.remedy}")

    def add_both(self, text: str, remedy: str) -> None:
        """A thing that no copy can have."""
        self.fork_unsafe.append(text)
        self.dump_unsafe.append(f"{text}; {remedy}")


def park_inspection(
    own_fds: Collection[int], given: process_state.Standard
) -> tuple[Inspection, OpenThings]:
    """In a template that parks: look, and settle what copies are to have. Raises OSError.

    ``given``: what its standard descriptors stood for when it booted.
    """
    python_processes.end_all(process_state.other_processes(in_sandbox=True))
    things = OpenThings.look(own_fds, in_sandbox=True)
    found = inspect(things, in_sandbox=True)
    for text in process_state.replaced_streams(given):
        found.add_both(text, "give it another number, or do it in @enter(snap=False)")
    if gave_up := process_state.given_up_privileges():
        found.add_both(gave_up, "give them up in @enter(snap=False)")
    if replaced := process_state.looping_sockets():
        found.add_both(replaced, "have it do that in @enter(snap=False)")
    if not found.threads:
        things.settle()
    things.stop_timers()
    return found, things


def inspect(things: OpenThings, *, in_sandbox: bool) -> Inspection:
    """What follows from ``things``, and from what else is alive in this process."""
    threads, harmful = _threads()
    found = Inspection(threads, [f"thread {name} is alive" for name in harmful])
    for pid in process_state.other_processes(in_sandbox=in_sandbox):
        found.add_both(process_state.process_in_words(pid), "end it before the hook returns")
    for one in things.files:
        found.add(one.kind, _in_words(one))
    for area, kind in things.shared:
        where = f"{area.path or 'memory'} is mapped at {area.start:#x}, {area.size} bytes"
        found.add(kind, f"{where} ({kind.name})")
    _add_memory(things, found, alone=not threads)
    for lock in things.held_locks:
        if not lock.can_be_had_by_copies:
            found.add_both(lock.in_words(), "release it before the hook returns")
    found.fork_unsafe += process_state.lost_by_fork(things.files)
    found.fork_unsafe += [f"POSIX timer {number} is set" for number in process_state.posix_timers()]
    if in_sandbox:
        for text in process_state.system_v_objects():
            found.add_both(f"{text} exists", "make it in @enter(snap=False) instead")
    if os.readlink("/proc/self/cwd").endswith(" (deleted)"):
        found.dump_unsafe.append("the working directory was removed; change to another one")
    return found


def _in_words(one: OpenFile) -> str:
    if one.kind in (kinds.SOCKET, kinds.FILLED_SOCKETS):
        opened = next((where for fd in one.fds if (where := sockets.opened_at(fd))), "")
        words = sockets.describe(one.fd, one.inode[1])
        return f"open socket: fd {one.fd} is {words}" + (f", opened at {opened}" if opened else "")
    if one.kind in (kinds.GPU, kinds.DEVICE, kinds.TERMINAL):
        return f"open device: fd {one.fd} is {one.link}"
    article = "an" if one.kind.name[0] in "aeiou" else "a"
    return f"fd {one.fd} is {one.link} ({article} {one.kind.name})"


def _add_memory(things: OpenThings, found: Inspection, *, alone: bool) -> None:
    """What has no place of its own for each copy: too much, or memory that threads may use."""
    size = things.copied_bytes
    if size > kinds.COPIED_BYTES:
        found.fork_unsafe.append(
            f"{size >> 20} MiB of shared memory and unlinked files: more than the "
            f"{kinds.COPIED_BYTES >> 20} MiB that are copied at each fork"
        )
    # Memory is not moved from under threads, and two restores at once would make the same file.
    for one in things.objects:
        if alone and not one.is_large:
            continue
        why = f"is too large to save ({one.size} bytes)" if alone else "is used by threads"
        if one.path:
            found.dump_unsafe.append(f"{one.path} {why}")
        elif any(file.kind is kinds.UNLINKED for file in one.files) or any(
            kind_of(area) is kinds.UNLINKED_MAP for area in one.mappings
        ):
            link = one.files[0].link if one.files else one.mappings[0].path
            if not link.startswith("/dev/shm/"):
                found.dump_unsafe.append(f"{link} {why}")


def _threads() -> tuple[list[str], list[str]]:
    """All threads but the main one, and those of them that are not known to be harmless."""
    python_names: dict[int, str] = {}
    threading = sys.modules.get("threading")
    if threading is not None:
        for thread in threading.enumerate():
            # eventlet's have none.
            if number := getattr(thread, "native_id", None):
                python_names[number] = thread.name
    everyone, harmful = [], []
    for entry in sorted(os.listdir("/proc/self/task"), key=int):
        tid = int(entry)
        if tid == os.getpid():
            continue
        try:
            with open(f"/proc/self/task/{tid}/comm") as comm:
                native = comm.read().strip()
        except FileNotFoundError:
            continue  # ended while we looked
        name = python_names.get(tid, "")
        label = f"{name or native} ({'Python' if name else 'native'}, id {tid})"
        everyone.append(label)
        if name not in HARMLESS_THREADS:
            harmful.append(label)
    return everyone, harmful
