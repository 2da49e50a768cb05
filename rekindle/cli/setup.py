"""``rekindle setup``: fetch what rekindle needs and the machine lacks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from rekindle.blobs import erofs
from rekindle.blobs import tools as lazy_tools
from rekindle.blobs.lazy import libfuse
from rekindle.cli.commands import CommandGroup
from rekindle.cli.tables import Literal
from rekindle.debian.apt import Progress
from rekindle.exception import CriuNotFoundError, SetupError
from rekindle.snapshot import criu, fetch, pycriu
from rekindle.snapshot.criu import Criu


@click.group(cls=CommandGroup)
def setup() -> None:
    """Fetch what rekindle needs and this machine lacks."""


@setup.command("criu")
@click.option(
    "--prefix",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to unpack it; next to the interpreter where it is not given.",
)
@click.option("--force", is_flag=True, help="Fetch again, whatever is there.")
def setup_criu(prefix: Path | None, force: bool) -> None:
    """Find a CRIU that works (4.0 or newer), or fetch one and pycriu into a private prefix.

    Needs no root. Signatures are verified; the mirror is the one of the machine's own apt.
    """
    target = (prefix or criu.default_prefix()).absolute()
    found = None if force else _usable(prefix)
    if found is not None and not pycriu.present(target) and found.prefix != str(target):
        with _progress() as progress:
            fetch.fetch_pycriu(target, progress)
    elif found is None or not pycriu.present(target):
        with _progress() as progress:
            found = fetch.fetch(target, progress)
    click.echo(f"CRIU {found.version}: {found.binary}")
    if not criu.may_be_asked():
        click.echo("note: this user may not run it yet; `rekindle doctor` says what to do")
    if prefix is not None and target != criu.default_prefix():
        click.echo(f"note: to use it, set REKINDLE_CRIU={target}")


@setup.command("lazy")
@click.option("--force", is_flag=True, help="Fetch again, whatever is there.")
def setup_lazy(force: bool) -> None:
    """Fetch what lazy files need and this machine lacks: libfuse3 and mkfs.erofs.

    Into private prefixes next to the interpreter; needs no root. Signatures are verified; the
    mirror is the one of the machine's own apt.
    """
    prefix = libfuse.default_prefix()
    library = None if force else libfuse.library()
    if library is None:
        with _progress("setting up libfuse3") as progress:
            library = str(lazy_tools.fetch_libfuse(prefix, progress))
    click.echo(f"libfuse3: {library}")
    try:
        if force:
            raise SetupError("--force")
        command = erofs.find()
    except SetupError:
        with _progress("setting up mkfs.erofs") as progress:
            command = lazy_tools.fetch_erofs(erofs.default_prefix(), progress)
    click.echo(f"mkfs.erofs: {command[-1]}")
    try:
        libfuse.find()
    except SetupError as error:
        click.echo(f"note: {error}")


@setup.command("images")
@click.option("--force", is_flag=True, help="Fetch again, whatever is there.")
def setup_images(force: bool) -> None:
    """Fetch what images are built with: mmdebstrap, uv, skopeo and umoci, into a private prefix.

    Signatures of Debian packages are verified; the mirror is the one of the machine's own apt.
    What is on PATH already is used, and not fetched.
    """
    from rekindle import paths
    from rekindle.runtime.images import tools

    store = paths.images_dir()
    if force:
        tools.forget(store)
    if not all(tools.has(store, name) for name in tools.OCI):
        with _progress("setting up skopeo and umoci") as progress:
            tools.fetch_oci(store, progress)
    found = {"mmdebstrap": tools.find_mmdebstrap(store, click.echo)}
    found["uv"] = str(tools.find_uv(store, click.echo))
    found |= {name: tools.find_oci(store, name)[-1] for name in tools.OCI}
    for name, path in found.items():
        click.echo(f"{name}: {path}")


def _usable(prefix: Path | None) -> Criu | None:
    """What is there already; None where something has to be fetched."""
    if prefix is None and os.environ.get(criu.VARIABLE):
        return criu.find()  # fetching another would not help: this one is asked for by name
    try:
        if not criu.may_be_asked():
            return criu.unchecked(prefix or criu.default_prefix())
        return criu.find() if prefix is None else criu.at(prefix)
    except CriuNotFoundError:
        return None


@contextmanager
def _progress(doing: str = "setting up CRIU") -> Iterator[Progress]:
    """A progress bar on a terminal, one line for each step elsewhere."""
    console = Literal(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
    )
    with ProgressBar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(doing, total=None)
        last = ""

        def show(step: str, done: int, total: int) -> None:
            nonlocal last
            if step != last and not console.is_terminal:
                console.print(f"{step} ...")
            last = step
            size = f" ({total / 1e6:.0f} MB)" if total > 1e6 else ""
            bar.update(task, description=step + size, completed=done, total=total or None)

        yield show
