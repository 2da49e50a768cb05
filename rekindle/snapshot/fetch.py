"""Fetch CRIU and pycriu as Debian packages into a private prefix, without root.

Asks the machine's own apt for what CRIU needs in a release that has CRIU 4. The packages are
unpacked, not installed: the machine stays as it is.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from rekindle.debian.apt import Progress
from rekindle.debian.prefix import replace, unpacked
from rekindle.exception import CriuNotFoundError, SetupError
from rekindle.snapshot import criu, pycriu
from rekindle.snapshot.criu import Criu

#: The Debian release that carries CRIU 4 (and whose signing key Debian 12 knows already).
RELEASE = "trixie"

_OTHERWISE = "or install CRIU 4.0 or newer by other means and set REKINDLE_CRIU to it"


def fetch(
    prefix: Path,
    progress: Progress = lambda _step, _done, _total: None,
    *,
    keyring: Path | None = None,
) -> Criu:
    """Make ``prefix`` hold a CRIU that works here, and pycriu. Replaces what was there, whole.

    Without the privileges to run it, the kernel is not asked whether it suits.
    Raises SetupError, naming the step that failed: no apt, no mirror, a signature that does not
    verify, no space, a CRIU that this kernel does not suit. ``prefix`` is then as it was.
    """
    with _unpacked(prefix, ("criu",), keyring, progress) as tree:
        # CRIU insists on its plugin directory where one is named; ours has none to load.
        (tree / "usr" / "lib" / "criu").mkdir(parents=True, exist_ok=True)
        progress("checking CRIU", 0, 0)
        try:
            criu.at(tree) if criu.may_be_asked() else criu.unchecked(tree)
        except CriuNotFoundError as error:
            raise SetupError(
                f"the CRIU of Debian {RELEASE} does not work on this machine: {error}; see "
                f"`rekindle doctor`, {_OTHERWISE}"
            ) from error
        replace(prefix, tree)
    criu.forget()
    return criu.at(prefix) if criu.may_be_asked() else criu.unchecked(prefix)


def fetch_pycriu(
    prefix: Path,
    progress: Progress = lambda _step, _done, _total: None,
) -> None:
    """Make ``prefix`` hold pycriu alone, for a machine that has a CRIU of its own.

    Raises SetupError as ``fetch`` does.
    """
    with _unpacked(prefix, (), None, progress) as tree:
        replace(prefix, tree)


def _unpacked(
    prefix: Path, wanted: tuple[str, ...], keyring: Path | None, progress: Progress
) -> AbstractContextManager[Path]:
    """A directory next to ``prefix`` with the packages unpacked; removed unless it was moved."""
    return unpacked(
        *(prefix, RELEASE, wanted, (pycriu.PACKAGE,), progress),
        what="CRIU",
        otherwise=_OTHERWISE,
        keyring=keyring,
    )
