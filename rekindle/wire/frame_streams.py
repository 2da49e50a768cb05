"""Frames on an event loop's streams. Standard library only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rekindle.wire.frames import (
    MAX_HEADER_BYTES,
    PREFIX_BYTES,
    FrameError,
    Header,
    decode_header,
    frame_prefix,
)

if TYPE_CHECKING:
    from asyncio import StreamReader


async def read_frame(reader: StreamReader, max_body_bytes: int) -> tuple[Header, bytes]:
    """The next one. Raises EOFError at the end, OSError or ValueError for what is none."""
    header_bytes, body_bytes = frame_prefix(await reader.readexactly(PREFIX_BYTES))
    if header_bytes > MAX_HEADER_BYTES or body_bytes > max_body_bytes:
        raise FrameError(f"a frame of {header_bytes} and {body_bytes} bytes")
    header = decode_header(await reader.readexactly(header_bytes))
    return header, await reader.readexactly(body_bytes)
