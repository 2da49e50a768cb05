"""User code whose state shows that each copy has it on its own."""

from __future__ import annotations

import os


class Counter:
    """State that the snap=True hook makes and that each copy must have on its own."""

    def load(self) -> None:
        self.loaded_by = os.getpid()
        self.table = list(range(1000))

    def enter(self) -> None:
        self.entered = getattr(self, "entered", 0) + 1

    def total(self, extra: int = 0) -> int:
        self.table.append(extra)
        return sum(self.table)

    def entries(self) -> int:
        return self.entered
