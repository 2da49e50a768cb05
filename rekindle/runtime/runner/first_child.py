"""The first child of a template that parks: it shows which memory runners write to.

It goes the way of every runner, from its fork to its end, with a function that does nothing in
place of the user's: no user code runs. What it has written to by then is copied by each fork at
once from now on (``forkserver/own_pages.py``), in the template and in all that is restored from it.
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
from rekindle.runtime.runner import clients, process_end, rehearsal, serve, unique
from rekindle.runtime.runner.service import Service
from rekindle.wire import direct_frames
from rekindle.wire.page import RunnerPage
from rekindle.wire.shared import pack_input

#: It takes milliseconds.
_PATIENCE_MS = 10_000
#: Where a template has more memory of its own, two more forks would hold up its first start.
_MOST_BYTES = 1 << 30


def learn(template: Template, user_threads: dict[str, str] | None) -> None:
    """Fork one, wait for its end, and note in the template's ``OwnPages`` what it wrote to, or why
    that is not known. Nothing else of the template changes."""
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

    An observer, another copy of the template, looks at it and the child: looking writes to memory.
    """
    areas = own_pages.writable()
    pids: list[int] = []
    with (
        _start_and_call() as channel,
        _pipe() as (reports, reporting),
        _pipe() as (answer, answering),
    ):
        try:
            if (pid := forking.fork(alone=True, handlers=False)) == 0:
                _observe(areas, reports, reporting, answering)
            pids.append(pid)
            answering.close()
            if (pid := template.forker.fork_isolated(handlers=False)) == 0:
                _be_first(template, user_threads, channel, reporting)
            pids.append(pid)
            reporting.write(b"%d\n" % pid)
            reporting.close()
            return _answered(answer)
        finally:
            for pid in pids:
                # One after the other.
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)


@contextlib.contextmanager
def _start_and_call() -> Iterator[socket.socket]:
    """The channel of a child, with its start on it, as from an agent, and a call, as from a client.

    Made here and not in the child: a runner has these from others, too.
    """
    with contextlib.ExitStack() as stack:
        pairs = [*socket.socketpair(), *socket.socketpair()]
        agent, channel, client, lent = map(stack.enter_context, pairs)
        page = RunnerPage.create()
        stack.callback(page.close)
        rehearsal.order_life(agent, [1, 2, page.fd, lent.fileno()])
        direct_frames.send_call(client, "", "", pack_input((), {}))
        client.shutdown(socket.SHUT_WR)
        yield channel


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[FileIO, FileIO]]:
    reading, writing = os.pipe()
    with FileIO(reading) as source, FileIO(writing, "w") as sink:
        yield source, sink


def _be_first(
    template: Template,
    user_threads: dict[str, str] | None,
    channel: socket.socket,
    reporting: FileIO,
) -> NoReturn:
    """In the child, until it is killed: it reports when it has come to its end, or why not."""
    failed = ""
    try:
        try:
            processes.die_with_parent()
            unique.forget_on_restore()  # that is user code, as are these
            process_end.forget()
            template.become_child("", False, channel.detach(), [])
            serve.run(Service("", {"": _nothing}), template.serve(), user_threads)
        except BaseException as error:  # noqa: BLE001 - goes to the template, whatever it is
            failed = "".join(traceback.format_exception_only(error)).strip()
        reporting.write(json.dumps(failed).encode() + b"\n")
        while True:
            signal.pause()
    finally:
        os._exit(1)


def _nothing() -> None:
    """What is called."""


def _observe(
    areas: list[Mapping], reports: FileIO, reporting: FileIO, answering: FileIO
) -> NoReturn:
    """In the observer: once the child has reported, answer what it and the template wrote to.

    ``reports``: two lines, the child's process id from the template, and the child's own.
    """
    try:
        processes.die_with_parent()
        reporting.close()  # so that the end of the others is seen
        text = b""
        while True:
            if text.count(b"\n") == 2 or not (piece := reports.read(4096)):
                break
            text += piece
        lines = [json.loads(line) for line in text.splitlines()]
        child = next(one for one in lines if isinstance(one, int))
        failed = next(one for one in lines if isinstance(one, str))
        found = [] if failed else own_pages.find(areas, (child, os.getppid()))
        with answering:
            data = memoryview(json.dumps([found, failed]).encode())
            while True:
                if not data:
                    break
                data = data[answering.write(data) :]
    finally:
        os._exit(0)


def _answered(answer: FileIO) -> tuple[list[Area], str]:
    """What the observer answers."""
    poll, data = select.poll(), b""
    poll.register(answer, select.POLLIN)
    while True:
        if not poll.poll(_PATIENCE_MS):
            return [], f"the first child did not come to its end in {_PATIENCE_MS / 1000:g} s"
        if not (piece := answer.read(1 << 16)):
            break
        data += piece
    try:
        areas, failed = json.loads(data)
    except ValueError:
        return [], "the first child, or who looked at it, ended before it said anything"
    return [(start, size) for start, size in areas], failed
