"""A snapshot's name: a digest of all that the frozen process depends on.

Gathers the ingredients, names them, and says in words how two sets differ. Reads the machine,
never the snapshot store.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rekindle.linux import files
from rekindle.snapshot import machine, packages
from rekindle.snapshot.criu import Criu
from rekindle.snapshot.machine import Machine
from rekindle.wire.spec import FunctionSpec, params_digest

KEY_PREFIX = "sn-"
_KEY_DIGITS = 20

#: Raised when templates or images change in a way that the other ingredients do not show.
LAYOUT = "1"

#: What of rekindle itself lives on in a template's memory, relative to the package.
_RUNTIME_PARTS = (
    "exception.py",
    "execution",
    "forkserver",
    "linux",
    "gpu.py",
    "gpu_restore",
    "runtime/runner",
    "wire",
)


@dataclass(frozen=True, kw_only=True)
class Ingredients(Machine):
    """All that a snapshot is made from; equal ingredients mean an interchangeable snapshot."""

    app: str
    function: str
    code_digest: str
    hooks_digest: str
    source_digest: str
    params_digest: str
    python: str
    env_digest: str
    path_digest: str  # working directory and additions to sys.path
    packages: dict[str, str]
    runtime_digest: str
    gpu: str = ""  # driver and request of a GPU snapshot, or that its hooks are left to one
    image: str = ""  # the name of the image that it runs in; "" is the node's own files
    layout: str = LAYOUT

    def key(self) -> str:
        """The snapshot's name: ``sn-`` and 20 hex digits."""
        text = json.dumps(vars(self), sort_keys=True, separators=(",", ":"))
        return KEY_PREFIX + hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]


@dataclass(frozen=True)
class ImagePython:
    """An image by its name, which is all that there is in it, and its interpreter."""

    name: str
    python: str
    python_version: str


def gather(
    spec: FunctionSpec,
    *,
    criu: Criu,
    params: bytes = b"",
    env: Mapping[str, str] | None = None,
    gpu: str = "",
    image: ImagePython | None = None,
) -> Ingredients:
    """The ingredients of a function's template on this machine, as of now.

    ``env`` is the environment that the template boots with when it is more than the spec's own.
    ``image``: what it runs in, where that is not the node's own files. Takes some milliseconds;
    raises SnapshotError when the function's interpreter cannot be asked.
    """
    return Ingredients(
        **vars(machine.here(criu)),
        app=spec.app_name,
        function=spec.name,
        code_digest=spec.code_digest,
        hooks_digest=spec.hooks_digest,
        source_digest=spec.source_digest,
        params_digest=params_digest(params),
        python=(
            machine.python_identity(spec.python, spec.python_version)
            if image is None
            else f"{image.python_version} {image.python}"
        ),
        env_digest=_digest(sorted((spec.env if env is None else env).items())),
        path_digest=_digest(
            [
                *(spec.cwd, spec.sys_path, spec.sys_path_last),
                *(spec.module, spec.qualname, spec.program),
                *(vars(mount) for mount in spec.volumes),
            ]
        ),
        packages=packages.installed(spec.python) if image is None else {},
        runtime_digest=runtime_digest(),
        gpu=gpu,
        image="" if image is None else image.name,
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


@functools.cache
def runtime_digest() -> str:
    """Digest of the modules of rekindle that a template holds in memory; once a process.

    Raises OSError.
    """
    root = Path(__file__).parents[1]
    total = hashlib.sha256()
    for part in _RUNTIME_PARTS:
        path = root / part
        for source in [path] if path.is_file() else files.below(path, ".py"):
            total.update(f"{source.relative_to(root)}\0".encode())
            total.update(hashlib.sha256(source.read_bytes()).digest())
    return total.hexdigest()


# ---- differences in words ------------------------------------------------------------------

_OF_PROGRAM = {
    "code_digest": "code changed",
    "app": "app changed: {old} -> {new}",
    "function": "function changed: {old} -> {new}",
    "hooks_digest": "an enter(snap=True) hook changed",
    "source_digest": "source tree changed",
    "params_digest": "parameters changed",
}
_OF_ENVIRONMENT = {
    "python": "Python changed: {old} -> {new}",
    "env_digest": "environment variables changed",
    "path_digest": "working directory or import path changed",
    "runtime_digest": "rekindle's own runtime changed",
    "gpu": "GPU snapshots changed: {old} -> {new}",
    "image": "image changed: {old} -> {new}",
    "layout": "snapshot layout changed: {old} -> {new}",
}
_OF_MACHINE = {
    "kernel": "kernel changed: {old} -> {new}",
    "arch": "processor architecture changed: {old} -> {new}",
    "criu": "CRIU changed: {old} -> {new}",
}


def differences(old: Ingredients, new: Ingredients) -> list[str]:
    """How ``new`` differs from ``old``, in words; empty when they are equal.

    The user's own changes come first, the machine's last.
    """
    return [
        *_changed(_OF_PROGRAM, old, new),
        *_package_differences(old.packages, new.packages),
        *_changed(_OF_ENVIRONMENT, old, new),
        *machine_differences(old, new, exact=True),
    ]


def machine_differences(old: Machine, new: Machine, *, exact: bool = False) -> list[str]:
    """Why what was frozen on ``old`` does not run on ``new``; empty when it does.

    A processor with more features than the snapshot was made with is fine, unless ``exact``.
    """
    found = _changed(_OF_MACHINE, old, new)
    missing = sorted(set(old.cpu_features) - set(new.cpu_features))
    if missing:
        found.append(f"CPU features missing: {' '.join(missing)}")
    added = sorted(set(new.cpu_features) - set(old.cpu_features))
    if added and exact:
        found.append(f"CPU features added: {' '.join(added)}")
    return found


def _changed(words: Mapping[str, str], old: Machine, new: Machine) -> list[str]:
    """What is said of the fields that differ."""
    return [
        text.format(old=getattr(old, name), new=getattr(new, name))
        for name, text in words.items()
        if getattr(old, name) != getattr(new, name)
    ]


def _package_differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    found: list[str] = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if before is None:
            found.append(f"package added: {name} {_version(after)}")
        elif after is None:
            found.append(f"package removed: {name} {_version(before)}")
        elif _version(before) == _version(after):
            found.append(f"package changed: {name} {_version(after)} (other files)")
        else:
            found.append(f"package changed: {name} {_version(before)} -> {_version(after)}")
    return found


def _version(value: str | None) -> str:
    return (value or "").partition(" ")[0]
