"""Programs that speak to Redis themselves: what they may there, and what holds when they cannot."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from rekindle import Dict, Queue
from rekindle.cli import operator
from rekindle.controller.objects import scripts
from rekindle.controller.objects.access import address_of
from rekindle.controller.storage.embedded_redis import redis_socket
from rekindle.exception import NotFoundError
from rekindle.sdk.connection.client import client_for
from rekindle.sdk.objects.link import ACCESS
from rekindle.wire import object_keys
from rekindle.wire import rekindle_pb2 as pb
from tests import descriptors
from tests.controller.harness import Instance, running_instance
from tests.e2e.harness import wait_until


def granted(one: Dict | Queue) -> dict[str, Any]:
    """What the controller gives a program for an object."""
    reply = one._link().ask(one.object_id.encode(), ACCESS)
    found: dict[str, Any] = json.loads(reply.body)["access"]
    return found


def as_granted(one: Dict | Queue, directory: Path) -> redis.Redis:
    """A connection with that."""
    access = granted(one)
    return redis.Redis(
        unix_socket_path=str(redis_socket(directory)),
        username=access["user"],
        password=access["password"],
    )


def users(server: redis.Redis) -> list[str]:
    """All of the server."""
    return [str(name) for name in server.acl_users()]


def objects(directory: Path) -> pb.ObjectsStatus:
    """What an operator sees."""
    return operator.report(client_for(directory), pools=False).objects


def test_the_connections_about_an_ephemeral_object_end_with_it(shared: Instance) -> None:
    def used(before: dict[int, str]) -> list[str]:
        with Queue.ephemeral() as q:
            q.put(1)
            assert q.get() == 1
            return descriptors.since(before)

    used({})  # what is about no object stays for the next time
    before = descriptors.opened()
    assert used(before)
    assert not descriptors.newly_open(before)


# ---- what a program may --------------------------------------------------------------------------


def test_the_user_of_an_object_may_use_that_object_and_nothing_else(
    shared: Instance, stored: redis.Redis
) -> None:
    with Dict.ephemeral() as own, Dict.ephemeral() as other, Queue.ephemeral() as line:
        own["a"], other["a"] = 1, "another's"
        line.put("kept")
        with as_granted(own, shared.directory) as user:
            entries = object_keys.dict_entries(own.object_id)
            assert user.hlen(entries) == 1
            for key in (
                object_keys.dict_entries(other.object_id),
                object_keys.queue_items(line.object_id),
                object_keys.answer(other.object_id, "session"),
                "rk:objects:anything",
                entries.replace("rk:dict", "rk:dictx"),
            ):
                for command in (("HGET", key, "a"), ("GET", key), ("UNLINK", key)):
                    with pytest.raises(NoPermissionError):
                        user.execute_command(*command)
            for refused in (
                *("KEYS *", "SCAN 0", "FLUSHALL", "FLUSHDB", "RANDOMKEY", "DBSIZE", "SELECT 0"),
                *("CONFIG GET dir", "CONFIG SET maxmemory 1", "INFO", "MONITOR", "LATENCY DOCTOR"),
                *("ACL LIST", "ACL WHOAMI", "ACL SETUSER default on", "CLIENT LIST", "SHUTDOWN"),
                *("SAVE", "BGREWRITEAOF", "REPLICAOF NO ONE", "SYNC", "MEMORY USAGE x"),
                *("SCRIPT FLUSH", "FUNCTION LIST", "SUBSCRIBE x", "PSUBSCRIBE *", "WAIT 0 1"),
                *("LPUSH x 1", "SET x 1", "XADD x * a 1", "RENAME x y", "COPY x y", "DUMP x"),
            ):
                with pytest.raises(NoPermissionError):
                    user.execute_command(*refused.split())
            with pytest.raises(NoPermissionError):
                user.execute_command("EVAL", "return 1", 0)
            with pytest.raises(NoPermissionError):
                user.execute_command("SCRIPT", "LOAD", "return 1")
            with pytest.raises(NoPermissionError):
                user.publish("rk:wake:another:" + own.object_id, "i1:")
            # What a script does is bounded in the same way, whatever it is given.
            for digest in scripts.DIGESTS.values():
                strange = [object_keys.dict_entries(other.object_id)] * 6
                with pytest.raises(RedisError):
                    user.execute_command("EVALSHA", digest, 6, *strange, "0", "n", "0", "x", "y")
        with as_granted(line, shared.directory) as user:
            clear = scripts.DIGESTS["queue_clear"]
            key = object_keys.queue_items(line.object_id)
            into = object_keys.dict_entries(other.object_id)
            with pytest.raises(RedisError, match=r"(?i)perm"):  # through an argument
                user.execute_command(
                    *("EVALSHA", clear, 5, key, key, key, key, key, "0", "12345678"),
                    *("", "0", into, into),
                )
        assert own["a"] == 1 and other["a"] == "another's" and line.get() == "kept"
        named = f"rk:{shared_instance(stored)}:"
        assert all(name.startswith(named) for name in users(stored) if name != "default")


def shared_instance(server: redis.Redis) -> str:
    """The id of the instance whose objects lie there."""
    keys: Any = server.keys("rk:objects:*")
    return str(keys[0].decode().rpartition(":")[2])


def test_a_user_goes_with_its_object_and_all_its_connections(
    shared: Instance, stored: redis.Redis
) -> None:
    name = "access.deleted"
    made = Dict.from_name(name, create_if_missing=True)
    made["a"] = 1
    user = granted(made)["user"]
    connection = as_granted(made, shared.directory)
    assert connection.ping() and user in users(stored)
    Dict.objects.delete(name)
    assert user not in users(stored)
    with pytest.raises((redis.ConnectionError, AuthenticationError)):
        connection.execute_command("HSET", object_keys.dict_entries(made.object_id), "b", "1")
    with pytest.raises(NotFoundError, match=name):
        made["b"] = 1
    assert not stored.keys(f"rk:*{made.object_id}*entries")


def test_a_password_stands_in_no_log(shared: Instance, stored: redis.Redis) -> None:
    stored.config_set("slowlog-log-slower-than", 0)
    try:
        with Dict.ephemeral() as d:
            d["a"] = 1
            password = granted(d)["password"]
            said = repr(vars(d)) + repr(d._link()) + repr(vars(d._link().ways))
            slow = repr(stored.slowlog_get(128))
    finally:
        stored.config_set("slowlog-log-slower-than", 10_000)
    logs = [path.read_text(errors="replace") for path in (shared.directory / "logs").iterdir()]
    assert len(password) > 30 and logs
    assert not any(password in text for text in (said, slow, *logs))


# ---- when something dies -------------------------------------------------------------------------


@pytest.fixture
def own(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """An instance of the test's own, asked by this process."""
    monkeypatch.setenv("REKINDLE_DIR", str(instance.directory))
    return instance


