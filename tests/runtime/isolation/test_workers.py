"""Workers that see directories at other places."""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from rekindle.exception import StartError
from rekindle.runtime.isolation import spawner
from rekindle.runtime.isolation.sandbox import JobExit
from rekindle.runtime.isolation.spawner_client import Spawner
from rekindle.runtime.isolation.workers import PendingInit
from tests.blobs.machine import needs_fuse
from tests.hung import hung
from tests.runtime.isolation.spawning import CHANNEL_FD, with_spawner, worker_in

#: Answers with what a directory has.
_LISTS = f"""
import os, socket
channel = socket.socket(fileno={CHANNEL_FD})
channel.send(str(os.listdir(channel.recv(4096).decode())).encode())
"""


#: Says what Ctrl-C does to it.
_INTERRUPTED = f"""
import signal, socket
channel = socket.socket(fileno={CHANNEL_FD})
channel.recv(1)
channel.send(signal.getsignal(signal.SIGINT).__name__.encode())
"""


def _bind(source: Path, target: Path) -> Mapping[str, object]:
    return {"root": str(source), "below": "", "target": str(target), "read_only": True}


def test_a_worker_and_what_it_leaves_see_a_directory_at_another_place(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "file").touch()

    async def scenario(spawner: Spawner) -> None:
        next_pids = Path(f"/proc/{spawner.pid}/ns/pid_for_children")
        before = os.readlink(next_pids)
        run_dir = spawner.feature_cache_dir
        sandbox = await worker_in(spawner, _LISTS, {}, run_dir, [_bind(source, target)])
        assert sandbox.worker is not None
        assert os.listdir(f"/proc/{sandbox.pid}/root{target}") == ["file"]
        assert await sandbox.worker.send(str(target).encode()) == b"['file']"
        assert await sandbox.gone == 0
        assert list(target.iterdir()) == []
        assert os.readlink(next_pids) == before
        other = await worker_in(spawner, _LISTS)
        assert other.worker is not None
        assert await other.worker.send(str(target).encode()) == b"[]"

    with_spawner(tmp_path, scenario)


def test_a_worker_whose_directory_is_not_there_is_not_made_and_it_is_said(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        with pytest.raises(StartError, match=r"No such file or directory: '.*gone'"):
            await worker_in(spawner, _LISTS, binds=[_bind(tmp_path / "gone", tmp_path / "target")])
        failing = await worker_in(spawner, "raise SystemExit(3)")
        assert failing.worker is not None
        failing.hear()
        assert await failing.worker.ended == JobExit(3)

    with_spawner(tmp_path, scenario)


def test_ctrl_c_does_the_usual_to_a_worker(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        for binds in ([], [_bind(tmp_path, tmp_path / "target")]):
            sandbox = await worker_in(spawner, _INTERRUPTED, binds=binds)
            assert sandbox.worker is not None
            assert await sandbox.worker.send(b".") == b"default_int_handler"

    with_spawner(tmp_path, scenario)


def test_that_one_has_become_an_init_is_told_before_that_it_has_ended() -> None:
    """Both were in the time between two looks."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    said, saying = os.pipe()
    with ours, theirs:
        theirs.setblocking(False)
        making = spawner.Making(ours, select.poll())
        ended = subprocess.Popen(["/bin/true"], pass_fds=[saying])
        os.close(saying)
        making.add(7, PendingInit(ended.pid, said))
        ended.wait()
        assert making.was_init(ended.pid)
        told, fds, _flags, _address = socket.recv_fds(theirs, 4096, 1)
        assert json.loads(told) == {"event": "spawned", "id": 7, "pid": ended.pid}
        for fd in fds:
            os.close(fd)


@needs_fuse
@pytest.mark.needs_root("mounts in this namespace")
def test_a_directory_that_does_not_answer_keeps_no_other_from_its_start(tmp_path: Path) -> None:
    with hung(tmp_path / "server") as give_up:

        async def scenario(spawner: Spawner) -> None:
            where = _bind(tmp_path / "server" / "volume", tmp_path / "target")
            hanging = asyncio.create_task(worker_in(spawner, _LISTS, binds=[where]))
            await asyncio.sleep(0)  # its request is the first
            (tmp_path / "empty").mkdir()
            for binds in ([], [_bind(tmp_path / "empty", tmp_path / "other")]):
                sandbox = await worker_in(spawner, _LISTS, binds=binds)
                assert sandbox.worker is not None
                assert await sandbox.worker.send(str(tmp_path / "empty").encode()) == b"[]"
                assert await sandbox.gone == 0
            assert not hanging.done()
            give_up()
            with pytest.raises(StartError, match="not connected"):
                await hanging

        with_spawner(tmp_path, scenario)
