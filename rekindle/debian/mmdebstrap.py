"""mmdebstrap, which makes a Debian root: the machine's, or one in a private prefix."""

from __future__ import annotations

import shutil
from pathlib import Path

from rekindle.debian import apt
from rekindle.debian.apt import Progress
from rekindle.debian.prefix import replace, unpacked

#: Whose mmdebstrap is fetched: it is a script, and makes roots of any release.
RELEASE = "trixie"
OTHERWISE = "or install mmdebstrap (apt-get install mmdebstrap)"


def find(prefix: Path, progress: Progress = lambda _step, _done, _total: None) -> str:
    """Its path; fetched, verified, into ``prefix`` where there is none. Raises SetupError."""
    found = shutil.which("mmdebstrap")
    if found:
        return found
    program = prefix / "usr" / "bin" / "mmdebstrap"
    if not program.exists():
        with unpacked(
            *(prefix, RELEASE, (), ("mmdebstrap",), progress),
            what="mmdebstrap",
            otherwise=OTHERWISE,
        ) as tree:
            replace(prefix, tree)
    return str(program)


def command(program: str, suite: str, root: Path, include: str, *more: str) -> list[str]:
    """What makes a root of a release from the machine's own mirror, its signature verified.

    Raises SetupError where this machine's apt names no mirror, or has no keys.
    """
    keys = apt.machine_keyring(OTHERWISE)
    source = f"deb [signed-by={keys}] {apt.mirror(suite, OTHERWISE)} {suite} main"
    argv = [program, "--mode=root", "--variant=apt", f"--include={include}", *more]
    argv += [f"--aptopt={line.rstrip(';')}" for line in apt.proxies(OTHERWISE)]
    return [*argv, suite, str(root), source]