def test_what_needs_no_waiting_goes_on_while_no_controller_is_there(own: Instance) -> None:
    d = Dict.from_name("access.alone", create_if_missing=True)
    q = Queue.from_name("access.alone", create_if_missing=True)
    d["a"] = 1
    q.put(1)
    server = own.redis_client()
    left = granted(d)["user"].rpartition(":")[0] + ":di-gone"
    server.acl_setuser(left, enabled=True)
    own.kill_controller()
    d.update({n: n for n in range(100)})
    q.put_many(range(100))
    assert d["a"] == 1 and len(dict(d.items())) == 101 and q.get_many(200) == [1, *range(100)]
    own.start_controller()
    assert left not in users(server)  # of an object that went as its controller was killed
    assert d["a"] == 1 and q.len() == 0


def test_no_value_is_lost_doubled_or_moved_as_redis_is_killed_and_the_users_come_back(
    own: Instance,
) -> None:
    q = Queue.from_name("access.work", create_if_missing=True)
    d = Dict.from_name("access.done", create_if_missing=True)
    user = granted(d)["user"]
    count, taken, locked = 400, [], []
    marks = {count // 3: threading.Event(), 2 * count // 3: threading.Event()}

    def put() -> None:
        for number in range(0, count, 20):
            q.put(number)
            q.put_many(range(number + 1, number + 20))
        q.put(None)

    def take() -> None:
        while True:
            for number in q.get_many(25):
                if number is None:
                    return
                taken.append(number)
                locked.append(d.put(number, "taken", skip_if_exists=True))
                if number in marks:
                    marks[number].set()

    threads = [threading.Thread(target=one) for one in (put, take)]
    for thread in threads:
        thread.start()
    for mark in marks.values():
        assert mark.wait(60)
        own.kill_redis()
        own.start_redis()
    for thread in threads:
        thread.join(90)
    assert taken == list(range(count)) and all(locked) and len(d) == count
    server = own.redis_client()
    wait_until(lambda: d.put("again", 1) and user in users(server), "it is back")


# ---- where Redis is not reached ------------------------------------------------------------------


def all_of_it(prefix: str) -> None:
    """Uses a Dict and a Queue."""
    d = Dict.from_name(f"{prefix}.dict", create_if_missing=True)
    q = Queue.from_name(f"{prefix}.queue", create_if_missing=True)
    d.update({n: n for n in range(300)})
    assert d[1] == 1
    assert sorted(d.keys()) == sorted(d.values()) == list(range(300)) and d.pop(1) == 1
    got: list[object] = []
    waiting = threading.Thread(target=lambda: got.append(q.get(timeout=60)))
    waiting.start()
    q.put("a")
    waiting.join(60)
    q.put_many(range(100))
    assert got == ["a"] and q.get_many(200) == list(range(100)) and q.get(block=False) is None


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("unix:///a/redis.sock", {"unix": "/a/redis.sock", "db": 0}),
        ("unix://name:word@/a/redis.sock?db=2", {"unix": "/a/redis.sock", "db": 2}),
        ("redis://:word@cache:7000/3", {"host": "cache", "port": 7000, "db": 3}),
        ("redis://", {"host": "localhost", "port": 6379, "db": 0}),
    ],
)
def test_programs_are_told_where_the_server_is_and_no_password_of_its(
    url: str, found: dict[str, object]
) -> None:
    assert address_of(url) == (found, "")


