"""``rekindle serve FILE|-m MODULE``: an app that is loaded again whenever a file of it is saved.

This process never loads the user's code, so each version starts afresh: a child that is forked from
it loads the file and deploys (serving.py). Its files are looked at ten times a second; a package
that is told by the kernel would save nothing that can be measured.
"""

from __future__ import annotations

import os
import time

import click

from rekindle import paths
from rekindle.cli import programs, refs, shown
from rekindle.cli.exit_status import INTERRUPTED
from rekindle.cli.options import OfProgram, checked_name, environment_option, module_option
from rekindle.cli.serving import Served, Serving
from rekindle.exception import InvalidError
from rekindle.sdk import notes

_LOOK_S = 0.1

#: When a file was written and what else tells it from another; None for one that is not there.
Stamp = tuple[int, int, int] | None


@click.command(cls=OfProgram)
@environment_option
@click.argument("reference", metavar="FILE[::APP]", shell_complete=refs.complete)
@module_option
@click.option(
    *("-n", "--name"),
    callback=checked_name,
    help="Serve under this name; by default the app's own with -dev behind.",
)
@click.option("--timestamps", is_flag=True, help="Show when each line of a runner was written.")
@click.option("-q", "--quiet", is_flag=True, help="Leave out rekindle's own notes.")
def serve(reference: str, is_module: bool, name: str | None, timestamps: bool, quiet: bool) -> int:
    """Have the app of FILE deployed for as long as this command runs, as NAME-dev.

    Saving FILE, or a module of yours that it imports, makes it the next version: new calls go to
    it, what runs is ended by the old code. What cannot be loaded changes nothing, and says why.
    What the app prints is shown. Ctrl-C ends it with status 130. One command serves a name: a
    second one is refused, unless it has a --name of its own.

    \b
    rekindle serve service.py
    """
    shown.show_notes(quiet=quiet)
    serving = Serving(reference, is_module, name, timestamps)
    try:
        if programs.is_stdin(reference):
            raise InvalidError("-: what comes on standard input cannot be saved again; name a file")
        paths.working_directory()  # one that was deleted does not come back
        if not is_module:
            programs.split(reference)  # a file that is not there will not come by itself
        return _watch(serving)
    except KeyboardInterrupt:
        if notes.shown:
            notes.write_note("Stopping.")
        return INTERRUPTED
    finally:
        serving.close()


def _watch(serving: Serving) -> int:
    """Load, and again at each change; 1 when what is served has ended by itself."""
    files: set[str] = set()
    while True:
        began_ns, began = time.time_ns(), time.monotonic()
        served = serving.load()
        if served.taken and not serving.version:
            return 1  # it has said whose the name is
        _tell(serving, served, time.monotonic() - began)
        # Until it can be loaded, the files of the version that runs matter as well.
        files = set(served.files) | (files if served.error else set())
        now = stamps(files)
        changed = any(stamp is not None and stamp[0] >= began_ns for stamp in now.values())
        while not changed:
            time.sleep(_LOOK_S)
            if not serving.goes_on():
                return 1
            changed = stamps(files) != now
        _settle(files)


def _tell(serving: Serving, served: Served, took_s: float) -> None:
    if not notes.shown:
        return
    if served.error:
        kept = serving.version
        stays = f"version {kept} goes on" if kept else "nothing is served yet"
        notes.write_note(f"Not loaded; {stays}. Waiting for a change.")
    elif served.unchanged:
        notes.write_note(f"Nothing has changed: {served.name}, version {served.version}.")
    else:
        functions = ", ".join(served.functions) or "no functions"
        notes.write_note(
            f"Serving {served.name}, version {served.version}, in {took_s:.2f} s: {functions}."
        )


def _settle(files: set[str]) -> None:
    """Return when nothing is being written any more: editors save in several steps."""
    last = stamps(files)
    while True:
        time.sleep(_LOOK_S / 2)
        now = stamps(files)
        if now == last:
            return
        last = now


def stamps(files: set[str]) -> dict[str, Stamp]:
    """What these files are now. Of a directory: which Python files it has."""
    return {file: _stamp(file) for file in files}


def _stamp(file: str) -> Stamp:
    try:
        if os.path.isdir(file):
            python = frozenset(name for name in os.listdir(file) if name.endswith(".py"))
            return (0, hash(python), 0)
        found = os.stat(file)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
