"""Which distributions an interpreter has installed, as one digest each.

Reads the metadata directories on ``sys.path`` (``*.dist-info``, ``*.egg-info``) without importing
anything: a RECORD holds a hash of each installed file, so its own digest stands for all of them.
Takes a few milliseconds; digests are kept for as long as RECORD's size and times stay.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import xxhash

from rekindle.exception import SnapshotError
from rekindle.linux import programs

log = logging.getLogger(__name__)

#: Name (normalised) to "version digest".
Packages = dict[str, str]

_RECORDS = ("RECORD", "PKG-INFO", "METADATA")


def installed(interpreter: str = "") -> Packages:
    """Distributions that ``interpreter`` ("" is this one) would import from.

    Raises SnapshotError when another interpreter is not there, or cannot be asked for its path.
    """
    packages: Packages = {}
    for directory in dict.fromkeys(import_path(interpreter)):
        for name, value in _in_directory(directory).items():
            packages.setdefault(name, value)  # the first on the path is the one imported
    return dict(sorted(packages.items()))


def import_path(interpreter: str = "") -> list[str]:
    """``sys.path`` of an interpreter without what the current directory or a script adds."""
    # Not by realpath: two virtual environments can share one base interpreter.
    if not interpreter or os.path.abspath(interpreter) == os.path.abspath(sys.executable):
        return [entry for entry in sys.path if os.path.isabs(entry)]
    try:
        info = os.stat(interpreter)
    except OSError as error:
        raise SnapshotError(f"the function's Python, {interpreter}: {error.strerror}") from error
    return list(_ask_path(interpreter, info.st_mtime_ns, info.st_size))


@functools.lru_cache(maxsize=32)
def _ask_path(interpreter: str, _mtime_ns: int, _size: int) -> tuple[str, ...]:
    command = [interpreter, "-P", "-c", "import sys; print('\\n'.join(sys.path))"]
    try:
        done = programs.run(command, 30, cwd=Path("/"))
        done.check_returncode()
    except (OSError, subprocess.SubprocessError) as error:
        raise SnapshotError(f"cannot ask {interpreter} for its import path: {error}") from error
    return tuple(line for line in done.stdout.splitlines() if os.path.isabs(line))


def _in_directory(directory: str) -> Packages:
    found: Packages = {}
    try:
        with os.scandir(directory) as entries:
            metadata = [e for e in entries if e.name.endswith((".dist-info", ".egg-info"))]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return found  # much of sys.path: zip files, directories that are not there
    for entry in sorted(metadata, key=lambda e: e.name):
        name, version = split_metadata_name(entry.name)
        found.setdefault(name, f"{version} {_record_digest(entry.path)}".strip())
    return found


def split_metadata_name(directory_name: str) -> tuple[str, str]:
    """("ruamel-yaml", "0.18") of "ruamel.yaml-0.18.dist-info"; version "" where none is named."""
    stem = directory_name.rsplit(".", 1)[0]
    name, _, version = stem.partition("-")
    version = re.sub(r"-(py|nspkg)[\d.]*$", "", version)
    return re.sub(r"[-_.]+", "-", name).lower(), version


def _record_digest(path: str) -> str:
    for candidate in (*(os.path.join(path, record) for record in _RECORDS), path):
        try:
            info = os.stat(candidate)
            if os.path.isfile(candidate):
                return _file_digest(candidate, info.st_mtime_ns, info.st_size, info.st_ino)
        except OSError as error:
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                log.warning("package metadata unreadable: %s", error)
    return ""


@functools.lru_cache(maxsize=8192)
def _file_digest(path: str, _mtime_ns: int, _size: int, _inode: int) -> str:
    return xxhash.xxh3_64_hexdigest(Path(path).read_bytes())
