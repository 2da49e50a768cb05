"""What the serving process says to its owner: one JSON object a line, from any thread."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any


class Control:
    """Messages to the owner, from any thread."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._sending = threading.Lock()

    def say(self, **message: Any) -> None:
        """One line. That the owner is gone shows when it is read from."""
        data = json.dumps(message).encode() + b"\n"
        with self._sending:
            try:
                self.connection.sendall(data)
            except OSError:
                pass
