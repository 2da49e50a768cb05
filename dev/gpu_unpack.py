"""Unpack the bundle's wheels for this Python: ``gpu_unpack.py WHEELS SITE``. Needs no pip."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

wheels, site = Path(sys.argv[1]), Path(sys.argv[2])
if sys.version_info < (3, 11):  # noqa: UP036 - it runs with whatever the machine has
    sys.exit(f"rekindle needs Python 3.11 or newer, this is {sys.version.split()[0]}")
mine = f"{sys.version_info.major}.{sys.version_info.minor}"
found = sorted([*(wheels / "any").glob("*.whl"), *(wheels / mine).glob("*.whl")])
if not (wheels / mine).is_dir():
    sys.stdout.write(f"no compiled packages for Python {mine} in the bundle\n")
for wheel in found:
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            path = Path(archive.extract(entry, site))
            mode = entry.external_attr >> 16
            if mode and path.is_file():
                os.chmod(path, mode & 0o777 | 0o600)
    sys.stdout.write(f"unpacked {wheel.name}\n")
