"""A runner's connection to the process that holds its weights."""

from __future__ import annotations

import os
import socket

import pytest

from rekindle.exception import GpuError
from rekindle.gpu_restore.holding import client
from rekindle.gpu_restore.host_device import HostDevice
from rekindle.wire import gpu_environment
from rekindle.wire.frames import FrameSocket


def test_who_is_not_ended_though_its_holder_is_gone_waits_for_that_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(client.time, "sleep", waited.append)
    ours, theirs = socket.socketpair()
    place = f"{gpu_environment.HOLDER_FD}{ours.detach()}:{os.getpid()}"
    connection = client.Connection.to(place, HostDevice())
    with theirs:
        FrameSocket(theirs).send({"ok": True})
        connection.status()
    for _ in range(3):
        with pytest.raises(GpuError, match="is gone"):
            connection.status()
    assert waited == [client._ENDED_WITHIN_S]
    connection.close()
