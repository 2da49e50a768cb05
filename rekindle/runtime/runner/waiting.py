"""Entry of a process that is booted before anybody needs it: ``main``, told late what it is.

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


def be_told(channel: FrameSocket) -> int:
    """Wait to be told; the time at which it was. Raises FrameError, OSError."""
    told, _body, _fds = channel.receive()
    told_ns = now_ns()
    os.environ.clear()
    os.environ.update(told["env"])
    environment.show(os.environ.items())  # to who looks from outside, as `rekindle container exec`
    os.chdir(told["cwd"])
    return told_ns


if __name__ == "__main__":
    _ = importlib.import_module("rekindle").App  # what a program begins with
    main.run(be_told)
