"""A private prefix that packages are unpacked into: whole, or as it was before."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rekindle.debian.apt import TOOLS, Apt, Progress, machine_keyring, mirror, run
from rekindle.exception import SetupError
from rekindle.linux import files
from rekindle.linux.whole_directory import sync

#: Packages in a closure that running a program does not need: maintainer scripts' tools.
_NOT_TO_RUN = frozenset({"debconf", "dpkg", "tar"})


@contextlib.contextmanager
def unpacked(
    prefix: Path,
    release: str,
    wanted: tuple[str, ...],
    alone: tuple[str, ...],
    progress: Progress,
    *,
    what: str,
    otherwise: str,
    keyring: Path | None = None,
) -> Iterator[Path]:
    """A directory next to ``prefix`` with packages of a release unpacked; ``replace`` moves it.

    ``wanted`` come with all that they need, ``alone`` without. ``what`` is being set up; and
    ``otherwise`` can be done instead. Raises SetupError, naming the step that failed.
    """
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise SetupError(f"{' and '.join(missing)} not found: use a Debian machine, {otherwise}")
    with contextlib.ExitStack() as cleanup:
        try:
            prefix.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(prefix.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            cleanup.callback(os.close, lock)
            files.lock(lock)  # after another set-up that may be at work
            # Not beside the prefix: apt downloads as a user of its own, who may not get there.
            of_prefix = hashlib.sha256(os.fsencode(prefix.absolute())).hexdigest()[:12]
            scratches = f"rekindle-apt-{of_prefix}-"
            for leftover in (  # of one that was killed
                *prefix.parent.glob(f".{prefix.name}-*"),
                *Path(tempfile.gettempdir()).glob(f"{scratches}*"),
            ):
                shutil.rmtree(leftover, ignore_errors=True)
            tree = Path(tempfile.mkdtemp(prefix=f".{prefix.name}-", dir=prefix.parent))
            cleanup.callback(shutil.rmtree, tree, ignore_errors=True)
            tree.chmod(0o755)
            with tempfile.TemporaryDirectory(prefix=scratches) as scratch:
                keys = keyring or machine_keyring(otherwise)
                apt = Apt(Path(scratch), keys, release, otherwise)
                progress("reading the package index", 0, 0)
                apt.update(mirror(release, otherwise))
                closure = apt.closure(wanted) if wanted else []
                packages = [one for one in closure if one.name not in _NOT_TO_RUN]
                names = [*(package.name for package in packages), *alone]
                debs = apt.download(names, packages, progress)
                for count, deb in enumerate(debs):
                    progress("unpacking", count, len(debs))
                    argv = ["dpkg-deb", "--extract", str(deb), str(tree)]
                    run(argv, f"unpacking {deb.name}", otherwise)
                progress("unpacking", len(debs), len(debs))
            yield tree
        except OSError as error:
            raise SetupError(f"cannot set up {what} in {prefix}: {error}") from error


def command(prefix: Path, program: Path) -> list[str]:
    """What runs a program of a prefix with the libraries that were unpacked beside it."""
    usr = prefix / "usr"
    loaders, libraries = (
        [str(one) for base in (prefix, usr) for one in sorted(base.glob(pattern))]
        for pattern in ("lib*/ld-linux*.so.*", "lib/*-linux-gnu*")
    )
    loaders += [str(one) for one in sorted(usr.glob("lib/*/ld-linux*.so.*"))]
    if not loaders:
        return [str(program)]
    return [loaders[0], "--library-path", ":".join(libraries), str(program)]


def replace(prefix: Path, tree: Path) -> None:
    """Put ``tree`` in the place of ``prefix``; what is running there keeps its open files.

    It is on the disk by then: it is taken for whole from now on.
    """
    sync(tree)
    old = prefix.with_name(f".{prefix.name}-old-{os.getpid()}")
    had_one = prefix.exists()
    if had_one:
        os.rename(prefix, old)
    try:
        os.rename(tree, prefix)
    except OSError:
        if had_one:
            os.rename(old, prefix)
        raise
    shutil.rmtree(old, ignore_errors=True)
