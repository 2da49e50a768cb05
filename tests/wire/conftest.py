"""What tests of frames share."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator

import pytest

from rekindle.wire import reuse


@pytest.fixture(autouse=True, scope="module")
def nothing_is_kept() -> None:
    """Of connections that tests before have left, which would be counted."""
    gc.collect()
    for end in reuse._all():
        end.drop()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's end of a connection, and its runner's."""
    client, runner = socket.socketpair()
    with client, runner:
        yield client, runner
