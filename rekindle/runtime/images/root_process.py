"""The process that makes roots for an agent, request after request.

A child of the spawner, so it has the rights that making mounts takes, and its view of the machine;
it ends with the agent. One JSON request a packet; the answer has the root's descriptor, or why
there is none. A root that shows a volume is made by a copy of it: a volume may lie on a file system
that does not answer, and no other root is to wait for that. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket

from rekindle.linux import processes
from rekindle.runtime.images.root import RootMaker, RootRequest
from rekindle.runtime.isolation.last_line import say

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
        number = request["id"]
        try:
            if "let_go" in request:
                maker.let_go(request["let_go"])
                control.send(json.dumps({"id": number, "done": True}).encode())
                continue
            wanted = RootRequest.from_dict(request["root"])
            if any(one.may_hang for one in wanted.shown):
                maker.prepare(wanted)
                _fork_maker(maker, wanted, number, control)
                continue
        except OSError as error:
            _refuse(control, number, error)
            continue
        _make(maker, wanted, number, control)


def _make(maker: RootMaker, wanted: RootRequest, number: int, control: socket.socket) -> None:
    try:
        made = maker.make(wanted)
    except OSError as error:
        _refuse(control, number, error)
        return
    try:
        socket.send_fds(control, [json.dumps({"id": number}).encode()], [made])
    finally:
        os.close(made)


def _refuse(control: socket.socket, number: int, error: OSError) -> None:
    said = {"id": number, "reason": error.strerror or str(error)}
    control.send(json.dumps(said).encode())


def _fork_maker(maker: RootMaker, wanted: RootRequest, number: int, control: socket.socket) -> None:
    """Have a copy of this process make it, and wait for what shows itself there: no other root is
    to. Raises OSError."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue  # those of before
    if os.fork():
        return
    try:
        processes.die_with_parent()
        _make(maker, wanted, number, control)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - the last frame of a forked child
        say("root maker failed", error)
        _refuse(control, number, OSError(f"{type(error).__name__}: {error}"))
    finally:
        os._exit(1)
