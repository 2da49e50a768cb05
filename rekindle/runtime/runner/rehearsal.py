"""Rehearsals of a start and a call: the same code, for a function that does nothing.

A forked process copies each page of memory when it first writes to it, and Python writes to what it
only looks at. That is most of what a start takes, and of what a first call takes.

So a spare rehearses before anybody waits: the pages are its own then. And a template rehearses
before it parks, a dozen times: from then on the interpreter has the code in the form that it makes
of what runs often, which finds attributes and globals without their names, types and dictionaries.
Each copy of that process touches fewer pages. No user code runs, and nothing stays.
"""

from __future__ import annotations

import os
import signal
import socket
from functools import partial

from rekindle.execution import nesting
from rekindle.forkserver.template import Template
from rekindle.runtime.runner import serve, unique
from rekindle.runtime.runner.service import Service
from rekindle.wire import direct_frames
from rekindle.wire.frames import FrameSocket, Header
from rekindle.wire.granted import Began, Granted
from rekindle.wire.page import CANCEL_SIGNAL, RunnerPage
from rekindle.wire.runner_variables import RUNNER_ID
from rekindle.wire.shared import pack_input

#: Python 3.11 and later look at code again once it has run eight times, and then at what it meets.
_TIMES = 12


def learn() -> None:
    """In a template that is about to park. Raises OSError.

    Not where it has threads, which might meet this, where C code has our signal, where the numbers
    of its output are free, or where sockets are not the library's: gevent's make an event loop.
    """
    handler = signal.getsignal(CANCEL_SIGNAL)
    if can_rehearse():
        for _ in range(_TIMES):
            unique.make_unique()
            rehearse()
        signal.signal(CANCEL_SIGNAL, handler)


def can_rehearse() -> bool:
    """Whether nothing of user code is in the way of it."""
    alone = len(os.listdir("/proc/self/task")) == 1
    ours = socket.socket.__module__ == "socket"
    return signal.getsignal(CANCEL_SIGNAL) is not None and alone and ours and _has_output()


def rehearse() -> None:
    """One start and one call, to the end of its connection. Raises OSError."""
    agent, theirs = socket.socketpair()
    client, ours = socket.socketpair()
    parent, gone = socket.socketpair()
    stated, output = RunnerPage.create(), [os.dup(1), os.dup(2)] if _has_output() else []
    before = os.environ.get(RUNNER_ID)
    try:
        order_life(agent, [*output, stated.fd, ours.fileno()])
        service = Service("", {"": partial(_once_more, client)})
        _call(client, again=True)
        template = Template(FrameSocket(parent), "", isolate=_stays)
        template.become_child("", False, theirs.detach(), [])
        become = template.serve()
        become.rehearses = True
        serve.run(service, become, None)
        become.channel.close()
    finally:
        nesting.detach()
        if before is None:
            os.environ.pop(RUNNER_ID, None)
        else:
            os.environ[RUNNER_ID] = before
        stated.close()
        for fd in output:
            os.close(fd)
        for one in (agent, theirs, client, ours, parent, gone):
            one.close()


def order_life(agent: socket.socket, fds: list[int]) -> None:
    """What an agent orders a runner of a client: its start, with ``fds``, and its end."""
    terms = Granted("", "", "", "", 0, False, Began("", 0)).header()
    lease: Header = {"max_result_bytes": 0, "sent": True, "granted": terms}
    order: Header = {
        "op": "start",
        "env": {RUNNER_ID: ""},
        "hidden": [],
        "holder": False,
        "lease": lease,
    }
    orders = FrameSocket(agent)
    orders.send_with_fds(order, fds)
    orders.send({"op": "stop"})


def _call(client: socket.socket, *, again: bool) -> None:
    direct_frames.send_call(client, "", "", pack_input((), {"again": again}))


def _once_more(client: socket.socket, again: bool) -> None:
    """The function that is called: a second time, as what the first call has left behind makes that
    go another way. Then it ends the connection, which is served to its end."""
    if again:
        _call(client, again=False)
    else:
        client.shutdown(socket.SHUT_WR)


def _has_output() -> bool:
    try:
        os.fstat(1)
        os.fstat(2)
    except OSError:
        return False  # user code has closed it
    return True


def _stays(_name: str) -> None:
    """A rehearsal leaves no namespace."""
