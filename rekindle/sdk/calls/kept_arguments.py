"""Arguments as they were when their call was made, for as long as it may have to be sent.

They are pickled before anything is waited for: a program goes on meanwhile, and changes them. Knows
nothing of leases and of the controller.
"""

from __future__ import annotations

import os
import weakref

from rekindle.wire.shared import Packed

#: Each memory file takes a descriptor, and many calls may wait: the rest is kept as bytes.
_MOST_FILES = 64


class KeptArguments:
    """Those of one call. A forked child has no part in its parent's calls."""

    __slots__ = ("__weakref__", "_packed", "size")

    def __init__(self, packed: Packed) -> None:
        self._packed = packed
        #: What is compared with limits.
        self.size = packed.size
        if packed.file is not None:
            if len(_in_files) < _MOST_FILES:
                _in_files.add(self)
            else:
                self._packed = Packed(packed.in_one())
                packed.file.close()

    def to_send(self) -> Packed:
        """Them, by any connection. Raises OSError."""
        return self._packed.again()

    def payload(self) -> bytes:
        """Them, through the controller. Raises OSError."""
        return self._packed.in_one()

    def close(self) -> None:
        """Let go of them; to send them from then on raises OSError."""
        if self._packed.file is not None:
            self._packed.file.close()
            _in_files.discard(self)


_in_files: weakref.WeakSet[KeptArguments] = weakref.WeakSet()


def _forget_in_child() -> None:
    for kept in list(_in_files):
        kept.close()
    _in_files.clear()


os.register_at_fork(after_in_child=_forget_in_child)
