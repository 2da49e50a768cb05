"""Which weights a holder keeps, who uses them, and which go when there is no room.

Counts and decides; knows nothing of sockets or of memory. A client is any hashable thing.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from rekindle.exception import GpuError


class State(Enum):
    """Of an entry; it goes down this list only, and is forgotten from any."""

    LOADING = "loading"  # one client brings the weights; others wait
    HELD = "held"  # complete


@dataclass
class Entry:
    """One revision's weights."""

    key: str
    state: State = State.LOADING
    #: Bytes on the device; 0 until there is memory.
    size: int = 0
    users: set[Hashable] = field(default_factory=set)
    waiting: list[Hashable] = field(default_factory=list)
    used_at: int = 0
    #: The holder's own: where they are, what is in them.
    memory: Any = None


#: What a client that is gone leaves to do: entries to free, each with the clients that wait for it.
Left = list[tuple[Entry, list[Hashable]]]


class Ledger:
    """``budget_bytes``: of all entries together; 0 is no limit but the device's."""

    def __init__(self, budget_bytes: int = 0) -> None:
        self.budget_bytes = budget_bytes
        self._entries: dict[str, Entry] = {}
        self._clock = itertools.count(1)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    @property
    def held_bytes(self) -> int:
        """Of all entries, those that are being loaded too."""
        return sum(entry.size for entry in self._entries.values())

    def find(self, key: str) -> Entry:
        """Raises GpuError for one that is not there."""
        entry = self._entries.get(key)
        if entry is None:
            raise GpuError(f"no weights are held by the name {key!r}")
        return entry

    def want(self, key: str, client: Hashable) -> Entry | None:
        """An entry that is held, and counts this client now; or one that this client is to load.

        None: another one is loading it, and this client is among those that wait.
        """
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry(key)
            entry.users.add(client)
        elif entry.state is State.HELD:
            entry.users.add(client)
            entry.used_at = next(self._clock)
        elif client not in entry.users:
            entry.waiting.append(client)
            return None
        return entry

    def make_room(self, size: int) -> list[Entry] | None:
        """Entries to free, least recently used first, so that ``size`` more bytes fit.

        They are forgotten here. None: there is no room, even without those that nobody uses.
        """
        if not self.budget_bytes:
            return []
        chosen: list[Entry] = []
        over = self.held_bytes + size - self.budget_bytes
        for entry in self._idle():
            if over <= 0:
                break
            chosen.append(entry)
            over -= entry.size
        if over > 0:
            return None
        for entry in chosen:
            del self._entries[entry.key]
        return chosen

    def evict_one(self) -> Entry | None:
        """The least recently used entry that nobody uses, forgotten here; None: there is none."""
        entry = next(self._idle(), None)
        if entry is not None:
            del self._entries[entry.key]
        return entry

    def _idle(self) -> Iterator[Entry]:
        idle = (e for e in self._entries.values() if e.state is State.HELD and not e.users)
        return iter(sorted(idle, key=lambda entry: entry.used_at))

    def complete(self, key: str, client: Hashable) -> list[Hashable]:
        """The client has loaded it; those who waited use it now. Raises GpuError if it may not."""
        entry = self.find(key)
        if entry.state is not State.LOADING or client not in entry.users:
            raise GpuError(f"the weights {key!r} are not this client's to load")
        entry.state, entry.used_at = State.HELD, next(self._clock)
        woken, entry.waiting = entry.waiting, []
        entry.users.update(woken)
        return woken

    def release(self, key: str, client: Hashable) -> Left:
        """The client uses it no more. What it has not completed is forgotten."""
        entry = self._entries.get(key)
        if entry is None:
            return []
        if client in entry.waiting:
            entry.waiting.remove(client)
        if client not in entry.users:
            return []
        entry.users.discard(client)
        if entry.state is State.HELD:
            entry.used_at = next(self._clock)
            return []
        del self._entries[key]
        return [(entry, entry.waiting)]

    def gone(self, client: Hashable) -> Left:
        """The client is gone, however it went: it uses nothing any more."""
        return [left for key in list(self._entries) for left in self.release(key, client)]
