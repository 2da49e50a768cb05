"""What an image is made of before its methods: steps as declared, and the spec that they make.

Standard library only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rekindle.exception import InvalidError
from rekindle.sdk import checks
from rekindle.sdk.absent import SaysWhatToUse
from rekindle.sdk.ignore_patterns import Ignore, ignored_by
from rekindle.sdk.images import local_files, step_commands
from rekindle.sdk.images.step_commands import PackageOptions
from rekindle.sdk.user_frames import trims
from rekindle.wire import switches
from rekindle.wire.images import INPUTS, TAKEN, ImageSpec, Step, StepKind, StepSecret
from rekindle.wire.volumes import VolumeMount

if TYPE_CHECKING:
    from rekindle.sdk.secret import Secret
    from rekindle.sdk.volume import Volume
    from rekindle.sdk.volume_mounts import CloudBucketMount

#: Build every step again, as ``force_build=True`` on each does.
FORCE_VARIABLE = "REKINDLE_FORCE_BUILD"
MAX_TIMEOUT_S = 24 * 3600


@dataclass(frozen=True)
class Planned:
    """A step as it was declared."""

    kind: StepKind
    #: As it was written; with all others it names the image as declared.
    title: str
    #: Makes what it comes to; reads files.
    make: Callable[[], Sequence[Step]]
    #: Secrets whose values the build needs.
    secrets: tuple[Secret, ...] = ()


@trims
class Chain(SaysWhatToUse):
    """Steps that were declared, the base first."""

    def __init__(self, planned: tuple[Planned, ...] = (), *, declared: str = "") -> None:
        self._planned = planned
        digest = hashlib.sha256()
        for step in planned:
            digest.update(f"{step.kind} {step.title}\n".encode())
        self._declared = declared or digest.hexdigest()[:16]

    def __repr__(self) -> str:
        return f"<rekindle.Image {'.'.join(one.title for one in self._planned)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # Code that mentions one is pickled: in a runner it is a name.
        return _unpickled, (type(self), self._declared)

    def spec(self) -> ImageSpec:
        """What travels of it, with its local files as they are now.

        Raises InvalidError for files that cannot be read, SerializationError for a function that
        cannot be pickled.
        """
        steps = [step for one in self._planned for step in one.make()]
        if forces_all():
            steps = [dataclasses.replace(step, force=True) for step in steps]
        return ImageSpec(steps=tuple(steps), declared=self._declared)

    def secret_values(self) -> dict[str, str]:
        """The variables of its steps' secrets that have values here. Raises InvalidError where two
        steps mean different values by one name: who builds has one for each."""
        from rekindle.sdk.secret import merged

        found: dict[str, str] = {}
        for one in self._planned:
            for name, value in merged(one.secrets).items():
                if found.setdefault(name, value) != value:
                    raise InvalidError(
                        f"{one.title}: its secrets have another {name} than a step before it; give "
                        f"the variables of different steps different names"
                    )
        return found

    @property
    def is_host(self) -> bool:
        """Whether it is the node's own files."""
        return bool(self._planned) and self._planned[0].kind is StepKind.HOST

    # ---- steps ---------------------------------------------------------------------------------

    def _with(self, planned: Planned) -> Self:
        """This image and one step more. Raises InvalidError where that cannot be."""
        if self.is_host and planned.kind is not StepKind.SETTINGS:
            raise InvalidError(
                f"{planned.title} cannot be on Image.host(): the node's own files are read-only. "
                f"Begin with Image.debian_slim()"
            )
        shown = next((one for one in self._planned if one.kind is StepKind.MOUNT), None)
        if shown is not None and planned.kind.makes_layer:
            raise InvalidError(
                f"{planned.title} comes after {shown.title}, whose files are only there when a "
                f"runner starts: put it first, or give that one copy=True"
            )
        return type(self)((*self._planned, planned))

    def _step(
        self,
        title: str,
        commands: Sequence[str],
        given: PackageOptions,
        *,
        inputs: Sequence[Path] = (),
        tools: tuple[str, ...] = (),
        volumes: Mapping[str, Volume | CloudBucketMount] | None = None,
        timeout: float = 3600,
    ) -> Step:
        from rekindle.sdk.secret import merged, references

        secrets = tuple(given.get("secrets") or ())
        mounts: tuple[VolumeMount, ...] = ()
        if volumes:
            from rekindle.sdk.program.volumes import mounts_of

            mounts = mounts_of({}, volumes)
        return Step(
            kind=StepKind.RUN,
            title=title,
            commands=tuple(commands),
            files=tuple(
                local_files.keep(file, posixpath.join(INPUTS, file.name)) for file in inputs
            ),
            env=checks.environment("env", given.get("env") or {}),
            secrets=tuple(merged(secrets)),
            named_secrets=tuple(StepSecret(**vars(one)) for one in references(secrets)),
            volumes=mounts,
            tools=tools,
            timeout_s=float(timeout),
            force=bool(given.get("force_build")),
        )

    def _run(
        self,
        method: str,
        words: Sequence[str],
        commands: Sequence[str],
        given: PackageOptions,
        *,
        inputs: Sequence[Path] = (),
        tools: tuple[str, ...] = (),
        volumes: Mapping[str, Volume | CloudBucketMount] | None = None,
        timeout: float = 3600,
        of_packages: bool = True,
    ) -> Self:
        """One step of commands. ``of_packages``: pip's options may be among those given."""
        title = step_commands.title(method, words)
        options = step_commands.checked(f"Image.{method}", given, of_packages=of_packages)
        checks.number("timeout", timeout, 1, MAX_TIMEOUT_S, "of seconds")
        volumes = checked_volumes(volumes)

        def make() -> Sequence[Step]:
            made = self._step(
                *(title, commands, options),
                inputs=inputs,
                tools=tools,
                volumes=volumes,
                timeout=timeout,
            )
            return [made]

        secrets = tuple(options.get("secrets") or ())
        return self._with(Planned(StepKind.RUN, title, make, secrets))

    def _settings(
        self,
        title: str,
        *,
        env: dict[str, str] | None = None,
        arguments: dict[str, str] | None = None,
    ) -> Self:
        step = Step(kind=StepKind.SETTINGS, title=title, env=env or {}, arguments=arguments or {})
        return self._with(Planned(StepKind.SETTINGS, title, lambda: [step]))

    def _add(
        self,
        title: str,
        places: Sequence[tuple[Path, str]] | Callable[[], Sequence[tuple[Path, str]]],
        ignore: Ignore,
        *,
        copy: bool,
        is_folder: bool | None = None,
    ) -> Self:
        """Local files at places of the image. ``is_folder``: whether they must be folders."""
        checks.flag("copy", copy)
        ignored = ignored_by(ignore)
        kind = StepKind.COPY if copy else StepKind.MOUNT
        for _, target in () if callable(places) else places:
            refuse_place(title, target, copied=copy)
            if target == "/" and is_folder is False:
                raise InvalidError(f"{title}: / is a folder: name the file, too")

        def make() -> Sequence[Step]:
            found = places() if callable(places) else places
            for source, target in found:
                if is_folder is not None and source.exists() and source.is_dir() != is_folder:
                    takes, other = ("folder", "file") if is_folder else ("file", "folder")
                    raise InvalidError(
                        f"{title}: {source} is no {takes} but a {other}; to have it at {target} "
                        f"use add_local_{'file' if is_folder else 'dir'}"
                    )
            files = tuple(local_files.keep(source, target, ignored) for source, target in found)
            return [Step(kind=kind, title=title, files=files)]

        return self._with(Planned(kind, title, make))


