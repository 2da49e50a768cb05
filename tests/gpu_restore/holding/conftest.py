"""A holder in a thread of the test's process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rekindle.gpu_restore.device import Device
from rekindle.gpu_restore.holding.server import Holder


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Device], str]]:
    """Has one keep weights on a device, until the test ends; its socket."""
    with ExitStack() as stack:

        def start(device: Device) -> str:
            path = str(tmp_path / "holder.sock")
            listening = stack.enter_context(socket.socket(socket.AF_UNIX))
            listening.bind(path)
            listening.listen()
            holder = Holder(device)
            wake, waker = socket.socketpair()
            stack.enter_context(wake)
            stack.enter_context(waker)
            holder.wake_on(wake.fileno())
            holder.listen(listening)
            thread = threading.Thread(target=holder.serve)
            thread.start()

            def stop() -> None:
                holder.stop()
                waker.send(b"x")
                thread.join()

            stack.callback(stop)
            return path

        yield start
