"""Which snapshots a store has lost or damaged a part of, as far as this node has met it.

Kept beside the node's own snapshots until what was made in their place is in the store: an agent
may end before that. A note is of the blobs that were of no use; those of another node are others.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_FOLDER = "damaged"


@dataclass(frozen=True)
class BrokenSnapshots:
    """Notes below the directory of a node's own snapshots. Blocks; may be called in any thread."""

    root: Path

    def note(self, key: str, blobs: Sequence[str]) -> None:
        """Keep in mind that a snapshot is not whole in the store; no blobs: that its name there
        cannot be read. Raises OSError."""
        place = self._place(key)
        place.parent.mkdir(exist_ok=True, mode=0o700)
        draft = place.with_name(f".{key}-{secrets.token_hex(4)}")
        draft.write_text(json.dumps(list(blobs)))
        os.replace(draft, place)

    def has(self, key: str, blobs: Sequence[str]) -> bool:
        """Whether just these blobs are known to be of no use. Raises OSError where the note cannot
        be read: without it what is damaged would be taken for whole."""
        try:
            return bool(json.loads(self._place(key).read_text()) == list(blobs))
        except (FileNotFoundError, ValueError):
            return False

    def knows(self, key: str) -> bool:
        """Whether a snapshot was met that is of no use, and nothing is there in its place yet."""
        return self._place(key).exists()

    def is_mended(self, key: str) -> None:
        """It was put into the store again."""
        self._place(key).unlink(missing_ok=True)

    def _place(self, key: str) -> Path:
        return self.root / _FOLDER / key
