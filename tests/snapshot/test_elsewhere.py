"""CRIU where the files of the machine are not seen: all that it reads comes along, open."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from rekindle.runtime.isolation.spawner_client import Spawner
from rekindle.snapshot import command, elsewhere, worker
from rekindle.snapshot.criu import Criu


def test_a_private_criu_keeps_its_loader_its_libraries_and_its_arguments(tmp_path: Path) -> None:
    (tmp_path / "usr" / "lib" / "criu").mkdir(parents=True)
    (tmp_path / "one").mkdir()
    argv = ("/loader", "--library-path", f"{tmp_path}/one:{tmp_path}/absent", "/criu")
    criu = Criu(argv, "4", "/criu", str(tmp_path))
    carried = command.dump_elsewhere(criu, pid=7, images_dir=tmp_path)
    paths = {f"/proc/self/fd/{number}": path for number, path in carried.paths.items()}
    loader, option, libraries, binary, what, *rest = carried.argv
    assert [paths[one] for one in (loader, libraries, binary)] == [
        "/loader",
        str(tmp_path / "one"),
        "/criu",
    ]
    assert (option, what) == ("--library-path", "dump")
    assert paths[rest[rest.index("--images-dir") + 1]] == str(tmp_path)
    assert paths[rest[rest.index("--libdir") + 1]] == str(tmp_path / "usr" / "lib" / "criu")
    assert rest[rest.index("--tree") + 1] == "7"
    assert worker.worker_elsewhere(criu).argv[-2:] == ["swrk", str(worker.CHANNEL_FD)]
    with pytest.raises(FileNotFoundError):
        carried.open()


def test_a_program_of_the_machine_runs_by_what_came_along(tmp_path: Path) -> None:
    """The machine's own CRIU is started as this program of its is."""

    async def main() -> str:
        spawner = await Spawner.start(tmp_path / "kdat")
        try:
            carried = elsewhere.carried(Criu(("/bin/echo",), "4", "/bin/echo"))
            sandbox = await spawner.spawn("guest")
            read_fd, write_fd = os.pipe()
            opened = carried.open()
            job = sandbox.run([*carried.argv, "ran"], env={}, fds={1: write_fd, **opened})
            for fd in (write_fd, *opened.values()):
                os.close(fd)
            assert (await job).status == 0
            with os.fdopen(read_fd) as pipe:
                return pipe.read()
        finally:
            await spawner.stop()

    assert asyncio.run(main()) == "ran\n"
