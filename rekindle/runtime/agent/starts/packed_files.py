"""Which file a layer that is one file has now, which roots were made of it, and why it failed.

A layer on its way is a lazy file, one that is here an ordinary one beside its place. What is
written to a root lies in a directory that goes with it: by that it is seen whether the root is
still there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rekindle.runtime.images.store import PACKED

#: Who ends later than this after a layer could not be read has ended of something else.
_REASON_S = 30.0


@dataclass
class PackedFiles:
    """See the module. Places are those where the files are mounted in roots."""

    #: Of layers that are on their way.
    arriving: dict[str, Path] = field(default_factory=dict)
    #: Why a layer could not be read, and when that was.
    _reasons: dict[str, tuple[str, float]] = field(default_factory=dict)
    #: Those of which a part will not come, ever, until they are there again.
    _lost: set[str] = field(default_factory=set)
    #: The directory of a root -> places of which it is made.
    _roots: dict[str, Sequence[str]] = field(default_factory=dict)
    #: When a root was made of it last.
    _used_at: dict[str, float] = field(default_factory=dict)

    def files_of(self, lowers: Iterable[str]) -> list[tuple[str, str]]:
        """The files of those layers that are one each, and their places."""
        found = []
        for place in lowers:
            file = self.arriving.get(place) or Path(place).with_name(PACKED)
            if place in self.arriving or file.exists():
                found.append((str(file), place))
        return found

    def failed(self, place: str, reason: str, *, is_lost: bool = False) -> None:
        """A part of it cannot be had; ``is_lost``: nor ever will be."""
        self._reasons[place] = (reason, time.monotonic())
        if is_lost:
            self._lost.add(place)

    def is_lost(self, lowers: Iterable[str]) -> bool:
        """Whether one of these is to be there again before anything can be started from it."""
        return not self._lost.isdisjoint(lowers)

    def are_there(self, lowers: Iterable[str]) -> None:
        """They are all layers of this machine just now."""
        for place in self._lost.intersection(lowers):
            self._lost.discard(place)
            self._reasons.pop(place, None)

    def why_lost(self, lowers: Iterable[str]) -> str:
        """Why a part of one of these could not be read just now; "" where all of it could."""
        for place in lowers:
            reason, at = self._reasons.get(place, ("", 0.0))
            if reason and time.monotonic() - at < _REASON_S:
                return reason
        return ""

    def used(self, root: str, places: Sequence[str]) -> None:
        """A root in that directory is about to be made of these."""
        self._roots[root] = places
        for place in places:
            self._used_at[place] = time.monotonic()

    def idle(self, for_s: float) -> list[str]:
        """Places of which no root is left, and none was made for so long."""
        for root in [one for one in self._roots if not os.path.isdir(one)]:
            # A root that is not made yet has no directory either; it was used just now.
            if all(time.monotonic() - self._used_at[p] > for_s for p in self._roots[root]):
                del self._roots[root]
        busy = {place for places in self._roots.values() for place in places}
        now = time.monotonic()
        return [p for p, at in self._used_at.items() if p not in busy and now - at > for_s]

    def forget(self, place: str) -> None:
        """Drop a place that is not mounted any more."""
        self._used_at.pop(place, None)
