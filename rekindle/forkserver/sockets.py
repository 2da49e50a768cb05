"""Sockets in messages: where in the user's code one was opened, and what it is, in words.

A template with an open connection can neither be forked nor frozen; its owner wants to know which
line opened it. Recorded only while a template loads.
"""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

_NOT_THE_USERS = (sys.base_prefix, sys.prefix, "<frozen")

# The standard library's, before user code.
_Socket = socket.socket
_opened_at: dict[int, str] = {}
#: By name: what records, while it does, and what the class itself had in its place.
_recorders: dict[str, tuple[Callable[..., Any], Any]] = {}


def track() -> None:
    """Start recording."""
    for name in ("connect", "connect_ex", "bind"):
        recorder = _recording(getattr(_Socket, name))
        _recorders[name] = recorder, vars(_Socket).get(name)
        setattr(_Socket, name, recorder)


def untrack() -> None:
    """Stop recording; what was recorded stays."""
    while _recorders:
        name, (recorder, own) = _recorders.popitem()
        if vars(_Socket).get(name) is not recorder:
            continue  # user code has put another in its place
        if own is None:  # inherited
            delattr(_Socket, name)
        else:
            setattr(_Socket, name, own)


def opened_at(fd: int) -> str:
    """``file:line in function`` of the code that opened ``fd``, or an empty string."""
    return _opened_at.get(fd, "")


def _recording(original: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: socket.socket, *args: Any) -> Any:
        if _recorders:
            _opened_at[self.fileno()] = _first_user_line()
        return original(self, *args)

    return method


def _first_user_line() -> str:
    """The innermost frame outside installed packages and the standard library, else the caller."""
    nearest = ""
    for frame, line in traceback.walk_stack(sys._getframe(2)):
        file = frame.f_code.co_filename
        where = f"{file}:{line} in {frame.f_code.co_name}"
        nearest = nearest or where
        if not file.startswith(_NOT_THE_USERS) and "/rekindle/" not in file:
            return where
    return nearest


def look_at(fd: int) -> socket.socket:
    """A socket of user code's under another descriptor, to be asked and closed. It goes on waiting
    or not, whatever default timeout user code has set: a new object has it set in the kernel."""
    waits = os.get_blocking(fd)
    sock = _Socket(fileno=os.dup(fd))
    if os.get_blocking(fd) is not waits:
        os.set_blocking(fd, waits)
    return sock


def describe(fd: int, inode: int) -> str:
    """``a connected TCP socket to 10.0.0.1:5432``, ``a Unix socket connected to /run/db.sock``."""
    named = _internet_sockets().get(str(inode))
    if named is not None:
        return named
    with look_at(fd) as one:
        family = getattr(one.family, "name", f"family {one.family}")
        if one.family == socket.AF_UNIX:
            return _unix(one)
        return f"a socket ({family})"


def _unix(one: socket.socket) -> str:
    def text(address: object) -> str:
        return os.fsdecode(address) if isinstance(address, (str, bytes)) else ""

    try:
        own = text(one.getsockname())
    except OSError:
        own = ""
    try:
        peer = text(one.getpeername())
    except OSError:
        return f"a Unix socket on {own}" if own else "a Unix socket"
    return f"a Unix socket connected to {peer or 'another process or to itself'}"


_TCP_STATES = {"01": "connected", "0A": "listening", "06": "closing", "08": "half-closed"}


def _internet_sockets() -> dict[str, str]:
    """Inode -> words, of the TCP and UDP sockets of this network namespace."""
    found = {}
    for name in ("tcp", "tcp6", "udp", "udp6"):
        try:
            with open(f"/proc/self/net/{name}") as table:
                lines = table.readlines()[1:]
        except FileNotFoundError:
            continue  # no IPv6 here
        for line in lines:
            fields = line.split()
            local, remote, state, inode = fields[1], fields[2], fields[3], fields[9]
            if inode == "0":
                continue
            is_tcp = name.startswith("tcp")
            words = f"{_TCP_STATES.get(state, 'open')} TCP socket" if is_tcp else "UDP socket"
            if state == "0A" or remote.endswith(":0000"):
                found[inode] = f"a {words} on {_address(local)}"
            else:
                found[inode] = f"a {words} to {_address(remote)}"
    return found


def _address(text: str) -> str:
    """``0100007F:1F90`` -> ``127.0.0.1:8080`` (the kernel prints words in machine order)."""
    host, port = text.split(":")
    words = [int(host[i : i + 8], 16) for i in range(0, len(host), 8)]
    raw = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    if len(raw) == 4:
        return f"{socket.inet_ntop(socket.AF_INET, raw)}:{int(port, 16)}"
    return f"[{socket.inet_ntop(socket.AF_INET6, raw)}]:{int(port, 16)}"
