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
import sys
import traceback
from collections.abc import Iterator
from io import FileIO
from typing import NoReturn

from rekindle.forkserver import forking, own_pages, sigchld
from rekindle.forkserver.own_pages import Area
from rekindle.forkserver.template import Template
from rekindle.linux import processes
from rekindle.linux.maps import Mapping
from rekindle.runtime.runner import clients, rehearsal, serve, unique
from rekindle.runtime.runner.service import Service
from rekindle.wire import direct_frames
from rekindle.wire.page import RunnerPage
from rekindle.wire.shared import pack_input

#: It takes milliseconds.
_PATIENCE_MS = 10_000
#: Where a template has more memory of its own, two more forks would hold up its first start.
_MOST_BYTES = 1 << 30


def learn(template: Template, user_threads: dict[str, str] | None) -> None:
    """Have one forked, wait for its end, and take over what it found; or the reason why that cannot
    be. Of the template nothing else changes."""
    pages = template.forker.pages
    if not rehearsal.can_rehearse() or template.things.timers:
        pages.reason = "user code has its own sockets, signals, timers or output"
    elif sigchld.reaches_user_code():
        pages.reason = "user code would hear of the end of processes that are not its own"
    elif sys.gettrace() is not None or sys.getprofile() is not None:
        pages.reason = "user code is traced or profiled"
    elif clients.was_client():
        pages.reason = "user code has connected to an instance"  # a child would speak for it
    elif own_pages.held_bytes() > _MOST_BYTES:
        pages.reason = "it has too much memory for more forks before the first start"
    elif own_pages.has_large_folios():
        pages.reason = "the kernel may take memory in pieces of several pages"
    else:
        try:
            pages.areas, pages.reason = _ask(template, user_threads)
        except OSError as error:
            pages.reason = str(error)


def _ask(template: Template, user_threads: dict[str, str] | None) -> tuple[list[Area], str]:
    """What a first child has written to, or why that is not known. Raises OSError.

    An observer looks at both, a copy of the template as well: to look is to write.
    """
    areas = own_pages.writable()
    pids: list[int] = []
    with _life() as theirs, _pipe() as (told, telling), _pipe() as (heard, saying):
        try:
            if (pid := forking.fork(alone=True, handlers=False)) == 0:
                _observe(areas, told, telling, saying)
            pids.append(pid)
            saying.close()
            if (pid := template.forker.fork_isolated(handlers=False)) == 0:
                _be_first(template, user_threads, theirs, telling)
            pids.append(pid)
            telling.write(b"%d\n" % pid)
            telling.close()
            return _answer(heard)
        finally:
            for pid in pids:
                with contextlib.suppress(
                    ProcessLookupError, ChildProcessError
                ):  # one after another
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)


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


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[FileIO, FileIO]]:
    reading, writing = os.pipe()
    with FileIO(reading) as told, FileIO(writing, "w") as telling:
        yield told, telling


def _be_first(
    template: Template, user_threads: dict[str, str] | None, theirs: socket.socket, telling: FileIO
) -> NoReturn:
    """In the child, until it is ended: what it has not done by then it says."""
    failed = ""
    try:
        try:
            processes.die_with_parent()
            unique.forget_on_restore()  # that is user code
            template.become_child("", False, theirs.detach(), [])
            serve.run(Service("", {"": _nothing}), template.serve(), user_threads)
        except BaseException as error:  # noqa: BLE001 - goes to the template, whatever it is
            failed = "".join(traceback.format_exception_only(error)).strip()
        telling.write(json.dumps(failed).encode() + b"\n")
        while True:
            signal.pause()
    finally:
        os._exit(1)


def _nothing() -> None:
    """What is called."""


def _observe(areas: list[Mapping], told: FileIO, telling: FileIO, saying: FileIO) -> NoReturn:
    """In the observer: once the child has told, say what it and the template have written to."""
    try:
        processes.die_with_parent()
        telling.close()  # so that the end is seen of those who do
        said = b""
        while said.count(b"\n") < 2 and (piece := told.read(4096)):
            said += piece
        lines = [json.loads(line) for line in said.splitlines()]
        child = next(one for one in lines if isinstance(one, int))
        failed = next(one for one in lines if isinstance(one, str))
        found = [] if failed else own_pages.find(areas, (child, os.getppid()))
        with saying:
            data = memoryview(json.dumps([found, failed]).encode())
            while data:
                data = data[saying.write(data) :]
    finally:
        os._exit(0)


def _answer(heard: FileIO) -> tuple[list[Area], str]:
    """What the observer says."""
    poll, data = select.poll(), b""
    poll.register(heard, select.POLLIN)
    while True:
        if not poll.poll(_PATIENCE_MS):
            return [], f"the first child did not come to its end in {_PATIENCE_MS / 1000:g} s"
        if not (piece := heard.read(1 << 16)):
            break
        data += piece
    try:
        areas, failed = json.loads(data)
    except ValueError:
        return [], "the first child, or who looked at it, ended before it said anything"
    return [(start, size) for start, size in areas], failed
