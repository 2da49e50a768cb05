"""``rekindle backup``: a copy of what an instance keeps."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import click

from rekindle import paths
from rekindle.cli.tables import size
from rekindle.controller.storage import backup as copies
from rekindle.counted import counted
from rekindle.exception import SetupError
from rekindle.sdk import notes
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
        copied = copies.copy(directory, folder.absolute(), notes.write_note)
    except OSError as error:
        raise SetupError(
            f"{directory} cannot be copied to {folder}: {_why(error, directory, folder.absolute())}"
        ) from error
    blobs = counted(copied.blobs, "blob")
    click.echo(f"{folder} has what {directory} keeps: {size(copied.bytes)}, {blobs}.")
    if copied.missing:
        click.echo(f"Without the blobs at {copied.missing} (REKINDLE_BLOB_URL).", err=True)


def _why(error: OSError, directory: Path, folder: Path) -> str:
    """What went wrong, and what to do."""
    why = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk there is full ({why}): free space, or name a folder on another disk"
    if error.errno == errno.ENAMETOOLONG:
        return f"{why}: name another folder"
    if error.errno == errno.EROFS:
        return f"nothing can be written there ({why}): name a folder elsewhere"
    if error.errno in (errno.EACCES, errno.EPERM) and error.filename is not None:
        place = Path(os.fsdecode(error.filename))
        user = f"this user (uid {os.geteuid()})"
        if place.is_relative_to(directory):
            return f"{user} may not read {place} ({why}): make the backup as the user whose it is"
        if place.is_relative_to(folder.parent) or place in folder.parents:
            return f"{user} may not write to {folder.parent} ({why}): name another folder"
    return str(error)
