"""``rekindle up``: keep an instance up until ``rekindle down``."""

from __future__ import annotations

import click


@click.command()
@click.option(
    "--wait", "wait_s", default=60.0, show_default=True, help="Seconds that it may take to come up."
)
def up(wait_s: float) -> None:
    """Start Redis, the controller and the agent, and leave them running.

    Programs and `rekindle run` of this user find the instance by themselves.
    """
    from rekindle import paths
    from rekindle.sdk.local import daemon
    from rekindle.sdk.local import directory as instance

    directory = paths.daemon_dir()
    pid = instance.supervisor_pid(directory)
    if pid is not None:
        click.echo(f"An instance is up already: {directory} (pid {pid}).")
        return
    pid = daemon.start(directory, wait_s)
    click.echo(f"An instance is up: {directory} (pid {pid}). `rekindle down` ends it.")
