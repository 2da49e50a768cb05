"""``rekindle backup``: a copy of what an instance keeps."""

from __future__ import annotations

from pathlib import Path

import click

from rekindle import paths
from rekindle.cli.counted import counted
from rekindle.cli.tables import size
from rekindle.controller.storage import backup as copies
from rekindle.exception import SetupError
from rekindle.sdk.local import choosing


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def backup(folder: Path) -> None:
    """Copy queue, results, deployments, schedules, secrets, Dicts, Queues and logs of an instance.

    FOLDER is made. As `daemon` of a $REKINDLE_HOME it is that instance, for `rekindle up`. It works
    while the instance is up, too. Volumes and secrets.key lie in $REKINDLE_HOME beside it, and are
    not copied.

    \b
    rekindle backup /backups/2026-01-31
    """
    directory = choosing.named() or paths.daemon_dir()
    try:
        copied = copies.copy(directory, folder.absolute())
    except OSError as error:
        raise SetupError(f"{directory} cannot be copied to {folder}: {error}") from error
    blobs = counted(copied.blobs, "blob")
    click.echo(f"{folder} has what {directory} keeps: {size(copied.bytes)}, {blobs}.")
    if copied.missing:
        click.echo(f"Without the blobs at {copied.missing} (REKINDLE_BLOB_URL).", err=True)
