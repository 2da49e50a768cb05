"""``rekindle up`` and ``rekindle down``: keep an instance up, and end it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from rekindle import paths
from rekindle.controller.settings import parse_address
from rekindle.controller.storage import elsewhere
from rekindle.exception import InvalidError, SetupError
from rekindle.sdk.local import choosing, daemon, leftover_snapshots, unused_settings
from rekindle.sdk.local import directory as instance
from rekindle.shown_url import without_password
from rekindle.wire import blobs


@click.command()
@click.option(
    "--wait", "wait_s", default=60.0, show_default=True, help="Seconds that it may take to come up."
)
@click.option(
    "--metrics",
    "address",
    metavar="HOST:PORT",
    help="Serve Prometheus metrics there (GET /metrics); REKINDLE_METRICS does the same.",
)
@click.option(
    "--foreground",
    is_flag=True,
    help="Stay, and log to standard error: for systemd and containers. SIGTERM ends it.",
)
def up(wait_s: float, address: str | None, foreground: bool) -> None:
    """Start Redis, the controller and the agent, and leave them running.

    Programs and `rekindle run` of this user find the instance by themselves.

    \b
    rekindle up
    rekindle up --metrics 127.0.0.1:9464
    """
    named_by = "--metrics " if address else "REKINDLE_METRICS="
    address = address or os.environ.get("REKINDLE_METRICS", "").strip()
    directory = paths.daemon_dir()
    pid = instance.supervisor_pid(directory)
    if pid is not None and foreground:
        raise SetupError(f"an instance is up already: {directory} (pid {pid}); `rekindle down`")
    if pid is not None:
        click.echo(f"An instance is up already: {directory} (pid {pid}).")
        if address:
            click.echo("What it serves is not changed: `rekindle down`, then `rekindle up` again.")
        if note := unused_settings.note(directory):
            click.echo(note)
        return
    if address:
        host, port = checked_address(address, named_by)
        os.environ["REKINDLE_METRICS"] = address
    check_settings_of_programs()
    check_store(paths.shared_store_url())
    daemon.check(directory)
    for note in _left_elsewhere(directory):
        click.echo(note, err=True)
    if foreground:
        _become_supervisor(directory)
    pid = daemon.start(directory, wait_s)
    click.echo(f"An instance is up: {directory} (pid {pid}). `rekindle down` ends it.")
    if os.environ.get("REKINDLE_REDIS_URL") and (note := _what_may_be_lost(directory)):
        click.echo(note, err=True)
    named = os.environ.get(choosing.VARIABLE)
    if named and Path(named).absolute() != directory:
        click.echo(
            f"Programs do not find it while {choosing.VARIABLE}={named} names another: unset that.",
            err=True,
        )
    if address:
        click.echo(f"Metrics: http://{f'[{host}]' if ':' in host else host}:{port}/metrics")


@click.command()
def down() -> None:
    """End the instance that `rekindle up` keeps, and those that stayed after `rekindle run`.

    What is queued of deployed apps and detached runs in the one of `rekindle up` waits for the next
    one; what other programs run, and what the other instances had, goes. Where $REKINDLE_DIR names
    an instance, that one alone ends.
    """
    if (named := choosing.named()) is not None:
        ended = daemon.stop(named)
    else:
        ended = daemon.stop_all()
        leftover_snapshots.remove()
    click.echo("The instance is down." if ended else "No instance is up.")


def _left_elsewhere(directory: Path) -> Iterator[str]:
    """What to tell who starts an instance that was started last with another place for what it
    keeps: one that was restored from a backup, say."""
    with paths.at_home():
        was = elsewhere.read(directory)
    redis, stored = os.environ.get("REKINDLE_REDIS_URL", ""), blobs.named_url().rstrip("/")
    for before, now, what, variable in (
        (was.redis, redis, "queue and state", "REKINDLE_REDIS_URL"),
        (was.blobs.rpartition("/")[0], stored, "blobs", "REKINDLE_BLOB_URL"),
    ):
        if before and before != without_password(now):
            is_now = f"is {without_password(now)}" if now else "is not set"
            yield (
                f"Its {what} were at {before} so far, and what is there is not found: {variable} "
                f"{is_now}."
            )


def _what_may_be_lost(directory: Path) -> str:
    """What a Redis of the user's does not keep, as it is set; empty where nothing is known of."""
    from rekindle.cli import operator
    from rekindle.sdk.connection.client import Client

    client = Client(directory)
    operator.ask(client.hello(operator.PATIENCE_S))
    return operator.report(client, pools=False).redis.may_lose


def _become_supervisor(directory: Path) -> None:
    """The supervisor takes this process's place."""
    instance.prepare(directory)
    os.environ["REKINDLE_HOME"] = str(paths.home())
    argv = [sys.executable, "-P", "-m", "rekindle.sdk.local.supervisor", "--dir", str(directory)]
    sys.stdout.flush()
    os.execv(sys.executable, argv)


def check_settings_of_programs() -> None:
    """See that programs can use what is set here for them; an instance checks its own.

    Raises InvalidError.
    """
    from rekindle.sdk.connection.patience import connect_timeout_s
    from rekindle.sdk.environments import environment_of
    from rekindle.sdk.images.chain import forces_all
    from rekindle.sdk.local.lingering import linger_s
    from rekindle.wire import switches

    linger_s()
    connect_timeout_s()
    environment_of(None)
    forces_all()
    switches.is_on(switches.TRACEBACK, unset=False)


def check_store(url: str) -> None:
    """See that the store that nodes share can be used, before anything is started. One that does
    not answer may do so later.

    Raises InvalidError or SetupError.
    """
    if not url:
        return
    from rekindle.blobs import reach
    from rekindle.blobs.store import open_store
    from rekindle.exception import BlobStoreError

    store = open_store(url)
    is_new = reach.check_folder(store)
    try:
        reach.answer(store)
    except BlobStoreError as error:
        click.echo(f"Nothing is shared with other nodes for now: {error}", err=True)
        return
    try:
        reach.keep(store)
    except BlobStoreError as error:  # there is no such bucket, or it may only be read
        click.echo(f"Nothing of this node is shared for now: {error}", err=True)
        return
    if is_new:
        click.echo(f"The store {store.url} is new: nothing is in it yet.", err=True)


def checked_address(address: str, named_by: str) -> tuple[str, int]:
    """Host and port, where metrics can be served there: seen before anything is started.

    ``named_by``: what comes before it in errors. Raises InvalidError or SetupError.
    """
    host, port = parse_address(address, named_by)
    if not port:
        raise InvalidError(f"{named_by}{address!r} is any port: name the one to ask for metrics")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, where in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(where)
    except (OSError, UnicodeError) as error:  # of a host that can be the name of none
        reason = getattr(error, "strerror", None) or error
        raise SetupError(
            f"metrics cannot be served on {address}: {reason}; "
            f"choose another HOST:PORT, or end what listens there"
        ) from error
    return host, port