def _unpickled(kind: type[Chain], declared: str) -> Chain:
    return kind(declared=declared)


def checked_volumes(
    given: Mapping[str, Volume | CloudBucketMount] | None,
) -> Mapping[str, Volume | CloudBucketMount] | None:
    """By paths in their plain form. Raises InvalidError."""
    if given is None:
        return None
    from rekindle.sdk.volume_mounts import check_volumes

    return check_volumes("volumes", given)


def forces_all() -> bool:
    """Whether the environment asks for every step to be built again. Raises InvalidError."""
    return switches.is_on(FORCE_VARIABLE, unset=False)


def refuse_place(what: str, target: str, *, copied: bool) -> None:
    """Raises InvalidError for a place where a runner has no files of the image.

    ``copied``: into a layer, which has none of what is empty at each start.
    """
    taken = {**TAKEN, "/run": "empty at each start"} if copied else TAKEN
    top = next((one for one in taken if f"{target}/".startswith(f"{one}/")), None)
    if top is not None:
        raise InvalidError(f"{what}: {top} is {taken[top]}: give another place")


def absolute(path: str | Path) -> str:
    """A path of an image in its plain form. Raises InvalidError for one that is not absolute."""
    text = str(path)
    if not text.startswith("/") or "\0" in text or ".." in text.split("/"):
        raise InvalidError(f"{text!r} must be an absolute path in the image, without `..`")
    return "/" + posixpath.normpath(text).lstrip("/")
