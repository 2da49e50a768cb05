"""What a template sees of itself when it parks."""

from __future__ import annotations

import os
import socket
import subprocess
import threading

import pytest

from rekindle.forkserver import process_state, sockets
from rekindle.forkserver.inspection import Inspection, inspect
from rekindle.forkserver.open_things import OpenThings


def _inspect(*fds: int) -> Inspection:
    """What is found of `fds`; what other threads of this process opened does not count."""
    others = {int(fd) for fd in os.listdir("/proc/self/fd")} - set(fds)
    return inspect(OpenThings.look(others, in_sandbox=False), in_sandbox=False)


def test_a_python_thread_is_named_and_makes_a_fork_unsafe() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="pump")
    thread.start()
    try:
        assert len([text for text in _inspect().fork_unsafe if "pump (Python, id" in text]) == 1
    finally:
        release.set()
        thread.join()


def test_a_thread_known_to_be_harmless_is_counted_but_no_reason() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="tqdm_monitor")
    thread.start()
    try:
        found = _inspect()
        assert any(label.startswith("tqdm_monitor (Python") for label in found.threads)
        assert not any("tqdm_monitor" in reason for reason in found.fork_unsafe)
    finally:
        release.set()
        thread.join()


def test_a_child_process_is_named() -> None:
    child = subprocess.Popen(["sleep", "30"])
    try:
        found = _inspect()
        assert f"child process {child.pid} (sleep) is alive" in found.fork_unsafe
        assert any(f"child process {child.pid}" in reason for reason in found.dump_unsafe)
    finally:
        child.kill()
        child.wait()


def test_open_sockets_are_named_with_descriptor_peer_and_line() -> None:
    sockets.track()
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            host, port = server.getsockname()
            with socket.create_connection((host, port)) as client:
                found = _inspect(server.fileno(), client.fileno())
    finally:
        sockets.untrack()
    assert any(f"listening TCP socket on 127.0.0.1:{port}" in text for text in found.fork_unsafe)
    connected = next(text for text in found.fork_unsafe if "connected TCP socket to" in text)
    assert f"127.0.0.1:{port}" in connected and "test_inspection.py:" in connected
    of_sockets = [reason for reason in found.dump_unsafe if "socket" in reason]
    assert len(of_sockets) == 2  # the listener and the end that was opened
    assert all("@enter(snap=False)" in reason for reason in of_sockets)


def test_an_ipv6_socket_is_named_by_its_address() -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"no IPv6 on loopback here: {error}")
    with server:
        found = _inspect(server.fileno())
    assert any("[::1]:" in text for text in found.fork_unsafe)


def test_tracking_ends_with_untrack() -> None:
    original = socket.socket.connect
    sockets.track()
    assert socket.socket.connect is not original
    sockets.untrack()
    assert socket.socket.connect is original


def test_unix_sockets_and_pipes_are_no_reason_here() -> None:
    left, right = socket.socketpair()
    read_fd, write_fd = os.pipe()
    try:
        found = _inspect(left.fileno(), right.fileno(), read_fd, write_fd)
        assert not any("socket" in text for text in (*found.fork_unsafe, *found.dump_unsafe))
    finally:
        left.close()
        right.close()
        os.close(read_fd)
        os.close(write_fd)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("gevent._socket3", "gevent has replaced Python's sockets"),
        ("eventlet.greenio.base", "eventlet has replaced Python's sockets"),
        ("socks", ""),
    ],
)
def test_sockets_that_wait_by_a_loop_of_a_library_are_found(
    monkeypatch: pytest.MonkeyPatch, module: str, text: str
) -> None:
    monkeypatch.setattr(socket, "socket", type("socket", (socket.socket,), {"__module__": module}))
    assert process_state.looping_sockets() == text
