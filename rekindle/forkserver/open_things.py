"""All that is open in a template: taken stock of when it parks, given to each of its copies.

The one place that knows the order of the steps; each step is in a file of its own. Knows nothing of
agents and orders.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from rekindle.forkserver import (
    kinds,
    locks,
    mappings,
    open_files,
    park,
    process_state,
    renewal,
    shared_memory,
)
from rekindle.forkserver.still_there import Standing, held_still
from rekindle.linux.maps import Mapping


@dataclass
class OpenThings:
    """What copies of this process must not share with it."""

    files: list[open_files.OpenFile] = field(default_factory=list)
    shared: list[tuple[Mapping, kinds.Kind]] = field(default_factory=list)
    private: list[Mapping] = field(default_factory=list)
    objects: list[shared_memory.MemoryObject] = field(default_factory=list)
    held_locks: list[locks.HeldLock] = field(default_factory=list)
    timers: list[process_state.Timer] = field(default_factory=list)
    #: In the process that was parked and in what was restored from it, until it becomes a runner.
    _names_are_due: bool = False
    #: In a copy that was forked to be a runner, and is not one yet.
    _timers_are_due: bool = False
    #: Of a template in which user code runs at its forks.
    _standing: Standing | None = None

    @classmethod
    def look(cls, own_fds: Collection[int], *, in_sandbox: bool) -> OpenThings:
        """What is open now; nothing is changed. ``own_fds`` are rekindle's, not the user's."""
        files = open_files.open_files(own_fds)
        shared = mappings.shared_mappings()
        return cls(
            files,
            shared,
            mappings.private_mappings_of_unlinked(),
            shared_memory.find_objects(files, shared, in_sandbox=in_sandbox),
            locks.held_locks(files),
        )

    @property
    def copied_bytes(self) -> int:
        """What a forked copy has to copy."""
        return sum(one.size for one in self.objects)

    def settle(self) -> None:
        """In a template of one thread: make its memory such that copies can have their own."""
        shared_memory.settle(self.objects, self.private)
        self._names_are_due = True

    def stop_timers(self) -> None:
        """In a template: none fires while it waits."""
        self.timers = process_state.stop_timers()
        park.follow_output({fd for one in self.files if one.kind is kinds.OUTPUT for fd in one.fds})

    def note_what_stands(self) -> None:
        """In a template, before user code of its own runs there again. Raises OSError."""
        if self._standing is None:
            self._standing = Standing.of(self.files, self.objects)

    def forget_what_is_gone(self) -> None:
        """In a copy, before it is given anything: what user code has closed in the template, it
        does not get either. Raises OSError."""
        if self._standing is not None:
            self.files = self._standing.open_still(self.files)
            self._standing.unmap_what_is_gone(self.objects, self.files)
            self.held_locks = held_still(self.held_locks, self.files)
            self._standing = None

    def give_to_runner(self, *, moved: bool = False) -> None:
        """In a copy that was forked to be a runner, once it has its own /dev/shm and /proc.
        ``moved``: it is in another root, which has the same files.

        It may wait before it is one; no timer runs until then. Raises OSError when something cannot
        be made again.
        """
        if self.objects:
            shared_memory.renew(self.objects, for_runner=True)
        if self.files:
            renewal.renew(self.files, moved=moved)
        self._names_are_due = False
        self._timers_are_due = True
        self.take_locks()

    def give_to_copy(self) -> None:
        """In a copy that was forked to be frozen. Raises OSError."""
        shared_memory.renew(self.objects, for_runner=False)
        renewal.renew(self.files)
        renewal.start_timers(self.files)

    def unmap_memory(self) -> None:
        """In a process that waits to be frozen, as its last step. Raises OSError."""
        shared_memory.unmap(self.objects)

    def map_memory(self) -> None:
        """In a restored copy, before user code. Raises OSError."""
        shared_memory.map_again(self.objects)

    def take_locks(self) -> None:
        """In a copy. Raises OSError when another process holds an exclusive one by now."""
        for lock in self.held_locks:
            locks.take(lock)

    def release_locks(self) -> None:
        """In a template that is itself to be frozen."""
        for lock in self.held_locks:
            locks.release(lock)

    def become_runner(self) -> None:
        """In what is a runner from now on: a copy, or the template itself. Raises OSError."""
        if self._names_are_due:
            shared_memory.bring_names_back(self.objects)
        if self.objects:
            shared_memory.forget(self.objects)
        if self._timers_are_due:
            renewal.start_timers(self.files)
        if self.timers:
            process_state.start_timers(self.timers)
