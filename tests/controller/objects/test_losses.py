"""The controller or Redis is killed while programs use Dict and Queue; who may not, is refused."""

from __future__ import annotations

import json
import socket
import stat
import threading
from collections.abc import Iterator

import pytest

from rekindle import Dict, Queue
from rekindle.exception import AuthError, NotFoundError, VersionError
from rekindle.paths import objects_socket
from rekindle.wire import object_frames as wire
from rekindle.wire.object_frames import Op, Request
from tests.controller.harness import TOKEN, Instance, running_instance
from tests.e2e.harness import wait_until


@pytest.fixture
def own(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """An instance of the test's own, asked by this process."""
    monkeypatch.setenv("REKINDLE_DIR", str(instance.directory))
    return instance


def test_nothing_is_lost_and_nothing_happens_twice_when_the_controller_is_killed(
    own: Instance,
) -> None:
    q = Queue.from_name("work", create_if_missing=True)
    d = Dict.from_name("done", create_if_missing=True)
    d["kept"] = list(range(1000))
    count, taken, locked = 600, [], []
    half = threading.Event()

    def put() -> None:
        for number in range(count):
            q.put(number)
        q.put(None)

    def take() -> None:
        while (number := q.get()) is not None:
            taken.append(number)
            # Who is told twice that it put the value would believe that there are two.
            locked.append(d.put(number, "taken", skip_if_exists=True))
            if number in (count // 3, count // 2):
                half.set()

    threads = [threading.Thread(target=one) for one in (put, take)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        assert half.wait(60)
        half.clear()
        own.kill_controller()
        own.start_controller()
    for thread in threads:
        thread.join(90)
    assert taken == list(range(count)) and all(locked)
    assert len(d) == count + 1 and d["kept"] == list(range(1000))


def test_who_waits_goes_on_waiting_at_the_next_controller(own: Instance) -> None:
    q = Queue.from_name("waited.for", create_if_missing=True)
    q.hydrate()
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(q.get()))
    waiting.start()
    own.kill_controller()
    own.start_controller()
    q.put("after")
    waiting.join(60)
    assert found == ["after"]


def test_a_killed_redis_loses_nothing_that_was_put(own: Instance) -> None:
    d = Dict.from_name("kept", create_if_missing=True)
    d.update({n: n for n in range(500)})
    own.kill_redis()
    asked: list[object] = []
    waiting = threading.Thread(target=lambda: asked.append(d.put("while", "away")))
    waiting.start()
    own.start_redis()
    waiting.join(60)
    assert asked == [True] and d["while"] == "away" and len(d) == 501


def test_an_ephemeral_one_outlives_the_controller_and_goes_with_its_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running_instance(REKINDLE_HOLD_GRACE_S="3") as own:
        monkeypatch.setenv("REKINDLE_DIR", str(own.directory))
        with Dict.ephemeral() as d:
            d["a"] = 1
            # One that nobody holds: as if its program had been killed.
            body = b'{"kind": "dict", "environment": "main"}'
            made = json.loads(d._link().ask(b"", Request(Op.CREATE, body)).body)
            left = Dict.from_id(made["object_id"])
            own.kill_controller()
            own.start_controller()
            assert d["a"] == 1
            wait_until(lambda: is_gone(left), "it has gone")
            assert d["a"] == 1


def is_gone(one: Dict) -> bool:
    try:
        one.len()
    except NotFoundError:
        return True
    return False


# ---- who may ask ---------------------------------------------------------------------------------


@pytest.fixture
def connection(shared: Instance) -> Iterator[socket.socket]:
    path = objects_socket(shared.directory)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as made:
        made.settimeout(30)
        made.connect(str(path))
        yield made


def answer(connection: socket.socket) -> wire.Reply:
    data = bytearray()
    while not (size := wire.frame_bytes(data)) or len(data) < size:
        piece = connection.recv(4096)
        assert piece, "closed without an answer"
        data += piece
    return wire.parse_reply(data)[1]


def test_without_the_token_nothing_is_answered_but_that(connection: socket.socket) -> None:
    connection.sendall(wire.GREETING + Request(Op.LIST, b"{}").pack(b"", 0, 1))
    with pytest.raises(AuthError, match="token"):
        wire.result_of(answer(connection))
    assert connection.recv(1) == b""


def test_a_wrong_token_is_refused(connection: socket.socket) -> None:
    hello = Request(Op.HELLO, b"x" * len(TOKEN), partition=bytes(wire.SESSION_BYTES))
    connection.sendall(wire.GREETING + hello.pack(b"", 0, 0))
    with pytest.raises(AuthError, match="wrong"):
        wire.result_of(answer(connection))
    assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\n\r\n", wire.GREETING.replace(b"objects", b"0bjects")]
)
def test_who_speaks_another_language_is_told_so(connection: socket.socket, sent: bytes) -> None:
    connection.sendall(sent)
    with pytest.raises(VersionError):
        wire.result_of(answer(connection))


def test_a_frame_that_is_too_long_is_refused_before_it_is_read(connection: socket.socket) -> None:
    connection.sendall(wire.GREETING + b"\xff\xff\xff\xff")
    reply = answer(connection)
    assert reply.status == wire.Status.ERROR and b"too long" in reply.body
