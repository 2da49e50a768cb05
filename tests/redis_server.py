"""The Redis server of an instance that tests run: waited for, and made to refuse commands."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from rekindle.controller.storage.embedded_redis import redis_socket

_OPERATING = Path(__file__).parents[1] / "docs" / "operating.md"


def wait_for_redis(directory: Path, timeout_s: float) -> None:
    """Return when the server of ``directory`` answers PING.

    Raises TimeoutError, with the end of its log, when it does not within ``timeout_s`` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while reason := _ping(redis_socket(directory)):
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"Redis in {directory} did not answer within {timeout_s:g} s ({reason})"
                f"{_end_of_log(directory / 'logs' / 'redis.log')}"
            )
        # It prints nothing, and while it loads its socket is there already, or answers LOADING.
        time.sleep(0.005)


@contextmanager
def refusing(server: redis.Redis, command: str) -> Iterator[None]:
    """It runs a command for nobody."""
    server.acl_setuser("default", enabled=True, commands=[f"-{command}"])
    try:
        yield
    finally:
        server.acl_setuser("default", enabled=True, commands=[f"+{command}"])


def documented_rights() -> tuple[list[str], list[str]]:
    """The rights that rekindle's user needs, and those by which programs reach Dict and Queue in
    Redis themselves, as docs/operating.md has an operator give them."""
    text = _OPERATING.read_text(encoding="utf-8")
    (needed,) = re.findall(r"^ACL SETUSER rekindle on >PASSWORD (.+)$", text, re.MULTILINE)
    (more,) = re.findall(r"^ACL SETUSER rekindle ([+].+)$", text, re.MULTILINE)
    return needed.split(), more.split()


def user_with(server: redis.Redis, directory: Path, rights: Iterable[str]) -> str:
    """Make a user with these rights alone, and forget what others were denied; the URL for it."""
    server.execute_command("ACL", "SETUSER", "rekindle", "reset", "on", ">secret", *rights)
    server.execute_command("ACL", "LOG", "RESET")
    return f"unix://rekindle:secret@{redis_socket(directory)}"


def denied(server: redis.Redis) -> set[str]:
    """What that user was not let do."""
    entries: list[dict[str, Any]] = server.acl_log()
    return {str(one["object"]) for one in entries if one["username"] == "rekindle"}


def _end_of_log(file: Path) -> str:
    if not file.exists():
        return ""
    return "; its log ends: " + " | ".join(file.read_text(errors="replace").split("\n")[-4:])


def _ping(path: Path) -> str:
    """Empty when the server answers PONG, else why not."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            answer = client.recv(128)
    except OSError as error:
        return str(error)
    return "" if answer.startswith(b"+PONG") else answer.decode(errors="replace").strip()
