"""What tests of frames share."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's end of a connection, and its runner's."""
    client, runner = socket.socketpair()
    with client, runner:
        yield client, runner
