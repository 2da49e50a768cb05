"""What a client reads of a lease on its own machine, before anything else of its connection.

A frame: its header is made here; where a runner could not be started, its body says why
(``Result``). The agent writes it, or the runner that was started for the client. Standard library
only: runners import this.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from rekindle.wire.direct_frames import read_some
from rekindle.wire.frames import (
    MAX_HEADER_BYTES,
    PREFIX_BYTES,
    FrameError,
    Header,
    decode_header,
    frame_prefix,
)
from rekindle.wire.phases import Mark


@dataclass(slots=True)
class Began:
    """The start of a runner, for the first call on it: that waited for it."""

    strategy: str
    began_ns: int
    marks: list[Mark] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    #: Lines were printed: a mark in the log says when all of them have come.
    printed: bool = False


@dataclass(slots=True)
class Granted:
    """A lease."""

    lease_id: str
    #: Where its agent listens.
    socket: str
    token: str
    runner_id: str
    #: What arguments may have; 0: any size.
    max_payload_bytes: int
    #: For one call alone.
    once: bool
    began: Began | None = None

    def header(self) -> Header:
        """The header of the frame."""
        began = self.began
        return {
            "ok": True,
            "lease": self.lease_id,
            "socket": self.socket,
            "token": self.token,
            "runner": self.runner_id,
            "limit": self.max_payload_bytes,
            "once": self.once,
            "began": began and [began.strategy, began.began_ns, began.printed],
            "marks": began.marks if began else [],
            "notes": began.notes if began else [],
        }


def add_start(header: Header, marks: Sequence[Mark], notes: Sequence[str]) -> None:
    """Add what a runner knows of its own start."""
    header["marks"] = [*header["marks"], *marks]
    header["notes"] = [*header["notes"], *notes]


def read_granted(sock: socket.socket) -> tuple[Header, bytes, bytes, int]:
    """The frame, header and body; and what has come of the first answer with it: bytes, and its
    descriptor or -1. Most often all of that is one read. Raises OSError."""
    came, fd = bytearray(), -1
    try:
        while True:
            more, with_it = read_some(sock)
            if not more:
                raise FrameError("the connection has ended")
            fd = max(fd, with_it)  # an answer has one at most
            came += more
            if len(came) >= PREFIX_BYTES:
                header_bytes, body_bytes = frame_prefix(came)
                if header_bytes > MAX_HEADER_BYTES:
                    raise FrameError(f"a frame header of {header_bytes} bytes")
                body_at = PREFIX_BYTES + header_bytes
                end = body_at + body_bytes
                if len(came) >= end:
                    header = decode_header(bytes(came[PREFIX_BYTES:body_at]))
                    return header, bytes(came[body_at:end]), bytes(came[end:]), fd
    except BaseException:
        if fd >= 0:
            os.close(fd)
        raise


def granted(header: Header) -> Granted:
    """What a header that says ``ok`` grants. Raises KeyError."""
    began = None
    if header["began"]:
        strategy, began_ns, printed = header["began"]
        marks = [(name, at_ns) for name, at_ns in header["marks"]]
        began = Began(strategy, began_ns, marks, header["notes"], printed)
    return Granted(
        *(header["lease"], header["socket"], header["token"], header["runner"]),
        *(header["limit"], header["once"], began),
    )
