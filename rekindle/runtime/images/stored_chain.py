"""Which layers of one chain the nodes' store has, asked once, when the first of them is missing.

A store that does not answer, or lacks a part of a layer, does not keep it from being built: the
build's output says what happened.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rekindle.blobs import waiting
from rekindle.blobs.store import BlobStore
from rekindle.exception import BlobError, InvalidError, SetupError
from rekindle.runtime.images import sharing
from rekindle.runtime.images.layer import Layer
from rekindle.runtime.images.sharing import Found
from rekindle.runtime.images.store import LayerStore
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)


@dataclass
class StoredChain:
    """Brings layers of one chain from the store."""

    local: LayerStore
    wanted: Sequence[str]
    #: Gets a note when the store is waited for.
    say: Callable[[str], None]
    _asked: bool = False
    _store: BlobStore | None = None
    _found: dict[str, Found] = field(default_factory=dict)
    #: Why what the store has of a layer is of no use.
    _passed_over: dict[str, str] = field(default_factory=dict)
    #: Why the store was not asked, or did not answer.
    _why_not: str = ""

    def may_have(self, name: str, parent: Layer | None) -> bool:
        """Whether the store has a layer that stands on just this parent, or did not answer."""
        self._ask()
        return bool(self._why_not) or self._fitting(name, parent) is not None

    def bring(self, name: str, parent: Layer | None, say: Callable[[str], None]) -> Layer | None:
        """The layer, a layer of this machine by now; None where it is to be built."""
        self._ask()
        if self._why_not:
            say(self._why_not)
            self._why_not = ""
        if self._store is not None and (why := self._passed_over.pop(name, "")):
            say(f"what the store {self._store.url} has of it is passed over: {why}")
        found = self._fitting(name, parent)
        if found is None or self._store is None:
            return None
        try:
            return sharing.adopt(self._store, self.local, found, say)
        except (BlobError, SetupError, OSError) as error:
            log.warning("layer did not come from the store", extra=kv(layer=name, reason=error))
            say(f"it did not come from the store {self._store.url}: {error}")
            return None

    def _fitting(self, name: str, parent: Layer | None) -> Found | None:
        found = self._found.get(name)
        if found is None or found.layer.parent_build != (parent.build if parent else ""):
            return None
        return found

    def _ask(self) -> None:
        if self._asked:
            return
        self._asked = True
        try:
            self._store = sharing.of_environment()
            if self._store is not None:
                missing = [name for name in self.wanted if self.local.get(name) is None]
                found = sharing.look(
                    *(self._store, missing, self._passed_over.__setitem__),
                    slow=functools.partial(self._say_slow, self._store.url),
                )
                for name, one in found.items():
                    if self.local.is_damaged(name, one.stored.blob):
                        self._passed_over[name] = "a part of it was lost or damaged there"
                    else:
                        self._found[name] = one
        except (BlobError, SetupError, InvalidError) as error:
            log.warning("store not asked for layers", extra=kv(reason=error))
            self._why_not = f"layers are not looked for in the store: {error}"

    def _say_slow(self, url: str) -> None:
        self.say(
            f"waiting for the store {url} to say which layers it has; after "
            f"{waiting.wait_s():g} s ({waiting.VARIABLE}) they are built"
        )
