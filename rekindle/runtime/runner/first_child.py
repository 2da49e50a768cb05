"""The first child of a template that parks, by which is seen what memory runners write to.

It goes the way of every runner, from its fork to its end, with a function that does nothing in
place of the user's: no user code runs. What it has written to by then, forks copy at once from now
on (``forkserver/own_pages.py``), in the template and in all that is restored from it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import traceback
from collections.abc import Iterator
from typing import Any

from rekindle.forkserver import own_pages
from rekindle.forkserver.own_pages import Area
from rekindle.forkserver.template import Template
from rekindle.linux.maps import Mapping
from rekindle.runtime.runner import clients, rehearsal, serve, unique
from rekindle.runtime.runner.service import Service
from rekindle.wire import direct_frames
from rekindle.wire.page import RunnerPage
from rekindle.wire.shared import pack_input

#: It takes milliseconds.
_PATIENCE_MS = 10_000


def learn(template: Template, user_threads: dict[str, str] | None) -> None:
    """Have one forked, wait for its end, and take over what it found; or the reason why that cannot
    be. Of the template nothing else changes."""
    pages = template.forker.pages
    if not rehearsal.can_rehearse() or template.things.timers:
        pages.reason = "user code has its own sockets, signals, timers or output"
    elif clients.was_client():
        pages.reason = "user code has connected to an instance"  # a child would speak for it
    elif own_pages.has_large_folios():
        pages.reason = "the kernel may take memory in pieces of several pages"
    else:
        try:
            pages.areas, pages.reason = _ask(template, user_threads)
        except OSError as error:
            pages.reason = str(error)


def _ask(template: Template, user_threads: dict[str, str] | None) -> tuple[list[Area], str]:
    """What a first child has written to, or why it does not say. Raises OSError."""
    areas = own_pages.writable()
    with _life() as theirs:
        reading, writing = os.pipe()
        with open(reading, "rb") as answer:
            try:
                pid = template.forker.fork_isolated(handlers=False)
                if pid == 0:
                    _be_first(template, user_threads, theirs, areas, writing)
            finally:
                os.close(writing)
            return _answered(answer.fileno(), pid)


@contextlib.contextmanager
def _life() -> Iterator[socket.socket]:
    """The channel of a child: it finds there what an agent orders a runner, and a call of a client.

    Made here and not in the child, which has its own from others.
    """
    with contextlib.ExitStack() as stack:
        pairs = [*socket.socketpair(), *socket.socketpair()]
        agent, theirs, client, ours = map(stack.enter_context, pairs)
        stated = RunnerPage.create()
        stack.callback(stated.close)
        rehearsal.order_life(agent, [1, 2, stated.fd, ours.fileno()])
        direct_frames.send_call(client, "", "", pack_input((), {}))
        client.shutdown(socket.SHUT_WR)
        yield theirs


def _be_first(
    template: Template,
    user_threads: dict[str, str] | None,
    theirs: socket.socket,
    areas: list[Mapping],
    writing: int,
) -> None:
    """In the child, to its end."""
    try:
        unique.forget_on_restore()  # that is user code
        template.become_child("", False, theirs.detach(), [])
        serve.run(Service("", {"": _nothing}), template.serve(), user_threads)
        said: dict[str, Any] = {"areas": own_pages.find(areas)}
    except BaseException as error:  # noqa: BLE001 - goes to the template, whatever it is
        said = {"failed": "".join(traceback.format_exception_only(error)).strip()}
    finally:
        os.write(writing, json.dumps(said).encode())
        os._exit(0)


def _nothing() -> None:
    """What is called."""


def _answered(answer: int, pid: int) -> tuple[list[Area], str]:
    """What the child says. It is gone then. Raises OSError."""
    poll, data = select.poll(), b""
    poll.register(answer, select.POLLIN)
    while poll.poll(_PATIENCE_MS) and (piece := os.read(answer, 1 << 16)):
        data += piece
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    try:
        said = json.loads(data)
    except ValueError:
        return [], "the first child ended, or hung, before it said anything"
    return [(start, size) for start, size in said.get("areas", ())], said.get("failed", "")
