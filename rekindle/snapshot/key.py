"""A snapshot's name: a digest of all that the frozen process depends on.

Gathers the ingredients, names them, and tells in words how two sets differ. Reads the machine,
never the snapshot store.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rekindle.exception import SnapshotInvalidError
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
    "forkserver",
    "linux",
    "runtime/runner",
    "wire",
)


@dataclass(frozen=True, kw_only=True)
class Ingredients:
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
    kernel: str
    cpu_features: tuple[str, ...]
    arch: str
    criu: str
    runtime_digest: str
    thread_limit: int = 1
    layout: str = LAYOUT

    def key(self) -> str:
        """The snapshot's name: ``sn-`` and 20 hex digits."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return KEY_PREFIX + hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]

    def machine(self) -> Machine:
        """The part that is the machine's."""
        return Machine(
            kernel=self.kernel, arch=self.arch, cpu_features=self.cpu_features, criu=self.criu
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Ingredients:
        """The inverse of ``to_dict``. Raises SnapshotInvalidError on anything else."""
        values: dict[str, Any] = {}
        for item in dataclasses.fields(cls):
            if item.name not in raw:
                raise SnapshotInvalidError(f"its manifest lacks the ingredient {item.name!r}")
            value = raw[item.name]
            wanted = _PLAIN_TYPES.get(item.name, str)
            if not isinstance(value, wanted):
                raise SnapshotInvalidError(f"its manifest's ingredient {item.name!r} is malformed")
            values[item.name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)


_PLAIN_TYPES: dict[str, type | tuple[type, ...]] = {
    "packages": dict,
    "cpu_features": (list, tuple),
    "thread_limit": int,
}


def gather(
    spec: FunctionSpec | str,
    *,
    criu: Criu,
    params: bytes = b"",
    env: Mapping[str, str] | None = None,
    thread_limit: int = 1,
) -> Ingredients:
    """The ingredients of a function's template on this machine, as of now.

    ``spec`` may be its JSON. ``env`` is the environment that the template boots with when it is
    more than the spec's own. Takes some milliseconds; raises SnapshotError when the function's
    interpreter cannot be asked.
    """
    if isinstance(spec, str):
        spec = FunctionSpec.from_json(spec)
    where = machine.here(criu)
    return Ingredients(
        app=spec.app_name,
        function=spec.name,
        code_digest=spec.code_digest,
        hooks_digest=spec.hooks_digest,
        source_digest=spec.source_digest,
        params_digest=params_digest(params),
        python=machine.python_identity(spec.python, spec.python_version),
        env_digest=_digest(sorted((spec.env if env is None else env).items())),
        path_digest=_digest(
            [spec.cwd, spec.sys_path, spec.sys_path_last, spec.module, spec.qualname, spec.program]
        ),
        packages=packages.installed(spec.python),
        kernel=where.kernel,
        cpu_features=where.cpu_features,
        arch=where.arch,
        criu=where.criu,
        runtime_digest=runtime_digest(),
        thread_limit=thread_limit,
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


@functools.cache
def runtime_digest() -> str:
    """Digest of the modules of rekindle that a template holds in memory; once a process."""
    root = Path(__file__).parents[1]
    total = hashlib.sha256()
    for part in _RUNTIME_PARTS:
        path = root / part
        for source in [path] if path.is_file() else sorted(path.rglob("*.py")):
            total.update(f"{source.relative_to(root)}\0".encode())
            total.update(hashlib.sha256(source.read_bytes()).digest())
    return total.hexdigest()


# ---- differences in words ------------------------------------------------------------------

_WORDS = {
    "app": "app changed: {old} -> {new}",
    "function": "function changed: {old} -> {new}",
    "hooks_digest": "an enter(snap=True) hook changed",
    "source_digest": "source tree changed",
    "params_digest": "parameters changed",
    "python": "Python changed: {old} -> {new}",
    "env_digest": "environment variables changed",
    "path_digest": "working directory or import path changed",
    "kernel": "kernel changed: {old} -> {new}",
    "arch": "processor architecture changed: {old} -> {new}",
    "criu": "CRIU changed: {old} -> {new}",
    "runtime_digest": "rekindle's own runtime changed",
    "thread_limit": "thread limit changed: {old} -> {new}",
    "layout": "snapshot layout changed: {old} -> {new}",
}


def differences(old: Ingredients, new: Ingredients) -> list[str]:
    """How ``new`` differs from ``old``, in words; empty when they are equal.

    The user's own changes come first, the machine's last.
    """
    found: list[str] = []
    if old.code_digest != new.code_digest:
        found.append("code changed")
    for name in ("app", "function", "hooks_digest", "source_digest", "params_digest"):
        found += _word(name, old, new)
    found += _package_differences(old.packages, new.packages)
    for name in ("python", "env_digest", "path_digest", "thread_limit"):
        found += _word(name, old, new)
    for name in ("runtime_digest", "layout"):
        found += _word(name, old, new)
    return found + machine_differences(old.machine(), new.machine(), exact=True)


def machine_differences(old: Machine, new: Machine, *, exact: bool = False) -> list[str]:
    """Why what was frozen on ``old`` does not run on ``new``; empty when it does.

    A processor with more features than the snapshot was made with is fine, unless ``exact``.
    """
    found: list[str] = []
    for name in ("kernel", "arch"):
        found += _word(name, old, new)
    missing = sorted(set(old.cpu_features) - set(new.cpu_features))
    if missing:
        found.append(f"CPU features missing: {' '.join(missing)}")
    added = sorted(set(new.cpu_features) - set(old.cpu_features))
    if added and exact:
        found.append(f"CPU features added: {' '.join(added)}")
    return found + _word("criu", old, new)


def _word(name: str, old: object, new: object) -> list[str]:
    before, after = getattr(old, name), getattr(new, name)
    return [] if before == after else [_WORDS[name].format(old=before, new=after)]


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
