"""Bases: a root from Debian's packages, or from an OCI image, in a draft."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rekindle.debian import mmdebstrap
from rekindle.exception import ImageError, SetupError
from rekindle.runtime.images import sandbox, tools
from rekindle.runtime.images.layer import Settings
from rekindle.runtime.images.registry_errors import what_to_do
from rekindle.runtime.images.sandbox import Say
from rekindle.runtime.images.store import Draft
from rekindle.wire.images import DEBIAN_SUITES, INPUTS, Step

_PACKAGES = "python3,python3-pip,python-is-python3,ca-certificates"
#: Not in /usr/share, of these packages and of those that later steps install; but for what is kept.
_LEFT_OUT = ("man", "info", "doc", "locale", "lintian")
_KEPT = "doc/*/copyright"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def debian(step: Step, draft: Draft, store: Path, say: Say) -> Settings:
    """Make a Debian root. Raises ImageError."""
    suite = DEBIAN_SUITES.get(step.arguments.get("python", ""), "")
    if not suite:
        raise ImageError(f"{step.title}: no Debian release has that Python")
    program = tools.find_mmdebstrap(store, say)
    draft.root.rmdir()
    hook = draft.scratch / "leave-out"
    hook.write_text(_leave_out())
    hook.chmod(0o755)
    try:
        more = f"--extract-hook={hook}"
        argv = mmdebstrap.command(program, suite, draft.root, _PACKAGES, more)
    except SetupError as error:
        raise ImageError(f"{step.title}: {error}") from error
    _run(argv, draft, say, step)
    _clean(draft.root)
    return Settings()


def _leave_out() -> str:
    """A program for a root ($1) whose first packages are unpacked and not installed.

    It removes what is left out of them, and tells dpkg for all others. Where mmdebstrap is told
    instead, it has each of the first go through a filter in Python: a third of a base's whole time.
    """
    options = [f"path-exclude=/usr/share/{one}/*" for one in _LEFT_OUT]
    options.append(f"path-include=/usr/share/{_KEPT}")
    return f"""#!/bin/sh -e
cd "$1/usr/share"
for place in {" ".join(_LEFT_OUT)}; do
    test -d $place || continue
    find $place ! -type d ! -path '{_KEPT}' -delete
    find $place -mindepth 1 -type d -empty -delete
done
printf '%s\\n' {" ".join(f"'{one}'" for one in options)} > ../../etc/dpkg/dpkg.cfg.d/rekindle
"""


def oci(step: Step, draft: Draft, store: Path, say: Say, archive: Path | None) -> Settings:
    """Make a root from an OCI image; what it says of its variables and commands.

    ``archive``: of one that the client sent. Raises ImageError.
    """
    skopeo, umoci = (tools.find_oci(store, one) for one in tools.OCI)
    image = step.arguments["image"]
    if archive is not None:
        image = image.replace(INPUTS, str(archive))
    layout = draft.scratch / "layout"
    bundle = draft.scratch / "bundle"
    policy = draft.scratch / "policy.json"
    # Which images to trust is the user's choice, who names one; the store verifies its hashes.
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    argv = [*skopeo, f"--policy={policy}", f"--tmpdir={draft.scratch}", "copy", "--quiet"]
    said: list[str] = []

    def heard(line: str) -> None:
        said.append(line)
        say(line)

    try:
        _run([*argv, image, f"oci:{layout}:image"], draft, heard, step)
    except ImageError as error:
        to_do = what_to_do(image, "\n".join(said))
        raise ImageError(f"{error}{to_do}") from error
    _run([*umoci, "unpack", "--image", f"{layout}:image", str(bundle)], draft, say, step)
    draft.root.rmdir()
    os.rename(bundle / "rootfs", draft.root)
    _clean(draft.root)
    return _settings(_config(layout))


def _run(argv: list[str], draft: Draft, say: Say, step: Step) -> None:
    """Run a program of the node's, which ends with us. Raises ImageError."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    # mmdebstrap runs programs that lie beside it.
    path = [os.environ.get("PATH", ""), _PATH, os.path.dirname(argv[0])]
    env |= {"PATH": ":".join(filter(None, path)), "TMPDIR": str(draft.scratch)}
    env |= {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    status, _ = sandbox.run({"program": argv, "env": env}, say, step.timeout_s)
    if status != 0:
        name = next(one for one in map(os.path.basename, argv) if one in tools.ALL)
        raise ImageError(f"{name} ended with status {status}")


def _clean(root: Path) -> None:
    """Take out what is of this machine, or of no image: devices, names, logs of the making."""
    for place in ("dev", "run", "tmp"):
        folder = root / place
        if folder.is_symlink() or not folder.is_dir():
            continue
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink()
    for name in ("etc/resolv.conf", "etc/hostname"):
        (root / name).unlink(missing_ok=True)
    for name in ("dev", "proc", "sys", "run", "tmp", "root", "etc"):
        (root / name).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for name in ("var/log/dpkg.log", "var/log/apt", "var/log/bootstrap.log", "var/cache/apt"):
        left = root / name
        if left.is_dir():
            shutil.rmtree(left)
            left.mkdir()
        else:
            left.unlink(missing_ok=True)


def _config(layout: Path) -> Mapping[str, Any]:
    """The configuration of the one image of an OCI layout."""

    def blob(digest: str) -> Any:
        kind, _, name = digest.partition(":")
        return json.loads((layout / "blobs" / kind / name).read_text())

    index = json.loads((layout / "index.json").read_text())
    manifest = blob(index["manifests"][0]["digest"])
    found: Mapping[str, Any] = blob(manifest["config"]["digest"]).get("config") or {}
    return found


def _settings(config: Mapping[str, Any]) -> Settings:
    pairs = (one.partition("=") for one in config.get("Env") or ())
    return Settings(
        env={name: value for name, _, value in pairs},
        workdir=config.get("WorkingDir") or "",
        entrypoint=tuple(config.get("Entrypoint") or ()),
        cmd=tuple(config.get("Cmd") or ()),
        shell=tuple(config.get("Shell") or ("/bin/sh", "-c")),
    )
