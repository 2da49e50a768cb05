"""A holder and its clients as processes: shared, counted, and nobody harmed by one that is killed.

Its device is this machine's memory, shared by descriptor as a GPU's is.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from rekindle.exception import GpuError
from rekindle.gpu_restore.holding.client import Arenas, Connection
from rekindle.gpu_restore.host_device import HostDevice
from tests.gpu_restore.holding.processes import listening

BUDGET = 1 << 20
#: A client that is told what to do, line by line, and says "done".
_CLIENT = """
import ctypes, sys
from rekindle.gpu_restore.holding.client import Connection
from rekindle.gpu_restore.host_device import HostDevice
device = HostDevice()
holder = Connection.to(sys.argv[1], device)
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Client:
    """A process of its own."""

    def __init__(self, path: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_CLIENT), path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        """Without waiting."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def done(self) -> None:
        stream: IO[str] | None = self.process.stdout
        assert stream is not None and stream.readline() == "done\n"

    def do(self, line: str) -> None:
        self.tell(line)
        self.done()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    """The socket of a holder with a budget of 1 MiB."""
    options = ("--device", "host", "--budget-bytes", str(BUDGET))
    with listening(tmp_path / "holder.sock", *options) as socket:
        yield socket


@pytest.fixture
def clients(path: str) -> Iterator[Any]:
    made: list[Client] = []

    def one() -> Client:
        made.append(Client(path))
        return made[-1]

    yield one
    for client in made:
        if client.process.poll() is None:
            client.kill()


def _load(holder: Connection, key: str, content: bytes, **kwargs: Any) -> Arenas:
    assert holder.want(key) is None
    arenas = holder.allocate(key, [len(content)])
    ctypes.memmove(arenas.places[0][0], content, len(content))
    holder.commit(key, {"made": "here"}, **kwargs)
    return arenas


def _until(holder: Connection, users: int) -> None:
    """A process that was killed is gone from the kernel's view when its connection is."""
    while holder.status()["entries"][0]["users"] != users:
        time.sleep(0.005)


def test_a_second_client_has_what_the_first_brought(path: str) -> None:
    first, second = (Connection.to(path, HostDevice()) for _ in range(2))
    content = os.urandom(10_000)
    _load(first, "m", content)
    first.close()
    held = second.want("m")
    assert held is not None and held.index == {"made": "here"}
    assert ctypes.string_at(held.places[0][0], len(content)) == content
    second.close()


def test_a_user_that_is_killed_is_not_counted_and_harms_no_one(path: str, clients: Any) -> None:
    holder = Connection.to(path, HostDevice())
    content = os.urandom(5000)
    mine = _load(holder, "m", content)
    other = clients()
    other.do("held = holder.want('m')")
    _until(holder, 2)
    other.kill()
    _until(holder, 1)
    assert ctypes.string_at(mine.places[0][0], 5000) == content
    again = clients()
    again.do("assert ctypes.string_at(holder.want('m').places[0][0], 4)")


def test_a_loader_that_is_killed_leaves_its_work_to_one_that_waits(path: str, clients: Any) -> None:
    loader, waiting = clients(), clients()
    loader.do("assert holder.want('m') is None; holder.allocate('m', [4096])")
    waiting.tell(
        "assert holder.want('m') is None; holder.allocate('m', [BUDGET])".replace(
            "BUDGET", str(BUDGET)
        )
    )
    holder = Connection.to(path, HostDevice())
    while holder.status()["entries"][0]["waiting"] == 0:
        time.sleep(0.005)
    loader.kill()
    waiting.done()  # it was told to load, and the memory of the other one is free
    status = holder.status()
    assert (status["held_bytes"], status["free_bytes"]) == (BUDGET, 0)


def test_a_client_that_is_stopped_in_a_message_holds_up_no_one(path: str, clients: Any) -> None:
    stopped = clients()
    stopped.do("holder._sock.sendall(b'half')")
    holder = Connection.to(path, HostDevice())
    assert holder.status()["ok"]


def test_what_is_used_stays_and_what_is_not_makes_room(path: str) -> None:
    one, two = (Connection.to(path, HostDevice()) for _ in range(2))
    _load(one, "used", bytes(BUDGET // 2))
    _load(two, "idle", bytes(BUDGET // 2))
    assert two.want("more") is None
    with pytest.raises(GpuError, match="no room"):
        two.allocate("more", [BUDGET // 2])
    two.release("idle")
    two.allocate("more", [BUDGET // 2])
    assert {entry["key"] for entry in one.status()["entries"]} == {"used", "more"}
    one.close()
    two.close()


def test_checksums_tell_what_was_written_to_later(path: str) -> None:
    holder = Connection.to(path, HostDevice())
    arenas = _load(holder, "m", os.urandom(3000), checksums=True)
    assert holder.damaged("m") == []
    ctypes.memset(arenas.places[0][0] + 100, 0, 8)
    assert holder.damaged("m") == [0]
    _load(holder, "plain", b"x")
    with pytest.raises(GpuError, match="without checksums"):
        holder.damaged("plain")
    holder.close()


def test_a_connection_that_is_limited_sees_one_name(path: str) -> None:
    holder = Connection.to(path, HostDevice())
    holder.limit("mine")
    with pytest.raises(GpuError, match="'mine' alone"):
        holder.want("other")
    with pytest.raises(GpuError, match="settled"):
        holder.limit("mine")
    assert holder.want("mine") is None
    holder.close()


def test_wrong_orders_are_answered_and_the_holder_goes_on(path: str) -> None:
    holder = Connection.to(path, HostDevice())
    for order in (
        {"op": "nonsense"},
        {"op": "commit", "key": "x", "index": {}},
        {"op": "allocate", "key": "x", "sizes": [1]},
    ):
        with pytest.raises(GpuError):
            holder._ask(order)
    holder._send({"op": "want"})  # without a name: no client of ours
    with pytest.raises(GpuError, match="is gone"):
        holder._receive()
    assert Connection.to(path, HostDevice()).status()["ok"]


def test_a_holder_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(GpuError, match="no process holds weights"):
        Connection.to(str(tmp_path / "none"), HostDevice())
