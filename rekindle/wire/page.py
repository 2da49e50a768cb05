"""RunnerPage: one page of memory that an agent and a runner of its node share.

The runner writes what it runs and since when; the agent how much output it has taken. So an agent
knows of a runner's work without a message for each input. Standard library only: runners import
this. Each field is eight bytes, aligned, with one writer, and is written by one store.
"""

from __future__ import annotations

import mmap
import os
import struct

_SIZE = mmap.PAGESIZE
_WORD = struct.Struct("=q")
_TEXT = struct.Struct("=B63s")

# Written by the runner.
_BEGAN_NS, _INDEX, _DONE, _BUSY_NS = 0, 8, 16, 24
_CALL = 64
# Written by the agent.
_DRAINING, _DRAINED_BYTES = 128, 136


class RunnerPage:
    """The page; the agent makes it, the runner attaches to it by its descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, _SIZE)

    @classmethod
    def create(cls) -> RunnerPage:
        """A new page of zeros. Raises OSError."""
        fd = os.memfd_create("rekindle-runner", os.MFD_CLOEXEC)
        os.ftruncate(fd, _SIZE)
        return cls(fd)

    def close(self) -> None:
        """Give the page back; the other end keeps its own."""
        self._map.close()
        os.close(self.fd)

    def _get(self, offset: int) -> int:
        value: int = _WORD.unpack_from(self._map, offset)[0]
        return value

    def _set(self, offset: int, value: int) -> None:
        _WORD.pack_into(self._map, offset, value)

    # ---- the runner's side

    def call(self, call_id: str) -> None:
        """The call whose inputs come next."""
        raw = call_id.encode()[:63]
        _TEXT.pack_into(self._map, _CALL, len(raw), raw)

    def begin(self, index: int, at_ns: int) -> None:
        """An input begins (CLOCK_REALTIME)."""
        _WORD.pack_into(self._map, _INDEX, index)
        _WORD.pack_into(self._map, _BEGAN_NS, at_ns)

    def end(self, began_ns: int, at_ns: int) -> None:
        """It has ended."""
        _WORD.pack_into(self._map, _BEGAN_NS, 0)
        self._set(_DONE, self._get(_DONE) + 1)
        self._set(_BUSY_NS, self._get(_BUSY_NS) + at_ns - began_ns)

    # ---- the agent's side

    @property
    def began_ns(self) -> int:
        """When the input that runs now began; 0 when none does."""
        return self._get(_BEGAN_NS)

    @property
    def index(self) -> int:
        """The input that runs now, or ran last."""
        return self._get(_INDEX)

    @property
    def done(self) -> int:
        """Inputs that have ended here, ever."""
        return self._get(_DONE)

    @property
    def busy_ns(self) -> int:
        """How long they ran, together."""
        return self._get(_BUSY_NS)

    @property
    def call_id(self) -> str:
        """The call of the input that runs now, or ran last."""
        size, raw = _TEXT.unpack_from(self._map, _CALL)
        return bytes(raw[:size]).decode(errors="replace")

    def draining(self, now: bool) -> None:
        """Set before output is read, cleared once it is counted."""
        self._set(_DRAINING, int(now))

    def drained(self, count: int) -> None:
        """So many bytes of output were taken."""
        self._set(_DRAINED_BYTES, self._get(_DRAINED_BYTES) + count)

    # ---- what the runner reads

    @property
    def output(self) -> tuple[bool, int]:
        """Whether the agent is reading output now, and how many bytes it has taken."""
        return bool(self._get(_DRAINING)), self._get(_DRAINED_BYTES)
