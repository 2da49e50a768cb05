"""Run by snapshot.py in an instance of its own: a function with much memory answers once.

    python program.py MIB make|record|answer

Prints what its first call took as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import rekindle
from rekindle.blobs.store import HINTS, REFS, open_store
from rekindle.sdk.calls import records

#: Of the memory, a call touches one page in so many places: these many MiB.
TOUCHED_MIB = 64

app = rekindle.App("lazy-snapshot")


@app.cls(enable_memory_snapshot=True)
class Model:
    """Memory that does not compress."""

    mib: int = rekindle.parameter(default=64)

    @rekindle.enter(snap=True)
    def load(self) -> None:
        """Once, for all nodes."""
        block = os.urandom(1 << 20)
        self.blocks = [os.urandom(1 << 19) + block[: 1 << 19] for _ in range(self.mib)]

    @rekindle.method()
    def answer(self) -> int:
        """A layer of it is used."""
        return sum(sum(block[::4096]) for block in self.blocks[:TOUCHED_MIB])


#: Its parameters are not those of ``__init__``.
_made: Any = Model


def main() -> None:
    """See the module."""
    with app.run():
        model = _made(mib=int(sys.argv[1]))
        with records.collect() as finished:
            began = time.monotonic()
            value = model.answer.remote()
            took_s = time.monotonic() - began
        # What the agent puts into the store in the background.
        store = open_store(os.environ["REKINDLE_STORE_URL"])
        folder = {"make": REFS, "record": HINTS}.get(sys.argv[2])
        while folder and not list(store.objects.list(folder)):
            time.sleep(0.1)
    said = {"s": took_s, "value": value, "strategy": finished[-1].strategy}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
