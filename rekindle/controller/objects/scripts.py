"""The scripts of Dict and Queue, and their digests. Knows nothing of who runs them."""

from __future__ import annotations

import hashlib
from importlib import resources

from rekindle.wire.object_commands import SCRIPTS, Commands
from rekindle.wire.resp import packed

#: How many items and bytes some partitions of a Queue have.
SIZE = "queue_size"


def _text(name: str) -> bytes:
    folder = resources.files("rekindle.controller.objects") / "lua"
    return b"".join((folder / f"{part}.lua").read_bytes() for part in ("common", name))


_TEXTS = {name: _text(name) for name in (*SCRIPTS, SIZE)}
#: What a new connection is to send first.
LOAD = [packed(b"SCRIPT", b"LOAD", text) for text in _TEXTS.values()]
DIGESTS = {
    name: hashlib.sha1(text, usedforsecurity=False).hexdigest() for name, text in _TEXTS.items()
}
COMMANDS = Commands(DIGESTS)
