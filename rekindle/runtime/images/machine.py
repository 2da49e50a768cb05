"""What this machine can do for images: overlayfs, and the programs that build.

Asks the machine; changes nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from rekindle import paths
from rekindle.linux import programs
from rekindle.linux.ability import Ability
from rekindle.runtime.images import tools
from rekindle.runtime.isolation import privilege

_SETUP = "rekindle setup images"
_TIMEOUT_S = 30.0
_PROBE = """
import os, sys, tempfile
from rekindle.linux import mounts
from rekindle.runtime.isolation import privilege
status = privilege.enter()
if status is None:
    place = sys.argv[1]
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"{place}/{name}")
    os.chdir(place)
    mounts.mount("overlay", "merged", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work")
os._exit(status or 0)
"""


def findings() -> list[Ability]:
    """All of them."""
    return [overlayfs(), builders(), oci()]


def overlayfs() -> Ability:
    """Whether layers can be stacked where they are kept."""
    import tempfile

    place = paths.images_place()
    folder = next(p for p in (place, *place.parents) if p.exists())
    if not os.access(folder, os.W_OK):
        return Ability(
            "overlayfs",
            False,
            f"functions cannot have images: {folder} is not writable",
            f"make it writable, or set REKINDLE_HOME (or {paths.IMAGES}) to another directory",
        )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    try:
        with tempfile.TemporaryDirectory(prefix=".overlay-", dir=folder) as scratch:
            probe = [sys.executable, "-P", "-c", _PROBE, scratch]
            done = programs.run(probe, _TIMEOUT_S, env=env)
    except (OSError, subprocess.TimeoutExpired) as error:
        return _no_overlay(str(error))
    if done.returncode != 0:
        return _no_overlay((done.stderr.strip().splitlines() or ["the mount fails"])[-1])
    return Ability("overlayfs", True, f"layers are stacked, not copied ({folder})")


def _no_overlay(why: str) -> Ability:
    return Ability(
        "overlayfs",
        False,
        f"functions cannot have images: {why}",
        "boot a kernel with CONFIG_OVERLAY_FS; set REKINDLE_IMAGES to a local disk (ext4, xfs)",
    )


def builders() -> Ability:
    """Whether this user can build layers, with which tools."""
    if not privilege.is_root_like():
        return Ability(
            "image builds",
            False,
            "this user can run images, and build none",
            "run `rekindle image build` (or the instance) as root",
        )
    store = paths.images_place()
    maker = shutil.which("mmdebstrap") or tools.prefix(store, "mmdebstrap") / "usr/bin/mmdebstrap"
    if not Path(maker).exists() and shutil.which("apt-get") is None:
        return Ability(
            "image builds",
            False,
            "no mmdebstrap for a Debian base, and no apt-get to fetch it",
            "install mmdebstrap, or begin with Image.from_registry()",
        )
    uv = shutil.which("uv") or tools.prefix(store, "uv") / "bin" / "uv"
    found = [f"mmdebstrap {maker if Path(maker).exists() else '(fetched when it is needed)'}"]
    found.append(f"uv {uv if Path(uv).exists() else '(fetched when it is needed)'}")
    return Ability("image builds", True, "; ".join(found))


def oci() -> Ability:
    """Whether images of registries can be bases."""
    found = [name for name in tools.OCI if tools.has(paths.images_place(), name)]
    if len(found) == len(tools.OCI):
        return Ability("OCI images", True, "skopeo and umoci")
    lacking = " and ".join(name for name in tools.OCI if name not in found)
    return Ability(
        "OCI images", False, f"no {lacking}: Image.from_registry() cannot be built", _SETUP
    )
