"""An instance directory as the controller uses it: identity, token, and the lock on it."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from rekindle.exception import AuthError, SetupError
from rekindle.linux import files
from rekindle.paths import after_down_file, token_file

_ID = re.compile(r"in-[0-9a-f]{16}")


def claim(directory: Path) -> int:
    """Become the one controller of ``directory``; returns the lock to keep open.

    Raises SetupError when another controller serves it, or when others may look into it.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if directory.stat().st_mode & 0o077:
        raise SetupError(f"{directory} is open to others; run: chmod 700 {directory}")
    lock = os.open(directory / "controller.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not files.try_lock(lock):
        os.close(lock)
        raise SetupError(f"another controller serves {directory}; end it first")
    return lock


def instance_id(directory: Path) -> str:
    """The instance's name for itself: made once, kept over restarts.

    Raises SetupError for what is no such name: under another one, nothing would be found of what
    the instance keeps.
    """
    path = directory / "instance"
    try:
        known = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return _made(path)
    if not _ID.fullmatch(known):
        raise SetupError(
            f"{path} is damaged: it has no name of an instance (in- and 16 hex digits), under "
            f"which Redis has all that is kept here. Put it back from a backup, or name the "
            f"instance as it was (its keys in Redis end with the name: rk:protocol:in-...)"
        )
    return known


def _made(path: Path) -> str:
    made = f"in-{secrets.token_hex(8)}"
    draft = path.with_suffix(".new")
    draft.write_text(made + "\n", encoding="ascii")
    files.sync(draft)  # what is kept under the name is on disk, too
    draft.replace(path)
    files.sync(path.parent)
    return made


def was_taken_down(directory: Path) -> bool:
    """Whether the programs of the controller before this one were told that it comes no more.

    Not so where that one died, or was told to end by others: they wait for this one.
    """
    return after_down_file(directory).exists()


def note_back(directory: Path) -> None:
    """What there was to do after it was taken down is done, and durable."""
    after_down_file(directory).unlink(missing_ok=True)


def read_token(directory: Path) -> str:
    """The instance's token. Raises AuthError when there is none."""
    try:
        token = token_file(directory).read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        token = ""
    if not token:
        raise AuthError(
            f"no token in {token_file(directory)}; 'rekindle up' and 'rekindle run' make one"
        )
    return token
