"""The source bundle: the program's module and the local modules that it uses, as a zip.

A runner imports them from the bundle, under the file names that they have here, so that what runs
is what the program saw when it started. What travels is what the program uses, not what lies
next to it; other files are read where they lie.
"""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from typing import NamedTuple

from rekindle import paths
from rekindle.counted import counted
from rekindle.digests import blake2b
from rekindle.exception import InvalidError, RequestSizeError
from rekindle.sdk.program import interpreter
from rekindle.sdk.program.imports import LocalModule, foreign_dirs, local_modules
from rekindle.sdk.program.main_module import Program
from rekindle.wire.bundle import MANIFEST, Sent
from rekindle.wire.usercode import came_by_signal

MAX_FILES = 2_000
MAX_BYTES = 32 * 1024 * 1024
#: A fixed date: the bundle's bytes depend on its content alone.
_DATE = (1980, 1, 1, 0, 0, 0)


class Bundle(NamedTuple):
    """A zip and the digest of what is in it; the names of its modules."""

    digest: str
    data: bytes
    modules: tuple[str, ...]


def collect(program: Program | None) -> Bundle | None:
    """The bundle of a program; None where it has no local modules.

    Raises RequestSizeError over the limits, and InvalidError for a module that cannot be read.
    """
    start = [LocalModule(program.name, program.file)] if program is not None else []
    found = local_modules(start)
    contents: dict[str, bytes] = {}
    for name, module in sorted(found.items()):
        try:
            contents[name] = module.file.read_bytes()
        except OSError as error:
            if came_by_signal(error):
                raise
            raise InvalidError(
                f"the source of module {name!r} cannot be sent to runners: {module.file}: "
                f"{error.strerror}"
            ) from error
    _check_size(contents)
    return _zip(found, contents) if found else None


def import_path(program: Program | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What runners add to ``sys.path``: before the standard library, and behind all.

    That is what this process has beyond what its interpreter brings along. Raises InvalidError in a
    working directory that was deleted.
    """
    here = paths.working_directory()
    known = {d.rstrip(os.sep) for d in foreign_dirs()}
    known |= {os.path.dirname(d) for d in known if d.endswith("rekindle")}
    known.update(interpreter.programs())
    standard = interpreter.standard_library()
    first: list[str] = []
    last: list[str] = []
    behind = False
    for entry in sys.path:
        path = os.path.normpath(os.path.join(here, entry)) if isinstance(entry, str) else ""
        if path in standard:
            behind = True
        elif path and path not in known and not _is_of_interpreter(path):
            (last if behind else first).append(path)
    if program is not None and not first and not last:
        last.append(str(program.file.parent))
    return tuple(dict.fromkeys(first)), tuple(dict.fromkeys(last))


def _is_of_interpreter(path: str) -> bool:
    """``python311.zip`` and ``lib-dynload``."""
    lib = interpreter.standard_library()[0]
    return path.startswith(lib + os.sep) or (
        path.endswith(".zip") and os.path.dirname(path) == os.path.dirname(lib)
    )


# ---- limits and the zip ------------------------------------------------------------------------


def _check_size(contents: dict[str, bytes]) -> None:
    if len(contents) <= MAX_FILES and sum(map(len, contents.values())) <= MAX_BYTES:
        return
    sizes: dict[str, tuple[int, int]] = {}
    for name, content in contents.items():
        top = name.split(".")[0]
        count, size = sizes.get(top, (0, 0))
        sizes[top] = (count + 1, size + len(content))
    largest = max(sizes, key=lambda name: (sizes[name][1], sizes[name][0]))
    count, size = sizes[largest]
    raise RequestSizeError(
        f"the local modules of this program are over the limit of {MAX_FILES} files and "
        f"{MAX_BYTES >> 20} MiB; the largest is {largest} with {counted(count, 'file')} and "
        f"{size / (1 << 20):.1f} MiB. Install it as a package, or declare the app with "
        f"include_source=False where the node has the modules"
    )


def _zip(found: dict[str, LocalModule], contents: dict[str, bytes]) -> Bundle:
    sent = {}
    for name, module in found.items():
        place = name.replace(".", "/") + ("/__init__.py" if module.is_package else ".py")
        sent[name] = Sent(str(module.file), place, module.is_package)
    files = {sent[name].place: content for name, content in contents.items()}
    files[MANIFEST] = json.dumps({n: list(s) for n, s in sorted(sent.items())}).encode()
    digest = blake2b(digest_size=16)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for place, content in sorted(files.items()):
            digest.update(f"{place}\0{len(content)}\0".encode())
            digest.update(content)
            archive.writestr(zipfile.ZipInfo(place, _DATE), content, zipfile.ZIP_DEFLATED)
    return Bundle(digest.hexdigest(), buffer.getvalue(), tuple(sorted(found)))
