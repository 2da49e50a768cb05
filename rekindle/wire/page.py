"""RunnerPage: memory that an agent and a runner of its node share.

The runner writes what it runs and since when, and results that it has not sent yet; the agent how
much output it has taken and which inputs it wants back. So an agent knows of a runner's work
without a message for each input, and loses no result of a runner that dies or is stuck. Standard
library only: runners import this. Each word has one writer and is written by one store.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct

#: Tells a runner to look at ``cancelled``. A real-time signal far from those that C libraries use.
CANCEL_SIGNAL = signal.SIGRTMIN + 5
#: Room for results that have not been sent.
AREA_BYTES = 256 << 10

#: Inputs that a runner may have at a time; each has a slot, of two words.
MAX_SLOTS = 2048
_SLOTS_AT = mmap.PAGESIZE // 8
_SIZE = mmap.PAGESIZE + 16 * MAX_SLOTS
_TEXT = struct.Struct("=B63s")

# Words of eight bytes. Written by the runner.
_BEGAN_NS, _INDEX, _DONE, _BUSY_NS, _FAILED, _FILLED, _EPOCH, _WAITS = 0, 1, 2, 3, 4, 5, 6, 7
_CALL_OFFSET, _SLICE = 64, 25
_AT_TERMINAL, _HEARD, _RENEWED = 24, 26, 27
# Written by the agent.
_DRAINING, _DRAINED_BYTES, _RECALLED, _CANCELLED = 16, 17, 18, 19


def cancel_token(slice_number: int, index: int) -> int:
    """What names one run of one input on its runner; never 0."""
    return (slice_number << 32 | index) + 1


class RunnerPage:
    """The page; the agent makes it, the runner attaches to it by its descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, _SIZE + AREA_BYTES)
        self._words = memoryview(self._map)[:_SIZE].cast("q")
        self._area = memoryview(self._map)[_SIZE:]

    @classmethod
    def create(cls) -> RunnerPage:
        """A new page of zeros. Raises OSError."""
        fd = os.memfd_create("rekindle-runner", os.MFD_CLOEXEC)
        os.ftruncate(fd, _SIZE + AREA_BYTES)
        return cls(fd)

    @classmethod
    def attach(cls, fd: int) -> RunnerPage:
        """The runner's end; takes ``fd``."""
        page = cls(fd)
        page.handed_over()
        return page

    def handed_over(self) -> None:
        """Close the descriptor; the memory stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def close(self) -> None:
        """Give the memory back; the other end keeps its own."""
        self._words.release()
        self._area.release()
        self._map.close()
        self.handed_over()

    # ---- the runner's side

    def renewed(self) -> None:
        """Note that it shares nothing with other copies, and what was due at its fork has run."""
        self._words[_RENEWED] = 1

    def call(self, call_id: str) -> None:
        """The call whose inputs come next."""
        raw = call_id.encode()[:63]
        _TEXT.pack_into(self._map, _CALL_OFFSET, len(raw), raw)

    def begin_slice(self, number: int) -> None:
        """What is kept from now on is of this slice; all that was kept before has been sent."""
        self._words[_SLICE] = number

    def begin(self, index: int, at_ns: int) -> None:
        """Note that an input begins, at a time in ns of CLOCK_REALTIME."""
        words = self._words
        words[_INDEX] = index
        words[_BEGAN_NS] = at_ns

    def end(self, began_ns: int, at_ns: int) -> None:
        """Note that the input has ended, and add how long it ran."""
        words = self._words
        words[_BEGAN_NS] = 0
        words[_DONE] += 1
        words[_BUSY_NS] += at_ns - began_ns

    def fail(self) -> None:
        """Note that the input that runs has failed; to be called before its end is noted."""
        self._words[_FAILED] += 1

    def wait(self, depth: int) -> None:
        """The input that runs, at this depth, waits for calls that it made; -1: it does not."""
        self._words[_WAITS] = depth + 1

    def interact(self, now: bool) -> None:
        """Note whether the input has the user's terminal, or waits for it."""
        self._words[_AT_TERMINAL] = int(now)

    def hear(self, token: int) -> None:
        """Note that the run of this token was cancelled: it need not be signalled again."""
        self._words[_HEARD] = token

    def finish(self, record: bytes, began_ns: int, at_ns: int) -> bool:
        """Put the record of the input where the agent finds it, whatever happens, and note that the
        input has ended, as ``end`` does. False, and nothing is noted: there is no room."""
        words = self._words
        at = words[_FILLED]
        end = at + len(record)
        if end > AREA_BYTES:
            return False
        self._area[at:end] = record
        words[_FILLED] = end
        words[_BEGAN_NS] = 0
        words[_DONE] += 1
        words[_BUSY_NS] += at_ns - began_ns
        return True

    def kept(self) -> memoryview:
        """All records since the last ``sent``."""
        return self._area[: self._words[_FILLED]]

    def sent(self) -> None:
        """Forget the kept records: they have gone to the agent in another way."""
        self._words[_EPOCH] += 1
        self._words[_FILLED] = 0

    # Of a runner that has several inputs at a time: each has a slot, which its agent gave it.

    def begin_slot(self, slot: int, at_ns: int) -> None:
        """The input in a slot begins."""
        self._words[_SLOTS_AT + 2 * slot] = at_ns

    def end_slot(self, slot: int) -> None:
        """Note that the input in a slot has ended."""
        at = _SLOTS_AT + 2 * slot
        self._words[at] = 0
        self._words[at + 1] += 1

    def some_run(self, at_ns: int) -> None:
        """Whether any input runs, and since when one does; 0: none."""
        self._words[_BEGAN_NS] = at_ns

    def called(self, took_ns: int, *, failed: bool) -> None:
        """A direct call has ended."""
        words = self._words
        words[_DONE] += 1
        words[_BUSY_NS] += took_ns
        words[_FAILED] += failed

    @property
    def recalled(self) -> int:
        """The agent wants what has not begun of this slice, and of those before it, back."""
        return self._words[_RECALLED]

    @property
    def cancelled(self) -> int:
        """The token of the run that is to be cancelled."""
        return self._words[_CANCELLED]

    @property
    def output(self) -> tuple[bool, int]:
        """Whether the agent is reading output now, and how many bytes it has taken."""
        return bool(self._words[_DRAINING]), self._words[_DRAINED_BYTES]

    # ---- the agent's side

    @property
    def is_renewed(self) -> bool:
        """Whether what was due at its fork has run: what it does now is what any runner does."""
        return bool(self._words[_RENEWED])

    @property
    def began_ns(self) -> int:
        """When the input that runs now began; 0 when none does."""
        return self._words[_BEGAN_NS]

    def slot(self, slot: int) -> tuple[int, int]:
        """When the input in a slot began, 0 when it has not; and how many have ended there."""
        at = _SLOTS_AT + 2 * slot
        return self._words[at], self._words[at + 1]

    @property
    def index(self) -> int:
        """The input that runs now, or ran last."""
        return self._words[_INDEX]

    @property
    def waits_at(self) -> int:
        """The depth of the input that runs and waits for calls that it made; -1: none does."""
        return self._words[_WAITS] - 1

    @property
    def at_terminal(self) -> bool:
        """Whether it has the user's terminal, or waits for it: that time is no timeout's."""
        return bool(self._words[_AT_TERMINAL])

    @property
    def heard(self) -> int:
        """The token of the run that was cancelled last."""
        return self._words[_HEARD]

    @property
    def done(self) -> int:
        """Inputs that have ended here, ever."""
        return self._words[_DONE]

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return self._words[_FAILED]

    @property
    def busy_ns(self) -> int:
        """How long they ran, together."""
        return self._words[_BUSY_NS]

    @property
    def call_id(self) -> str:
        """The call of the input that runs now, or ran last."""
        size, raw = _TEXT.unpack_from(self._map, _CALL_OFFSET)
        return bytes(raw[:size]).decode(errors="replace")

    def unsent(self) -> tuple[int, bytes]:
        """Records that were kept and not sent yet, and the slice that they are of.

        None where they are being sent just now. They may have come already, and their runner not
        have said yet that they were sent: of their slice nothing is left then.
        """
        words = self._words
        epoch, filled = words[_EPOCH], words[_FILLED]
        data = bytes(self._area[:filled])
        number = words[_SLICE]  # after the data: another one begins when these have been sent
        return (number, data) if words[_EPOCH] == epoch else (0, b"")

    def draining(self, now: bool) -> None:
        """Set before output is read, cleared once it is counted."""
        self._words[_DRAINING] = int(now)

    def drained(self, count: int) -> None:
        """So many bytes of output were taken."""
        self._words[_DRAINED_BYTES] += count

    def recall(self, slice_number: int) -> None:
        """Ask for what has not begun of this slice, and of those before it."""
        self._words[_RECALLED] = slice_number

    def cancel(self, token: int) -> None:
        """Name the run to be cancelled; the runner looks when it is signalled."""
        self._words[_CANCELLED] = token


# ---- whose line it is, where several inputs of a runner print

_TAG, _TAG_END = b"\x1e", b"\x1f"


def tagged(call_id: str, line: bytes) -> bytes:
    """A line of output with the call that it belongs to."""
    return b"".join((_TAG, call_id.encode(), _TAG_END, line, b"\n"))


def untagged(text: str) -> tuple[str, str]:
    """The call and the text of a line; no call where the line is not tagged."""
    if text[:1] != "\x1e":
        return "", text
    call_id, end, line = text[1:].partition("\x1f")
    return (call_id, line) if end else ("", text)
