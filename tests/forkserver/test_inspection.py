"""What a template sees of itself when it parks."""

from __future__ import annotations

import os
import socket
import subprocess
import threading

import pytest

from rekindle.forkserver import sockets
from rekindle.forkserver.inspection import Inspection, inspect_self


def _own_fds() -> set[int]:
    listed = {int(fd) for fd in os.listdir("/proc/self/fd")}
    # The listing's own descriptor is closed by now, and free for a socket.
    return {fd for fd in listed if os.path.exists(f"/proc/self/fd/{fd}")}


@pytest.fixture
def before() -> set[int]:
    return _own_fds()


def _new_reasons(found: Inspection, baseline: Inspection) -> list[str]:
    return [reason for reason in found.fork_unsafe if reason not in baseline.fork_unsafe]


def test_a_python_thread_is_named_and_makes_a_fork_unsafe(before: set[int]) -> None:
    baseline = inspect_self(before)
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="pump")
    thread.start()
    try:
        reasons = _new_reasons(inspect_self(before), baseline)
        assert len(reasons) == 1 and "pump (Python, id" in reasons[0]
    finally:
        release.set()
        thread.join()


def test_a_thread_known_to_be_harmless_is_counted_but_no_reason(before: set[int]) -> None:
    baseline = inspect_self(before)
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="tqdm_monitor")
    thread.start()
    try:
        found = inspect_self(before)
        assert any(label.startswith("tqdm_monitor (Python") for label in found.threads)
        assert _new_reasons(found, baseline) == []
    finally:
        release.set()
        thread.join()


def test_a_child_process_is_named(before: set[int]) -> None:
    baseline = inspect_self(before)
    child = subprocess.Popen(["sleep", "30"])
    try:
        found = inspect_self(before)
        assert child.pid in found.children
        assert f"child process {child.pid} (sleep) is alive" in _new_reasons(found, baseline)
        assert any(f"child process {child.pid}" in reason for reason in found.dump_unsafe)
    finally:
        child.kill()
        child.wait()


def test_open_sockets_are_named_with_descriptor_peer_and_line(before: set[int]) -> None:
    sockets.track()
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            host, port = server.getsockname()
            with socket.create_connection((host, port)):
                found = inspect_self(before)
    finally:
        sockets.untrack()
    assert any(f"listening TCP socket on 127.0.0.1:{port}" in text for text in found.sockets)
    connected = next(text for text in found.sockets if "connected TCP socket to" in text)
    assert f"127.0.0.1:{port}" in connected and "test_inspection.py:" in connected
    of_sockets = [reason for reason in found.dump_unsafe if "socket" in reason]
    assert len(of_sockets) == 2  # the listener and the end that was opened
    assert all("@enter(snap=False)" in reason for reason in of_sockets)


def test_an_ipv6_socket_is_named_by_its_address(before: set[int]) -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"no IPv6 on loopback here: {error}")
    with server:
        found = inspect_self(before)
    assert any("[::1]:" in text for text in found.sockets)


def test_tracking_ends_with_untrack() -> None:
    original = socket.socket.connect
    sockets.track()
    assert socket.socket.connect is not original
    sockets.untrack()
    assert socket.socket.connect is original


def test_unix_sockets_and_pipes_are_no_reason_here(before: set[int]) -> None:
    baseline = inspect_self(before)
    left, right = socket.socketpair()
    read_fd, write_fd = os.pipe()
    try:
        assert inspect_self(before).sockets == baseline.sockets
    finally:
        left.close()
        right.close()
        os.close(read_fd)
        os.close(write_fd)
