"""The process that makes roots for an agent, request after request.

A child of the spawner, so it has the rights that making mounts takes, and its view of the machine;
it ends with the agent. One JSON request a packet; the answer has the root's descriptor, or why
there is none. Standard library only.
"""

from __future__ import annotations

import json
import os
import socket

from rekindle.runtime.images.root import RootMaker, RootRequest

#: Largest request: the layers of an image, and what is shown in it.
MAX_REQUEST_BYTES = 1 << 18


def serve(control: socket.socket, scratch: str) -> None:
    """Make roots until the agent closes ``control``."""
    maker = RootMaker(scratch)
    while True:
        data = control.recv(MAX_REQUEST_BYTES)
        if not data:
            return
        request = json.loads(data)
        try:
            if "let_go" in request:
                maker.let_go(request["let_go"])
                control.send(json.dumps({"id": request["id"], "done": True}).encode())
                continue
            made = maker.make(RootRequest.from_dict(request["root"]))
        except OSError as error:
            said = {"id": request["id"], "reason": error.strerror or str(error)}
            control.send(json.dumps(said).encode())
            continue
        try:
            socket.send_fds(control, [json.dumps({"id": request["id"]}).encode()], [made])
        finally:
            os.close(made)
