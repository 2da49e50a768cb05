"""A rehearsal of a start and a call, in a spare that is about to wait.

A forked process copies each page of memory when it first writes to it, and Python writes to what it
only looks at. That is most of what a start takes, and of what a first call takes. So a spare does
all of it before anybody waits: the same code, on a connection to itself and a function that does
nothing. No user code runs, and nothing stays.
"""

from __future__ import annotations

import os
import socket

from rekindle.execution import nesting
from rekindle.forkserver import park
from rekindle.runtime.runner.direct_server import DirectCalls
from rekindle.runtime.runner.inputs import Inputs
from rekindle.runtime.runner.service import Service
from rekindle.wire import direct_frames
from rekindle.wire.frames import FrameSocket, Header
from rekindle.wire.granted import Began, Granted, add_start
from rekindle.wire.page import RunnerPage
from rekindle.wire.shared import pack_input

_VARIABLE = "REKINDLE_RUNNER_ID"


def rehearse() -> None:
    """See the module. Raises OSError."""
    agent, channel = map(FrameSocket, socket.socketpair())
    client, ours = socket.socketpair()
    stated = RunnerPage.create()
    try:
        terms = Granted("", "", "", "", 0, False, Began("", 0)).header()
        lease: Header = {"max_result_bytes": 0, "sent": True, "granted": terms}
        order: Header = {"op": "start", "env": {_VARIABLE: ""}, "hidden": [], "lease": lease}
        agent.send_with_fds(order, [stated.fd, ours.fileno()])
        order, _body, (page_fd, client_fd) = channel.receive()
        ours.close()
        page = RunnerPage.attach(page_fd)
        before = os.environ.get(_VARIABLE)
        for name, value in order["env"].items():
            os.environ[name] = value
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
        park.flush_output()
        channel.send({"op": "ready", "marks": [], "notes": []})
        packed = pack_input((), {"ends": True})
        direct_frames.send_call(client, "", "", packed)
        nesting.attach(page)
        # The function ends the connection: it is served to its end then.
        service = Service("", {"": lambda **_ends: client.shutdown(socket.SHUT_WR)})
        inputs = Inputs(service, channel, page)
        add_start(order["lease"]["granted"], [("", 0)], [])
        DirectCalls(inputs, channel, page).serve_first(client_fd, order["lease"])
        nesting.detach()
        page.close()
    finally:
        stated.close()
        for one in (agent, channel, client, ours):
            one.close()
