"""The control pipe of a template or a restored copy: the pipe on which it gets its orders."""

from __future__ import annotations

import json
import os

from rekindle.exception import StartError
from rekindle.runtime.agent.runners.listener import RunnerListener
from rekindle.runtime.agent.starts.in_image import INSTANCE


class ControlPipe:
    """Ours is the writing end."""

    def __init__(self) -> None:
        """Raises StartError where no more descriptors are to be had."""
        try:
            self.read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            raise StartError(f"no control pipe for a new process: {error}") from error

    def give_orders(self, listener: RunnerListener, token: str, *, in_image: bool = False) -> None:
        """Where to report, and as whom."""
        path = f"{INSTANCE}/{listener.path.name}" if in_image else str(listener.path)
        orders = json.dumps({"socket": path, "token": token}) + "\n"
        os.write(self._write_fd, orders.encode())

    def handed_over(self) -> None:
        """The process has the reading end."""
        if self.read_fd >= 0:
            os.close(self.read_fd)
            self.read_fd = -1

    def drop(self) -> None:
        """A process that still waits on it goes."""
        self.handed_over()
        if self._write_fd >= 0:
            os.close(self._write_fd)
            self._write_fd = -1
