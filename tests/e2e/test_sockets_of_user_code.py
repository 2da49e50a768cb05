"""What user code sets for sockets, or puts in the place of Python's, is for its own alone."""

from __future__ import annotations

import pytest

from tests.e2e.harness import Home

TIMEOUT = """
import os, socket
import rekindle

app = rekindle.App("timeouts")
left, right = socket.socketpair()
socket.setdefaulttimeout(3)

def look(what):
    "Sockets of this process that do not wait by themselves, as those with a timeout."
    assert socket.getdefaulttimeout() == 3 and left.gettimeout() is None
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # that of the listing
        if target.startswith("socket:"):
            found[int(name)] = os.get_blocking(int(name))
    assert found.pop(left.fileno()) and found.pop(right.fileno())
    assert found
    return sorted({os.get_blocking(fd) for fd in found})

@app.function(max_containers=1)
def cold(what):
    return look(what)

@app.function(enable_memory_snapshot=True, single_use_containers=True)
def copied(what):
    return look(what)

@app.function(max_containers=1)
@rekindle.concurrent(max_inputs=2)
def in_threads(what):
    return look(what)

@app.local_entrypoint()
def main():
    print(*(look(n) for look in (cold.remote, copied.remote, in_threads.remote) for n in range(4)))
"""


@pytest.mark.criu
def test_connections_of_a_runner_have_no_timeout_where_user_code_sets_one_for_its_own(
    home: Home,
) -> None:
    script = home.script(TIMEOUT)
    for first in ("cold", "restore"):
        assert home.run(script).out.split() == ["[True]"] * 12, first


REPLACED = """
import socket
import rekindle

app = rekindle.App("proxies")
ways = []

class Proxied(socket.socket):
    "As a proxy's, put in the place of Python's for all that is imported after it."
    def connect(self, address):
        ways.append(address)
        super().connect(("127.0.0.1", proxy.getsockname()[1]))

class Made(Proxied):
    "One that has nothing of its own."

if not rekindle.is_local():
    socket.socket = Made

@app.function(enable_memory_snapshot=True, single_use_containers=True)
def ask(what):
    global proxy
    with Proxied() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        with socket.socket() as sock:
            sock.connect(("192.0.2.1", 80))
            through = sock.getpeername() == proxy.getsockname()
    return ways.pop(), ways, through, "connect" in vars(Made), "bind" in vars(Proxied)

@app.local_entrypoint()
def main():
    for n in range(3):
        print(ask.remote(n))
"""


@pytest.mark.criu
def test_a_class_that_user_code_puts_in_place_of_sockets_keeps_its_methods_in_each_copy(
    home: Home,
) -> None:
    script = home.script(REPLACED)
    for first in ("cold", "restore"):
        ended = home.run(script)
        assert ended.out == "(('192.0.2.1', 80), [], True, False, False)\n" * 3, (first, ended)
