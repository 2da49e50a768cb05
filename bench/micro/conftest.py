"""What the timings of functions share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest


@pytest.fixture
def event_loop_of_this_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """One that is not running: what is timed makes futures for it, or runs it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close()
