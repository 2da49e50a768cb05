"""``python -m rekindle.controller --dir D [--redis-url URL] [--listen HOST:PORT] [--own-agent]``.

Prints one line, ``ready``, when it serves; logs to standard error; ends on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from rekindle import filesystems, paths
from rekindle.controller.instance import claim, instance_id, read_token
from rekindle.controller.objects import vault
from rekindle.controller.server import ControllerServer, RedisAwayError
from rekindle.controller.settings import Settings
from rekindle.controller.storage import elsewhere
from rekindle.controller.storage.aof_sync import AofSync
from rekindle.controller.storage.embedded_redis import redis_url
from rekindle.controller.storage.redis_link import NotPermittedError
from rekindle.controller.storage.tables import DamagedTableError
from rekindle.controller.wiring import Config
from rekindle.exception import Error, InvalidError, SetupError, VersionError
from rekindle.linux import limits, memory
from rekindle.linux.processes import die_with_parent
from rekindle.paths import controller_socket
from rekindle.shown_url import without_password
from rekindle.wire import blobs, logs, switches
from rekindle.wire.ready import INVALID, is_away, refuse

log = logging.getLogger("rekindle.controller")


def main(argv: list[str] | None = None) -> int:
    """Serve until ordered to end. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rekindle.controller")
    parser.add_argument("--dir", required=True, type=Path, help="instance directory")
    parser.add_argument("--redis-url", default="", help="default: the instance's own Redis")
    parser.add_argument("--listen", default=None, help="also serve on this host:port")
    parser.add_argument(
        "--own-agent", action="store_true", help="an agent is kept up in the directory, too"
    )
    args = parser.parse_args(argv)
    die_with_parent()
    memory.use_one_heap()
    logs.configure("controller")
    try:
        limits.raise_open_files()  # each program and each request has a connection here
    except OSError as error:
        log.warning("no more descriptors to be had", extra=logs.kv(reason=error))
    try:
        return asyncio.run(_serve(args.dir.absolute(), args.redis_url, args.listen, args.own_agent))
    except InvalidError as error:
        log.error("cannot serve", extra=logs.kv(reason=error))
        return refuse(f"{INVALID}{error}")
    except (VersionError, DamagedTableError, NotPermittedError) as error:
        log.error("cannot serve", extra=logs.kv(reason=error))
        return refuse(str(error))
    except RedisAwayError as error:
        log.error("cannot serve", extra=logs.kv(reason=error))
        return is_away(str(error))
    except Error as error:
        log.error("cannot serve", extra=logs.kv(error=type(error).__name__, reason=error))
        return 1


async def _serve(directory: Path, url: str, listen: str | None, own_agent: bool) -> int:
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    lock = claim(directory)
    own = redis_url(directory)
    url = url or os.environ.get("REKINDLE_REDIS_URL", "") or own
    config = Config(
        directory=directory,
        instance_id=instance_id(directory),
        token=read_token(directory),
        redis_url=url,
        settings=Settings.from_environ(),
        metrics_listen=os.environ.get("REKINDLE_METRICS", "").strip(),
        embedded=url == own,
        blob_url=_blob_url(directory, instance_id(directory)),
        blob_threshold_bytes=blobs.threshold_bytes(),
        secrets_key_file=vault.default_key_file(),
        own_agent=own_agent,
        direct_objects=switches.is_on("REKINDLE_DIRECT_OBJECTS", unset=True),
    )
    _note_elsewhere(config)
    server = ControllerServer(config)
    sync: AofSync | None = None
    if url == own:

        def write_anew() -> None:
            loop.call_soon_threadsafe(server.write_file_anew)

        sync = AofSync(directory / "redis", write_anew)
        server.relies_on(sync.unsafe)
        sync.start()
    try:
        start = asyncio.ensure_future(server.start(controller_socket(directory), listen))
        end = asyncio.ensure_future(ending.wait())
        await asyncio.wait((start, end), return_when=asyncio.FIRST_COMPLETED)
        if start.done():
            start.result()
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            gone = asyncio.ensure_future(server.until_emptied())
            await asyncio.wait((end, gone), return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                gone.result()
            gone.cancel()
        else:
            start.cancel()
    finally:
        await server.stop()
        if sync is not None:
            sync.stop()
        os.close(lock)
    return 0


def _note_elsewhere(config: Config) -> None:
    """For who copies the directory."""
    places = elsewhere.Elsewhere(
        redis="" if config.embedded else without_password(config.redis_url),
        blobs=without_password(config.blob_url) if blobs.named_url() else "",
    )
    elsewhere.note(config.directory, places)


def _blob_url(directory: Path, instance: str) -> str:
    """Where large payloads go. Raises InvalidError where they cannot; asks no server."""
    url, what = blobs.store_url(directory, instance), "REKINDLE_BLOB_URL:"
    named = blobs.named_url() or url
    filesystems.check_shared(named, what)
    folder = filesystems.folder_at(named, what)
    if folder is not None:
        paths.refuse_in_file(folder, f"{what} ")
        return url
    try:
        filesystems.check_installed(named, what)
    except SetupError as error:  # what an operator asked for, and this node cannot do
        raise InvalidError(str(error)) from error
    return url


if __name__ == "__main__":
    sys.exit(main())
