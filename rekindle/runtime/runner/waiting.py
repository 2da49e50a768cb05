"""Entry of a process that is booted before anybody needs it: ``main``, whose function comes later.

It loads what nearly every program of rekindle imports first, so that nobody waits for that. Then
it waits for its environment and its directory, as if it had been started with them.
"""

from __future__ import annotations

import importlib
import os

from rekindle.linux import environment
from rekindle.runtime.runner import main
from rekindle.wire.frames import FrameSocket
from rekindle.wire.phases import now_ns


def be_identified(channel: FrameSocket) -> int:
    """Wait for the environment and the directory; the time, in ns, at which they came.

    Raises FrameError, OSError.
    """
    order, _body, _fds = channel.receive()
    came_ns = now_ns()
    os.environ.clear()
    os.environ.update(order["env"])
    environment.show(os.environ.items())  # to who looks from outside, as `rekindle container exec`
    os.chdir(order["cwd"])
    return came_ns


if __name__ == "__main__":
    _ = importlib.import_module("rekindle").App  # what a program begins with
    main.run(be_identified)