def test_a_server_behind_tls_is_the_controllers_to_speak_to() -> None:
    address, reason = address_of("rediss://cache:7000")
    assert not address and "rediss" in reason


def test_programs_go_through_the_controller_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running_instance(REKINDLE_DIRECT_OBJECTS="0") as own:
        monkeypatch.setenv("REKINDLE_DIR", str(own.directory))
        all_of_it("off")
        server = own.redis_client()
        assert users(server) == ["default"]
        seen = objects(own.directory)
        assert "REKINDLE_DIRECT_OBJECTS=0" in seen.through_controller and not seen.barred
        done = {one.kind: dict(one.operations) for one in seen.objects}
        assert done["dict"]["put"] == 300 and done["queue"] == {"put": 101, "get": 101}


def test_a_server_that_refuses_users_is_used_through_the_controller(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = redis_socket(instance.directory)
    server = redis.Redis(unix_socket_path=str(path))
    words = ("on", ">secret", "~*", "&*", "+@all", "-acl")
    server.execute_command("ACL", "SETUSER", "bounded", *words)
    assert instance.end_controller() == 0
    instance.environ["REKINDLE_REDIS_URL"] = f"unix://bounded:secret@{path}"
    instance.start_controller()
    monkeypatch.setenv("REKINDLE_DIR", str(instance.directory))
    all_of_it("refused")
    assert "acl" in objects(instance.directory).through_controller.lower()
    assert "secret" not in instance.log()


def test_a_program_that_does_not_reach_redis_is_served_and_its_reason_shown(own: Instance) -> None:
    path = redis_socket(own.directory)
    hidden = path.with_name("hidden.sock")
    path.rename(hidden)  # as for a program that does not see it; the controller is connected
    try:
        link = Dict.from_name("hidden.dict")._link()
        for _ in range(2):  # a first failure may be of the moment
            link.ways._not_before = 0.0
            all_of_it("hidden")
    finally:
        hidden.rename(path)
    seen = objects(own.directory)
    assert seen.barred == 1 and "FileNotFoundError" in seen.barred_reason
    assert not seen.through_controller
    link.ways._not_before = 0.0
    all_of_it("hidden")
    server = redis.Redis(unix_socket_path=str(path))
    clients: Any = server.client_list()
    assert any(str(one["user"]).startswith("rk:") for one in clients)
