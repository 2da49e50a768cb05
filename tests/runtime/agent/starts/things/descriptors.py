"""Descriptors without a file: pipes, sockets, events, timers, watches, terminals."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import select
import signal
import socket
import struct
import tempfile
import threading
import time
from typing import Any

from tests.runtime.agent.starts.things.kinds import Make, Probe, libc


def _pipe(_n: int) -> Any:
    ends = os.pipe()
    os.write(ends[1], b"waiting")
    return ends


def _probe_pipe(ends: Any) -> Any:
    found = os.read(ends[0], 4)
    os.write(ends[1], b"more")
    return found, os.read(ends[0], 100)


def _probe_pair(pair: Any) -> Any:
    pair[0].send(b"ping")
    return pair[1].recv(100), select.select([pair[1]], [], [], 0)[0]  # noqa: TID251 - as users do


def _probe_eventfd(fd: Any) -> Any:
    found = os.eventfd_read(fd)
    os.eventfd_write(fd, 9)
    return found


def _watched(_n: int) -> Any:
    ends = os.pipe()
    epoll = select.epoll()
    epoll.register(ends[0], select.EPOLLIN)
    return ends, epoll


def _probe_watched(things: Any) -> Any:
    ends, epoll = things
    before = len(epoll.poll(0))
    os.write(ends[1], b"x")
    after = [fd == ends[0] for fd, _events in epoll.poll(5)]
    return before, after


def _probe_loop(loop: Any) -> Any:
    async def woken_by_a_thread() -> str:
        event = asyncio.Event()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(event.set,))
        thread.start()
        await asyncio.wait_for(event.wait(), 60)
        thread.join()
        return "woken"

    return loop.run_until_complete(woken_by_a_thread())


def _listener(n: int) -> Any:
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"s{n}"))
    server.listen()
    return server


def _probe_listener(server: Any) -> Any:
    with socket.socket(socket.AF_UNIX) as client, contextlib.ExitStack() as stack:
        client.connect(server.getsockname())
        stack.enter_context(server.accept()[0])
    return "accepted"


def _timerfd(_n: int) -> Any:
    fd = libc("timerfd_create", 1, 0)
    libc("timerfd_settime", fd, 0, struct.pack("4q", 60, 0, 3600, 0), None)
    return fd


def _probe_timerfd(fd: Any) -> Any:
    found = ctypes.create_string_buffer(32)
    # Stopped by the first that asks.
    libc("timerfd_settime", fd, 0, bytes(32), found)
    interval, _ns, left, _ns = struct.unpack("4q", found.raw)
    return interval, 3000 < left <= 3600


def _signalfd(_n: int) -> Any:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    mask = (1 << signal.SIGUSR2 - 1).to_bytes(128, "little")
    return libc("signalfd", -1, mask, os.O_NONBLOCK)


def _probe_signalfd(fd: Any) -> Any:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
    return struct.unpack_from("I", os.read(fd, 128))


def _inotify(_n: int) -> Any:
    path = tempfile.mkdtemp(prefix="rekindle-things-")
    fd = libc("inotify_init1", os.O_NONBLOCK)
    libc("inotify_add_watch", fd, os.fsencode(path), 0x100)  # IN_CREATE
    return fd, path


def _probe_inotify(things: Any) -> Any:
    fd, path = things
    name = f"n{time.monotonic_ns()}"
    os.mkdir(os.path.join(path, name))
    return os.fsencode(name) in os.read(fd, 4096)


def _netlink(_n: int) -> Any:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)


def _terminal(_n: int) -> Any:
    return os.openpty()


def _probe_terminal(ends: Any) -> Any:
    os.write(ends[1], b"line")
    return os.read(ends[0], 100)


THINGS: dict[str, tuple[Make, Probe]] = {
    "pipe": (_pipe, _probe_pipe),
    "socket pair": (lambda _n: socket.socketpair(), _probe_pair),
    "eventfd": (lambda _n: os.eventfd(5), _probe_eventfd),
    "epoll": (_watched, _probe_watched),
    "event loop": (lambda _n: asyncio.new_event_loop(), _probe_loop),
    "timerfd": (_timerfd, _probe_timerfd),
    "signalfd": (_signalfd, _probe_signalfd),
    "inotify": (_inotify, _probe_inotify),
    "listening socket": (_listener, _probe_listener),
    "terminal": (_terminal, _probe_terminal),
    "netlink socket": (_netlink, lambda netlink: netlink.family),
}
