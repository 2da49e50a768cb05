"""Who reads the results of a call as they come, and what was not sent yet. A plain record."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class ResultWatcher:
    """One Results stream, with batches of results that it has not sent yet.

    One that is slow gets no more of them, and reads from the store.
    """

    live: dict[int, list[tuple[int, bytes]]] = field(default_factory=dict)
    size: int = 0
    #: Why no more comes.
    error: Exception | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
