"""ImageSpec: the environment of a function as a chain of steps, and the names of its layers.

Travels as JSON in the function's spec; local files are in it as the hash of their content. Knows
nothing of how a layer is built or mounted. Standard library only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rekindle.wire.known_fields import known_fields
from rekindle.wire.volumes import VolumeMount

#: In each name: raised when the same step would be built in another way.
LAYOUT = "1"
NAME_DIGITS = 32

#: While a step is built: the files that its commands read, which are in no layer.
UV = "uv"
INPUTS = "/run/rekindle/inputs"
#: Of a function that a step calls: it by value; its name and arguments, and a zip of its modules.
FUNCTION_FILE, CALL_FILE = f"{INPUTS}/function.pkl", f"{INPUTS}/call.pkl"
SOURCE_FILE = f"{INPUTS}/source.zip"
#: Where what rekindle shows of its own lies in a runner.
OURS = "/.rekindle"
#: In these nothing of a user's can be, neither of an image nor of a volume; and why.
TAKEN = {
    **dict.fromkeys(("/dev", "/proc", "/sys"), "the kernel's in every process"),
    OURS: "where a runner has what is rekindle's own",
}
#: Where local modules are, in each image; it is on the import path.
MODULES = "/root"
#: Python versions that a Debian release has; others come by uv.
DEBIAN_SUITES = {"3.11": "bookworm", "3.13": "trixie"}
#: In a runner: which image it runs in, as that was declared.
VARIABLE = "REKINDLE_IMAGE"


class StepKind(StrEnum):
    """What a step does. The first of a chain is its base."""

    HOST = "host"  # the node's own files and Python, read-only
    DEBIAN = "debian"
    OCI = "oci"  # an image of a registry, or of an archive on this machine
    RUN = "run"  # commands of the shell, in the image
    CALL = "call"  # a function of the user's, in the image
    COPY = "copy"  # local files into a layer
    MOUNT = "mount"  # local files, shown when a runner starts
    SETTINGS = "settings"  # variables, working directory and the like: nothing is built

    @property
    def is_base(self) -> bool:
        """Whether a chain begins with it."""
        return self in (StepKind.HOST, StepKind.DEBIAN, StepKind.OCI)

    @property
    def makes_layer(self) -> bool:
        """Whether it leaves a directory of files."""
        return self not in (StepKind.HOST, StepKind.MOUNT, StepKind.SETTINGS)


@dataclass(frozen=True, kw_only=True)
class LocalFiles:
    """A file or a folder of the client's machine, as it was when the app was run."""

    target: str  # absolute path in the image
    digest: str  # of the content: names, bytes, what may be executed, links
    source: str = ""  # where it lay; for messages
    kept: str = ""  # where the client keeps a copy that nobody changes


@dataclass(frozen=True, kw_only=True)
class StepSecret:
    """A named secret of a step: who builds it asks the controller for the values."""

    name: str
    environment: str = ""
    id: str = ""  # instead of a name
    required_keys: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()  # variables of the step's other secrets, which it leaves alone


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a chain."""

    kind: StepKind
    #: How it was written, as in ``pip_install('torch')``; for people, and in no name.
    title: str = ""
    #: What else says what it does: which Debian, which image, which Python.
    arguments: dict[str, str] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    files: tuple[LocalFiles, ...] = ()
    #: Variables: of the image from here on (settings), or of this step alone.
    env: dict[str, str] = field(default_factory=dict)
    #: Names of variables that it is given besides; no value is in any name, log or layer's record.
    secrets: tuple[str, ...] = ()
    #: The same of secrets that the instance keeps; put over those, in this order.
    named_secrets: tuple[StepSecret, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    #: Programs of the node's that the commands use, and that are in no layer: ``uv``, or of a
    #: version ``uv==0.8.4``.
    tools: tuple[str, ...] = ()
    timeout_s: float = 3600.0
    #: Build it even where it is there, and all that stands on it.
    force: bool = False

    def identity(self) -> dict[str, Any]:
        """What a name is made from: all that can change what is built."""
        identity = {
            "kind": self.kind.value,
            "arguments": self.arguments,
            "commands": self.commands,
            "files": sorted((one.target, one.digest) for one in self.files),
            "env": self.env,
            "secrets": sorted(self.secrets),
            "volumes": [dataclasses.asdict(one) for one in self.volumes],
            "tools": sorted(self.tools),
        }
        if self.named_secrets:
            identity["named_secrets"] = [dataclasses.asdict(one) for one in self.named_secrets]
        return identity


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """A chain of steps, the base first."""

    steps: tuple[Step, ...]
    #: Names the image as it was declared, without what its files hold (``Image.imports``).
    declared: str = ""

    @property
    def base(self) -> Step:
        """The first step."""
        return self.steps[0]

    def to_json(self) -> str:
        """Canonical JSON: equal specs give equal text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ImageSpec:
        """The inverse of ``to_json``; unknown fields of a newer peer are ignored."""
        raw: dict[str, Any] = json.loads(text)
        steps = tuple(_step(one) for one in raw["steps"])
        return cls(steps=steps, declared=raw.get("declared", ""))


def _step(raw: dict[str, Any]) -> Step:
    known = known_fields(Step, raw)
    known["kind"] = StepKind(known["kind"])
    for name in ("commands", "secrets", "tools"):
        known[name] = tuple(known.get(name, ()))
    known["named_secrets"] = tuple(map(_secret, raw.get("named_secrets", ())))
    known["files"] = tuple(
        LocalFiles(**known_fields(LocalFiles, one)) for one in raw.get("files", ())
    )
    known["volumes"] = tuple(
        VolumeMount(**known_fields(VolumeMount, one)) for one in raw.get("volumes", ())
    )
    return Step(**known)


def _secret(raw: dict[str, Any]) -> StepSecret:
    known = known_fields(StepSecret, raw)
    lists = {name: tuple(known.get(name, ())) for name in ("required_keys", "kept")}
    return StepSecret(**{**known, **lists})


def why_not_by_value(of_client: str, of_image: str) -> str:
    """Why code that came by value from one Python cannot run on another, and what to do; "" where
    it can. Versions as in "3.13.1" or "3.13"."""
    short = ".".join(of_client.split(".")[:2])
    if not of_client or not of_image or short == ".".join(of_image.split(".")[:2]):
        return ""
    return (
        f"it is sent as code of Python {short}, as no import finds it, and its image has Python "
        f"{of_image}: declare it at the top level of a module, without serialized=True, or give "
        f"the image python_version={short!r}"
    )


def here() -> str:
    """The platform that is in each name: what is built for one does not run on another."""
    return f"{platform.system().lower()}/{platform.machine()}"


def names(steps: Sequence[Step], machine: str | None = None) -> Iterator[str]:
    """The name after each step: a hash of the one before it and of the step.

    What is shown when a runner starts changes no layer, and so it changes no name.
    """
    name = hashlib.sha256(f"{LAYOUT} {machine or here()}".encode()).hexdigest()
    for step in steps:
        if step.kind is not StepKind.MOUNT:
            text = json.dumps([name, step.identity()], sort_keys=True, separators=(",", ":"))
            name = hashlib.sha256(text.encode()).hexdigest()
        yield name[:NAME_DIGITS]


def layers(steps: Sequence[Step]) -> Iterator[tuple[Step, str]]:
    """The steps that make layers, the base first, and the names of those."""
    for step, name in zip(steps, names(steps), strict=True):
        if step.kind.makes_layer:
            yield step, name
