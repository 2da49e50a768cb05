"""Images for tests: one small base that is made once and kept, and stores of a test's own on it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from rekindle import Image
from rekindle.runtime.images.builder import ensure
from rekindle.runtime.images.store import LayerStore
from rekindle.wire.images import names

#: Beside what is set up for the tests: making a base loads 70 packages.
KEPT = Path(__file__).resolve().parent.parent / ".venv" / "share" / "rekindle" / "images"

needs_root = pytest.mark.needs_root("builds images")
needs_debian = pytest.mark.skipif(
    not (shutil.which("mmdebstrap") or shutil.which("apt-get")),
    reason="neither mmdebstrap nor apt-get is here to make a Debian root with",
)
not_within = pytest.mark.skipif(
    "REKINDLE_DEBIAN_ROOT" in os.environ, reason="this is a Debian root that was made already"
)
#: For modules whose tests build.
BUILDS = [needs_root, needs_debian, not_within, pytest.mark.timeout(900)]


def base() -> Image:
    """A Debian with a Python that the tests do not run on (where that is 3.11)."""
    return Image.debian_slim("3.13")


def kept(image: Image) -> Path:
    """The layer of a base, which is made the first time and kept."""
    ensure(image.spec(), store=LayerStore(KEPT))
    (name,) = names(image.spec().steps)
    return KEPT / "layers" / name


def link(place: Path, image: Image) -> None:
    """Put a base that is kept into a store, as a link, unless it is there."""
    layer = kept(image)
    with suppress(FileExistsError):
        (place / "layers" / layer.name).symlink_to(layer)


def store_with_base(place: Path) -> LayerStore:
    """A store of its own that has the base already."""
    (place / "layers").mkdir(parents=True)
    link(place, base())
    tools = KEPT / "tools"
    tools.mkdir(exist_ok=True)
    (place / "tools").symlink_to(tools)
    return LayerStore(place)


def own_base(place: Path) -> LayerStore:
    """The same with the base as a layer of its own: what is noted of it stays in this store."""
    source = kept(base())
    (place / "layers").mkdir(parents=True)
    target = place / "layers" / source.name
    # As hard links where that can be; nothing writes to the files of a layer.
    if subprocess.run(
        ["cp", "-al", source, target], check=False, stderr=subprocess.DEVNULL
    ).returncode:
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["cp", "-a", source, target], check=True)
    (target / "stored.json").unlink(missing_ok=True)
    return LayerStore(place)


def wheel(folder: Path, name: str, version: str, *, program: str = "") -> Path:
    """A package of one module that knows its version; with a shell script of its name, too."""
    info, script = f"{name}-{version}.dist-info", f"{name}-{version}.data/scripts/{name}"
    record = [f"{name}.py", f"{info}/METADATA", f"{info}/WHEEL", f"{info}/RECORD"]
    record += [script] if program else []
    files = {
        **({script: f"#!/bin/sh\n{program}\n"} if program else {}),
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "".join(f"{one},,\n" for one in record),
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path, text in files.items():
            of = zipfile.ZipInfo(path)
            of.external_attr = (0o100755 if path == script else 0o100644) << 16
            archive.writestr(of, text)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}-{version}-py3-none-any.whl"
    file.write_bytes(data.getvalue())
    return file
