"""``rekindle down``: end what ``rekindle up`` keeps."""

from __future__ import annotations

import click


@click.command()
def down() -> None:
    """End the instance that `rekindle up` keeps; what is queued there waits for the next one."""
    from rekindle import paths
    from rekindle.sdk.local import daemon

    directory = paths.daemon_dir()
    if daemon.stop(directory):
        click.echo("The instance is down.")
    else:
        click.echo("No instance is up.")
