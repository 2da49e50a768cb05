"""A layer's record: what it was made from, and what holds in the image from there on."""

from __future__ import annotations

import dataclasses
import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rekindle.wire import image_variables
from rekindle.wire.images import Step
from rekindle.wire.known_fields import known_fields


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What what runs in an image is given besides its files."""

    env: dict[str, str] = field(default_factory=dict)
    workdir: str = ""
    entrypoint: tuple[str, ...] = ()
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    cmd: tuple[str, ...] = ()

    def after(self, step: Step) -> Settings:
        """The same after a step that sets something."""
        import shlex

        given = step.arguments
        words = {
            name: tuple(shlex.split(given[name]))
            for name in ("entrypoint", "shell", "cmd")
            if name in given
        }
        env, workdir = step.env, given.get("workdir", "")
        if "mentions" in given:  # of a Dockerfile: what this image sets is known here
            known = {"PATH": image_variables.PATH, **self.env}
            env = {name: image_variables.filled(text, known) for name, text in env.items()}
            workdir = image_variables.filled(workdir, known)
        return dataclasses.replace(
            self,
            env={**self.env, **env},
            workdir=self.place_of(workdir) if workdir else self.workdir,
            **words,
        )

    def place_of(self, path: str) -> str:
        """A path that may be relative to the working directory."""
        return posixpath.normpath(posixpath.join(self.workdir or "/", path))


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer that is there, whole."""

    name: str
    #: Of this build alone: another build of the same step has other files, perhaps.
    build: str
    #: What it stands on: name and build; "" of a base.
    parent: str = ""
    parent_build: str = ""
    title: str = ""
    kind: str = ""
    platform: str = ""
    created_s: float = 0.0
    elapsed_s: float = 0.0
    size_bytes: int = 0
    files: int = 0
    #: Whether it was asked for although there was one: it takes the place of that in a store, too.
    forced: bool = False
    #: As what its files lie here: "" for themselves, below the layer's directory; "erofs" for one
    #: file that is mounted there, by who runs in it, and that need not have arrived.
    packing: str = ""
    #: Of a base: what its image brings along.
    settings: Settings = field(default_factory=Settings)
    #: The interpreter in it, from this layer on; "" where there is none.
    python: str = ""
    python_version: str = ""

    def to_json(self) -> str:
        """As it is kept."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Layer:
        """The inverse. Raises ValueError for what is none."""
        raw: Any = json.loads(text)
        if not isinstance(raw, Mapping) or "name" not in raw or "build" not in raw:
            raise ValueError("it is no layer's record")
        given = known_fields(cls, raw)
        settings = dict(given.pop("settings", {}))
        for name in ("entrypoint", "shell", "cmd"):
            settings[name] = tuple(settings.get(name, ()))
        return cls(**given, settings=Settings(**settings))
